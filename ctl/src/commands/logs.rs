//! `magictl logs SERVER [-f] [-n N] [--incarnation K]`.

use clap::Args;
use magi_proto::v1::TailLogsRequest;

use super::follow::{Follower, Next, refuse_endless_document};
use crate::cli::Format;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::{Output, narrate, words};
use crate::view::{LogLine, Logs};

/// Which output.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name or alias of the server
    server: String,
    /// Go on with new lines, also of the next incarnation
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to begin with, at most 10000 [default: 20]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u32>,
    /// The incarnation to read [default: the newest]
    #[arg(long, value_name = "K")]
    incarnation: Option<u64>,
}

/// Prints the lines as the server wrote them.
pub(crate) async fn run(
    client: &Client,
    args: LogsArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    if args.follow {
        refuse_endless_document(output.format)?;
    }
    let request = TailLogsRequest {
        name: args.server,
        lines: args.lines,
        follow: args.follow,
        incarnation: args.incarnation,
    };
    let mut stream = client.servers().tail_logs(request).await?.into_inner();
    let mut follower = Follower::new(output)?;
    let mut printer = Printer::new(output);
    loop {
        match follower.next(&mut stream).await? {
            Next::Message(message) => printer.print(LogLine::from_wire(message))?,
            // The log of one incarnation ends with it.
            Next::End if args.follow && args.incarnation.is_none() => {
                return Err(Failure::StreamEnded);
            }
            Next::End => break,
            Next::Enough => return Ok(ExitStatus::Done),
        }
    }
    printer.finish()?;
    Ok(ExitStatus::Done)
}

struct Printer {
    output: Output,
    /// The incarnation of the last line.
    incarnation: Option<u64>,
    /// For a document, which is printed at its end: at most the lines that were asked for.
    kept: Vec<LogLine>,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self {
            output,
            incarnation: None,
            kept: Vec::new(),
        }
    }

    fn print(&mut self, lines: Vec<LogLine>) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => {
                self.kept.extend(lines);
                Ok(())
            }
            Format::Jsonl => self.output.objects(lines),
            Format::Table => lines.into_iter().try_for_each(|line| self.print_raw(line)),
        }
    }

    fn print_raw(&mut self, line: LogLine) -> Result<(), Failure> {
        let before = self.incarnation.replace(line.incarnation);
        if before.is_some_and(|before| before != line.incarnation) {
            narrate(format_args!("-- incarnation {} --", line.incarnation));
        }
        if line.skipped_bytes > 0 {
            narrate(format_args!(
                "-- {} passed over --",
                words::bytes(line.skipped_bytes)
            ));
        }
        match line.line {
            Some(text) => self.output.lines(&[text]),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self.output.format {
            Format::Json => self.output.document(&Logs { lines: self.kept }),
            Format::Table | Format::Jsonl => Ok(()),
        }
    }
}
