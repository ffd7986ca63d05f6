//! The table of servers.

use jiff::Timestamp;

use super::colour::Colour;
use super::table::{Cell, Fit, Table};
use super::{times, words};
use crate::view::{Server, State};

/// The table of `status`: a row per server, and below it why it is not plainly fine.
pub(crate) fn table(servers: &[Server], now: Timestamp) -> Table<9> {
    let mut table = Table::new([
        ("NAME", Fit::Cut(12)),
        ("STATE", Fit::Whole),
        ("PID", Fit::Number),
        // Room for the usual ones, whole: half an endpoint cannot be pasted.
        ("ENDPOINT", Fit::Cut("http://127.0.0.1:65535".len())),
        ("RESTARTS", Fit::Number),
        ("UPTIME", Fit::Number),
        ("IN FLIGHT", Fit::Rare),
        ("TOK/S", Fit::Rare),
        ("USED", Fit::Rare),
    ]);
    for server in servers {
        let state = Cell::coloured(server.state.word(), Colour::of_state(server.state));
        let uptime = server.ready_since.map(|since| times::since(since, now));
        let speed = server.tokens_per_second.map(words::speed);
        let used = server.last_used.map(|at| times::since(at, now));
        let cells = [
            server.name.as_str().into(),
            state,
            server.pid.into(),
            server.endpoint.as_ref().into(),
            Some(server.restarts).into(),
            uptime.into(),
            in_flight(server).into(),
            speed.into(),
            used.into(),
        ];
        table.row(cells, remarks(server, now));
    }
    table
}

/// How many requests it answers, and how many wait, as `4+2`. Nothing if nobody asks for it.
fn in_flight(server: &Server) -> Option<String> {
    match (server.in_flight?, server.waiting.unwrap_or(0)) {
        (0, 0) => None,
        (answered, 0) => Some(answered.to_string()),
        (answered, waiting) => Some(format!("{answered}+{waiting}")),
    }
}

/// What there is to say about a server that is not plainly fine.
fn remarks(server: &Server, now: Timestamp) -> Vec<Cell> {
    let mut remarks = Vec::new();
    if server.state == State::Ready {
        remarks.extend(restarted(server, now));
    } else {
        let colour = (server.state == State::Failed).then_some(Colour::Red);
        let situation = words::situation(server, now) + &needs(server);
        remarks.push(Cell::coloured(&situation, colour));
    }
    if server.held {
        let text = format!(
            "requests for it are refused until `magictl start {}`",
            server.name
        );
        remarks.push(Cell::coloured(&text, Some(Colour::Yellow)));
    }
    remarks.extend(server.notes.iter().map(|note| Cell::from(note.as_str())));
    remarks
}

/// What a server that could run would need. One that waits for memory says so with its own numbers.
fn needs(server: &Server) -> String {
    let is_idle = server.state == State::Stopped && !server.waits_for_memory();
    let needed = server.memory_needed.filter(|_| is_idle);
    needed.map_or_else(String::new, |bytes| {
        format!("; needs {}", words::bytes(bytes))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use magi_proto::v1;
    use proptest::prelude::*;
    use prost_types::Timestamp as WireTime;

    fn after(seconds: i64) -> Option<WireTime> {
        Some(WireTime { seconds, nanos: 0 })
    }

    fn restarted_server() -> Server {
        let server = v1::Server {
            name: "alpha".to_owned(),
            state: v1::ServerState::Ready.into(),
            pid: Some(4_194_304),
            endpoint: Some("http://127.0.0.1:8080".to_owned()),
            restarts: 1,
            ready_since: after(60),
            last_exit: Some(v1::Exit {
                class: "signal".to_owned(),
                signal: Some(9),
                at: after(58),
                ..Default::default()
            }),
            ..Default::default()
        };
        server.into()
    }

    #[test]
    fn a_server_that_was_restarted_says_why() {
        let now = Timestamp::from_second(192).unwrap();
        let table = table(&[restarted_server()], now).render(80, false);
        insta::assert_snapshot!(table.join("\n"), @"
        NAME   STATE      PID  ENDPOINT               RESTARTS  UPTIME
        alpha  ready  4194304  http://127.0.0.1:8080         1   2m12s
            restarted after it ended 2m14s ago: signal: SIGKILL (signal 9)
        ");
    }

    #[test]
    fn a_fleet_of_the_longest_names_fits_80_columns_uncut_where_it_matters() {
        let mut server = restarted_server();
        server.name = "n".repeat(64);
        server.state = State::Stopping;
        let now = Timestamp::from_second(10_000_000).unwrap();
        let lines = table(&[server], now).render(80, false);
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert!(lines[1].contains("http://127.0.0.1:8080"), "{lines:?}");
    }

    proptest! {
        #[test]
        fn no_server_is_wider_than_the_terminal(
            name in "\\PC{0,80}",
            state in 0i32..9,
            detail in ".{0,300}",
            endpoint in proptest::option::of("\\PC{0,60}"),
            pid: Option<u32>,
            restarts: u32,
            ready_since: Option<i64>,
            note in ".{0,100}",
            width in 1usize..160,
        ) {
            let server = v1::Server {
                name, state, detail, endpoint, pid, restarts,
                ready_since: ready_since.and_then(after),
                notes: vec![note],
                ..Default::default()
            };
            let table = table(&[server.into()], Timestamp::UNIX_EPOCH);
            for line in table.render(width, false) {
                prop_assert!(line.chars().count() <= width, "{line:?}");
            }
        }
    }
}
