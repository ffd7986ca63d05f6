//! `magictl requests [-f] [SERVER|ID]`.

use clap::Args;
use jiff::tz::TimeZone;
use magi_proto::v1::WatchRequestsRequest;

use super::follow::{Follower, Next, refuse_endless_document};
use super::status;
use crate::cli::Format;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::{Output, narrate, requests};
use crate::view::{FinishedRequest, Requests, Server};

/// Which requests.
#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Name or alias of the server that they went to, or the id of one that ended [default: all]
    #[arg(value_name = "SERVER|ID")]
    which: Option<String>,
    /// Go on with each request that ends
    #[arg(short, long)]
    follow: bool,
}

/// Prints requests that ended, oldest first, one a line, and tells what is in flight.
pub(crate) async fn run(
    client: &Client,
    args: RequestsArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    if args.follow {
        refuse_endless_document(output.format)?;
    }
    let names: Vec<_> = args.which.into_iter().collect();
    // A name that does not exist is a mistake, and an alias stands for the server.
    let servers = match status::fetch(client, &names).await {
        Err(Failure::NoSuchServer { name, .. }) if is_id(&name) && !args.follow => {
            return one(client, name, output).await;
        }
        fetched => fetched?.servers,
    };
    let request = WatchRequestsRequest {
        follow: args.follow,
        server: match names.is_empty() {
            true => String::new(),
            false => servers.first().map_or_else(String::new, |s| s.name.clone()),
        },
    };
    let mut stream = client
        .gateways()
        .watch_requests(request)
        .await?
        .into_inner();
    let mut follower = Follower::new(output)?;
    let mut printer = Printer::new(output);
    loop {
        let message = match follower.next(&mut stream).await? {
            Next::Message(message) => message,
            Next::End if args.follow => return Err(Failure::StreamEnded),
            Next::End => break,
            Next::Enough => return Ok(ExitStatus::Done),
        };
        if message.missed > 0 {
            narrate(format_args!("-- {} requests missed --", message.missed));
        }
        printer.print(
            message
                .requests
                .into_iter()
                .map(FinishedRequest::from)
                .collect(),
        )?;
    }
    printer.finish()?;
    if output.format == Format::Table {
        servers.iter().for_each(tell_activity);
    }
    Ok(ExitStatus::Done)
}

/// Whether it looks like the id of a request, as gateways write them.
fn is_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Prints one request that ended.
async fn one(client: &Client, id: String, output: Output) -> Result<ExitStatus, Failure> {
    let all = WatchRequestsRequest {
        follow: false,
        server: String::new(),
    };
    let mut stream = client.gateways().watch_requests(all).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let mut requests = message.requests.into_iter();
        if let Some(request) = requests.find(|request| request.id == id) {
            let mut printer = Printer::new(output);
            printer.print(vec![FinishedRequest::from(request)])?;
            printer.finish()?;
            return Ok(ExitStatus::Done);
        }
    }
    Err(Failure::NoSuchRequest(id))
}

struct Printer {
    output: Output,
    zone: TimeZone,
    /// For a document, which is printed at its end: at most what magid keeps.
    kept: Vec<FinishedRequest>,
    has_heading: bool,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self {
            output,
            zone: TimeZone::system(),
            kept: Vec::new(),
            has_heading: false,
        }
    }

    fn print(&mut self, requests: Vec<FinishedRequest>) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => {
                self.kept.extend(requests);
                Ok(())
            }
            Format::Jsonl => self.output.objects(requests),
            Format::Table => {
                let heading = (!self.has_heading && !requests.is_empty()).then(requests::heading);
                self.has_heading |= heading.is_some();
                let lines = requests.iter().map(|one| requests::line(one, &self.zone));
                self.output
                    .lines(&heading.into_iter().chain(lines).collect::<Vec<_>>())
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => self.output.document(&Requests {
                requests: self.kept,
            }),
            Format::Table if !self.has_heading => {
                narrate(format_args!("no request has ended yet"));
                Ok(())
            }
            Format::Table | Format::Jsonl => Ok(()),
        }
    }
}

/// Says what has not ended.
fn tell_activity(server: &Server) {
    let (in_flight, waiting) = (server.in_flight.unwrap_or(0), server.waiting.unwrap_or(0));
    if in_flight + waiting > 0 {
        narrate(format_args!(
            "{}: {in_flight} in flight, {waiting} waiting",
            server.name
        ));
    }
}
