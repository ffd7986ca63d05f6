//! `magictl status --watch`: redrawn in place on a terminal, else a line per change.

use std::time::Duration;

use jiff::Timestamp;
use magi_proto::v1::{WatchServersRequest, WatchServersResponse};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Streaming;

use super::follow::{Follower, Next, refuse_endless_document};
use super::status;
use crate::cli::Format;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::screen::Screen;
use crate::output::{Output, words};
use crate::view::Change;

/// Uptimes move without a change.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);
/// A fleet in turmoil is drawn ten times a second, not more.
const SHORTEST_FRAME: Duration = Duration::from_millis(100);

/// Shows the status until Ctrl-C, or until nobody reads it.
pub(super) async fn run(
    client: &Client,
    names: &[String],
    output: Output,
) -> Result<ExitStatus, Failure> {
    refuse_endless_document(output.format)?;
    // Before anything is shown: a name that does not exist is a mistake.
    let names = canonical(client, names).await?;
    let mut follower = Follower::new(output)?;
    let answer = client
        .servers()
        .watch_servers(WatchServersRequest {})
        .await?;
    let watch = answer.into_inner();
    if output.is_terminal && output.format == Format::Table {
        redraw(client, &names, watch, &mut follower, output).await
    } else {
        print_changes(&names, watch, &mut follower, output).await
    }
}

/// Names instead of aliases, for the server stays the same when its aliases change.
async fn canonical(client: &Client, names: &[String]) -> Result<Vec<String>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let status = status::fetch(client, names).await?;
    Ok(status
        .servers
        .into_iter()
        .map(|server| server.name)
        .collect())
}

async fn redraw(
    client: &Client,
    names: &[String],
    mut watch: Streaming<WatchServersResponse>,
    follower: &mut Follower,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let mut screen = Screen::open()?;
    let mut clock = interval(REDRAW_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Cancel safe, as `Follower::next` says; the message itself is only a hint to look.
            next = follower.next(&mut watch) => match next? {
                Next::Message(_) => {}
                Next::End => return Err(Failure::StreamEnded),
                Next::Enough => return Ok(ExitStatus::Done),
            },
            // Cancel safe: a tick that is not taken stays due.
            _ = clock.tick() => {}
        }
        let mut status = status::fetch(client, &[]).await?;
        status.servers.retain(|server| wants(names, &server.name));
        let (width, height) = output.size();
        let frame = status::render(&status, width, output.colours, Timestamp::now());
        screen.draw(&frame, width, height.unwrap_or(usize::MAX))?;
        tokio::select! {
            () = sleep(SHORTEST_FRAME) => {}
            () = follower.enough() => return Ok(ExitStatus::Done),
        }
    }
}

async fn print_changes(
    names: &[String],
    mut watch: Streaming<WatchServersResponse>,
    follower: &mut Follower,
    output: Output,
) -> Result<ExitStatus, Failure> {
    loop {
        let message = match follower.next(&mut watch).await? {
            Next::Message(message) => message,
            Next::End => return Err(Failure::StreamEnded),
            Next::Enough => return Ok(ExitStatus::Done),
        };
        let changes = Change::from_wire(message);
        let wanted = changes
            .iter()
            .filter(|change| wants(names, name_of(change)));
        match output.format {
            Format::Jsonl => output.objects(wanted)?,
            Format::Table | Format::Json => {
                output.lines(&wanted.map(line).collect::<Vec<_>>())?;
            }
        }
    }
}

fn wants(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn name_of(change: &Change) -> &str {
    let server = change.server.as_ref().map(|server| server.name.as_str());
    server.or(change.removed.as_deref()).unwrap_or_default()
}

fn line(change: &Change) -> String {
    match &change.server {
        Some(server) => words::news(server, Timestamp::now()),
        None => format!("{}: gone", name_of(change)),
    }
}
