//! Waiting for the daemon to do something, and telling what happens meanwhile.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::time::Duration;

use jiff::Timestamp;
use magi_proto::v1::WatchServersRequest;
use tonic::{Response, Status};

use super::status;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::progress::Narrator;
use crate::output::{narrate, times, words};
use crate::view::Change;

/// Whose changes are told.
pub(super) enum Audience<'a> {
    /// Those of every server.
    All,
    /// Those of the servers of these names or aliases.
    Named(&'a [String]),
    /// Those of whoever has this name or alias, or serves the model of this id.
    Serving(&'a str),
}

impl Audience<'_> {
    fn hears_of(&self, change: &Change) -> bool {
        match (self, &change.server) {
            (Self::All, _) => true,
            (Self::Named(names), Some(server)) => names.iter().any(|name| server.is_called(name)),
            (Self::Serving(name), Some(server)) => {
                server.is_called(name) || server.model_id.as_deref() == Some(name)
            }
            (Self::Serving(name), None) => change.removed.as_deref() == Some(name),
            (Self::Named(names), None) => names
                .iter()
                .any(|name| change.removed.as_ref() == Some(name)),
        }
    }
}

/// Waits for the answer to `request`, and tells the changes of servers until it comes.
pub(super) async fn narrated<T>(
    client: &Client,
    audience: Audience<'_>,
    request: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    tokio::select! {
        // The watch is asked for before the request, and news come before the answer they led to.
        // The first never ends and the second ends this: nothing is lost by dropping either.
        biased;
        never = tell(client, audience) => match never {},
        answer = request => answer.map(Response::into_inner),
    }
}

/// Tells changes for as long as it is polled. Without a watch there is nothing to tell, and the
/// command works all the same.
async fn tell(client: &Client, audience: Audience<'_>) -> Infallible {
    let mut narrator = Narrator::new();
    if let Ok(answer) = client.servers().watch_servers(WatchServersRequest {}).await {
        let mut watch = answer.into_inner();
        while let Ok(Some(message)) = watch.message().await {
            let is_snapshot = message.snapshot;
            let changes = Change::from_wire(message);
            for change in changes.iter().filter(|change| audience.hears_of(change)) {
                match is_snapshot {
                    true => narrator.begin(change),
                    false => narrator.change(change),
                }
            }
        }
    }
    pending().await
}

/// Says that the time was up, and how far the servers in question got.
pub(super) async fn time_is_up(
    client: &Client,
    audience: Audience<'_>,
    timeout: Duration,
) -> Result<ExitStatus, Failure> {
    let waited = times::short(timeout);
    narrate(format_args!(
        "magictl: not done after {waited}; magid goes on with it"
    ));
    let status = status::fetch(client, &[]).await?;
    for server in status.servers {
        let is_concerned = match &audience {
            Audience::All => server.state.is_passing(),
            Audience::Named(names) => names.iter().any(|name| server.is_called(name)),
            Audience::Serving(name) => server.is_called(name),
        };
        if is_concerned {
            narrate(format_args!("{}", words::news(&server, Timestamp::now())));
        }
    }
    Ok(ExitStatus::Busy)
}
