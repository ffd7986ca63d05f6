//! `magictl events [-f] [-n N] [SERVER…]`.

use clap::Args;
use jiff::tz::TimeZone;
use magi_proto::v1::WatchEventsRequest;

use super::follow::{Follower, Next, refuse_endless_document};
use crate::cli::Format;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::text::printable;
use crate::output::{Output, narrate, times};
use crate::view::{Event, Events};

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Names of the servers they are about [default: all, and the daemon]
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Go on with new events
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to begin with, at most 1000 [default: 50]
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u32>,
}

/// Prints events, oldest first, one a line.
pub(crate) async fn run(
    client: &Client,
    args: EventsArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    if args.follow {
        refuse_endless_document(output.format)?;
    }
    let request = WatchEventsRequest {
        last: args.last,
        follow: args.follow,
        servers: args.servers,
    };
    let mut stream = client.daemon().watch_events(request).await?.into_inner();
    let mut follower = Follower::new(output)?;
    let zone = TimeZone::system();
    let mut kept = Vec::new();
    loop {
        let message = match follower.next(&mut stream).await? {
            Next::Message(message) => message,
            Next::End if args.follow => return Err(Failure::StreamEnded),
            Next::End => break,
            Next::Enough => return Ok(ExitStatus::Done),
        };
        if message.missed > 0 {
            narrate(format_args!("-- {} events missed --", message.missed));
        }
        let events: Vec<_> = message.events.into_iter().map(Event::from).collect();
        match output.format {
            Format::Json => kept.extend(events),
            Format::Jsonl => output.objects(events)?,
            Format::Table => {
                let lines: Vec<_> = events.iter().map(|event| line(event, &zone)).collect();
                output.lines(&lines)?;
            }
        }
    }
    if output.format == Format::Json {
        output.document(&Events { events: kept })?;
    }
    Ok(ExitStatus::Done)
}

/// An event in one line, which is never cut: it is a log, not a table.
fn line(event: &Event, zone: &TimeZone) -> String {
    let at = event
        .at
        .map_or_else(|| "-".to_owned(), |at| times::clock(at, zone));
    let server = match (&event.server, event.incarnation) {
        (Some(server), Some(incarnation)) => format!("{server}#{incarnation}"),
        (Some(server), None) => server.clone(),
        (None, _) => "-".to_owned(),
    };
    printable(&format!(
        "{at}  {:<16}  {server:<16}  {}",
        event.kind, event.message
    ))
}
