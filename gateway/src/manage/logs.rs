//! The output of servers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use magi_proto::v1;
use serde::Deserialize;
use utoipa::IntoParams;

use super::context::Context;
use super::feed::{self, Feed, Gone};
use super::input::{Name, Query};
use super::problem::{Problem, ProblemDetails};
use super::servers::resolve;
use super::view::{LogLine, Logs};

/// Which lines.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// How many of the last lines, at most 10000. Absent: 20.
    lines: Option<u32>,
    /// The incarnation that wrote them. Absent: the newest.
    incarnation: Option<u64>,
    /// Go on with new lines, as server-sent events.
    #[serde(default)]
    follow: bool,
}

/// The output of a server: its last lines or, with `follow`, server-sent events named `line`. A client that
/// comes back begins with the last lines again.
#[utoipa::path(
    get, path = "/api/models/servers/{name}/logs", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model"), Which),
    responses(
        (status = 200, body = Logs),
        (status = 404, body = ProblemDetails),
    )
)]
pub(super) async fn tail(
    State(context): State<Context>,
    Name(name): Name,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let request = v1::TailLogsRequest {
        name: resolve(&context, name),
        lines: which.lines,
        follow: which.follow,
        incarnation: which.incarnation,
    };
    let mut stream = context.servers().tail_logs(request).await?.into_inner();
    if which.follow {
        return Ok(feed::respond(
            context.ending.clone(),
            move |feed| async move {
                // The stream ends with magid, and so does the answer: the client comes back by itself.
                while let Ok(Some(message)) = stream.message().await {
                    if tell(&feed, message).await.is_err() {
                        return;
                    }
                }
            },
        ));
    }
    let mut lines = Vec::new();
    while let Some(message) = stream.message().await? {
        lines.extend(LogLine::from_wire(message));
    }
    Ok(axum::Json(Logs { lines }).into_response())
}

async fn tell(feed: &Feed, message: v1::TailLogsResponse) -> Result<(), Gone> {
    for line in LogLine::from_wire(message) {
        feed.send("line", line).await?;
    }
    Ok(())
}
