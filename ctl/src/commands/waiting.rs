//! Waiting for the daemon to do something, and telling what happens meanwhile.

use std::future::Future;
use std::time::Duration;

use magi_proto::v1::{WatchServersRequest, WatchServersResponse};
use tonic::{Response, Status, Streaming};

use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::progress::Narrator;
use crate::output::{narrate, times, words};
use crate::view::{self, Change};

/// Whose changes are told.
pub(super) enum Audience<'a> {
    /// Those of every server.
    All,
    /// Those of the servers of these names or aliases.
    Named(&'a [String]),
}

impl Audience<'_> {
    fn hears_of(&self, change: &Change) -> bool {
        match (self, &change.server) {
            (Self::All, _) => true,
            (Self::Named(names), Some(server)) => names.iter().any(|name| server.is_called(name)),
            (Self::Named(names), None) => names
                .iter()
                .any(|name| change.removed.as_ref() == Some(name)),
        }
    }
}

/// Waits for the answer to `request`, and tells the changes of servers until it comes.
///
/// `request` is sent only after the watch has begun, so that no change is missed.
pub(super) async fn narrated<T>(
    client: &Client,
    audience: Audience<'_>,
    request: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let mut narrator = Narrator::new();
    let mut watch = begin(client, &mut narrator).await;
    tokio::pin!(request);
    loop {
        tokio::select! {
            // News come before the answer that they led to.
            biased;
            // Cancel safe: a message is taken whole or stays in the stream.
            news = next(&mut watch) => match news {
                Some(news) => {
                    let changes = Change::from_wire(news);
                    changes.iter().filter(|it| audience.hears_of(it)).for_each(|it| narrator.change(it));
                }
                None => watch = None,
            },
            // The same request is polled again in the next turn.
            answer = &mut request => return answer.map(Response::into_inner),
        }
    }
}

/// Without a watch there is no narration, and the command works all the same.
async fn begin(
    client: &Client,
    narrator: &mut Narrator,
) -> Option<Streaming<WatchServersResponse>> {
    let answer = client.servers().watch_servers(WatchServersRequest {}).await;
    let mut watch = answer.ok()?.into_inner();
    let snapshot = watch.message().await.ok()??;
    narrator.begin(&Change::from_wire(snapshot));
    Some(watch)
}

async fn next(watch: &mut Option<Streaming<WatchServersResponse>>) -> Option<WatchServersResponse> {
    match watch {
        Some(stream) => stream.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
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
    let answer = client
        .daemon()
        .get_status(magi_proto::v1::GetStatusRequest {})
        .await?;
    let status = view::Status::from(answer.into_inner());
    for server in status.servers {
        let is_concerned = match &audience {
            Audience::All => server.state.is_passing(),
            Audience::Named(names) => names.iter().any(|name| server.is_called(name)),
        };
        if is_concerned {
            narrate(format_args!(
                "{}",
                words::news(&server, jiff::Timestamp::now())
            ));
        }
    }
    Ok(ExitStatus::Busy)
}
