//! What `start`, `stop` and `restart` have in common: a request about some servers, narration while
//! it is carried out, and the servers as they are then.

use std::future::Future;

use jiff::Timestamp;
use magi_proto::v1;
use tonic::{Response, Status};

use super::waiting::{self, Audience};
use crate::cli::{ChangeArgs, Format};
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::{Output, narrate, servers, words};
use crate::view::{Exit, Server, Servers, State};

/// Sends `request`, tells what happens, and prints the servers that it answers with.
///
/// With waiting, a server that is in another state than `wanted` then is a failure.
pub(super) async fn run<T: IntoServers>(
    client: &Client,
    args: &ChangeArgs,
    wanted: State,
    request: impl Future<Output = Result<Response<T>, Status>>,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let answer = match args.wait.no_wait {
        true => request.await.map(Response::into_inner),
        false => waiting::narrated(client, audience(args), request).await,
    };
    let servers = match (answer.map_err(Failure::from), args.wait.timeout) {
        (Ok(answer), _) => answer.into_servers(),
        (Err(failure), Some(timeout)) if failure.is_timeout() => {
            return waiting::time_is_up(client, audience(args), timeout).await;
        }
        (Err(failure), _) => return Err(failure),
    };
    let shown = Servers {
        servers: servers.into_iter().map(Server::from).collect(),
    };
    print(&shown, output)?;
    if args.wait.no_wait {
        return Ok(ExitStatus::Done);
    }
    Ok(verdict(&shown.servers, wanted))
}

fn audience(args: &ChangeArgs) -> Audience<'_> {
    match args.all {
        true => Audience::All,
        false => Audience::Named(&args.servers),
    }
}

fn print(shown: &Servers, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.document(shown),
        Format::Jsonl => output.objects(&shown.servers),
        Format::Table if shown.servers.is_empty() => {
            narrate(format_args!("there are no servers"));
            Ok(())
        }
        Format::Table => {
            let table = servers::table(&shown.servers, Timestamp::now());
            output.lines(&table.render(output.size().0, output.colours))
        }
    }
}

fn verdict(servers: &[Server], wanted: State) -> ExitStatus {
    let failed: Vec<_> = servers
        .iter()
        .filter(|server| server.state != wanted)
        .collect();
    for server in &failed {
        tell_failure(server);
    }
    match failed.is_empty() {
        true => ExitStatus::Done,
        false => ExitStatus::Failed,
    }
}

/// Says why a server is not what was asked for, with the last lines of its output.
pub(super) fn tell_failure(server: &Server) {
    let news = words::news(server, Timestamp::now());
    narrate(format_args!("magictl: {news}"));
    let Some(exit) = server.last_exit.as_ref().filter(|_| has_ended(server)) else {
        return;
    };
    tell_ending(exit);
}

/// Says how an incarnation ended, with the last lines of its output.
pub(super) fn tell_ending(exit: &Exit) {
    narrate(format_args!(
        "incarnation {} ended: {}",
        exit.incarnation,
        words::ending(exit)
    ));
    for line in words::last_lines(exit) {
        narrate(format_args!("{line}"));
    }
}

/// Whether the last exit is about the incarnation in question, and not about an earlier one.
fn has_ended(server: &Server) -> bool {
    match server.state {
        State::Failed | State::Backoff => true,
        State::Stopped => !server.waits_for_memory(),
        State::Starting | State::Ready | State::Draining | State::Stopping | State::Unknown => {
            false
        }
    }
}

/// An answer that lists servers.
pub(super) trait IntoServers {
    /// The servers.
    fn into_servers(self) -> Vec<v1::Server>;
}

impl IntoServers for v1::StartServersResponse {
    fn into_servers(self) -> Vec<v1::Server> {
        self.servers
    }
}

impl IntoServers for v1::StopServersResponse {
    fn into_servers(self) -> Vec<v1::Server> {
        self.servers
    }
}

impl IntoServers for v1::RestartServersResponse {
    fn into_servers(self) -> Vec<v1::Server> {
        self.servers
    }
}
