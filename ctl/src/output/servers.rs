//! The table of servers.

use jiff::Timestamp;

use super::colour::Colour;
use super::table::{Cell, Fit, Table};
use super::{times, words};
use crate::view::{Server, State};

/// The table of `status`: a row per server, and below it why it is not plainly fine.
pub(crate) fn table(servers: &[Server], now: Timestamp) -> Table<6> {
    let mut table = Table::new([
        ("NAME", Fit::Cut(12)),
        ("STATE", Fit::Whole),
        ("PID", Fit::Number),
        ("ENDPOINT", Fit::Cut(12)),
        ("RESTARTS", Fit::Number),
        ("UPTIME", Fit::Number),
    ]);
    for server in servers {
        let state = Cell::coloured(server.state.word(), Colour::of_state(server.state));
        let uptime = server.ready_since.map(|since| times::since(since, now));
        let cells = [
            server.name.as_str().into(),
            state,
            server.pid.into(),
            server.endpoint.as_ref().into(),
            Some(server.restarts).into(),
            uptime.into(),
        ];
        table.row(cells, remarks(server, now));
    }
    table
}

/// What there is to say about a server that is not plainly fine.
fn remarks(server: &Server, now: Timestamp) -> Vec<Cell> {
    let mut remarks = Vec::new();
    if server.state == State::Ready {
        remarks.extend(restarted(server, now));
    } else {
        let colour = (server.state == State::Failed).then_some(Colour::Red);
        remarks.push(Cell::coloured(&words::situation(server, now), colour));
    }
    remarks.extend(server.notes.iter().map(|note| Cell::from(note.as_str())));
    remarks
}

/// Why a server that is ready again was restarted.
fn restarted(server: &Server, now: Timestamp) -> Option<Cell> {
    let exit = server.last_exit.as_ref().filter(|_| server.restarts > 0)?;
    let ago = exit
        .at
        .map_or_else(String::new, |at| format!(" {} ago", times::since(at, now)));
    let text = format!("restarted after it ended{ago}: {}", words::ending(exit));
    Some(Cell::coloured(&text, Some(Colour::Yellow)))
}
