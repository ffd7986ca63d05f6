//! What happens, as a stream of server-sent events: for pages that show it live.
//!
//! Three topics, each a stream of magid's: `events`, `servers` and `requests`. The stream to the client
//! stays while magid is away, and says so; what is missed meanwhile is told when magid is back. An event's
//! id has the start of magid in it, since sequences begin anew with every magid.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tonic::{Code, Status};
use utoipa::{IntoParams, ToSchema};

use super::context::{Context, read};
use super::feed::{self, Feed, Gone};
use super::input::Query;
use super::problem::{Problem, ProblemDetails};
use super::view::{Event, FinishedRequest, Server, all, timestamp};

/// How long to wait before magid is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Events that are told first, unless asked otherwise.
const FIRST: u32 = 50;

/// The most events that magid keeps.
const KEPT: u32 = 1000;

/// What to be told of.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Topics {
    /// `events`, `servers` and `requests`, with commas between them. Absent: all of them.
    topics: Option<String>,
    /// How many of the last events to begin with, at most 1000. Absent: 50.
    last: Option<u32>,
}

/// Servers that are new, changed, or gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServersChanged {
    /// Whether `servers` is all there are.
    snapshot: bool,
    /// Those that are new or changed.
    servers: Vec<Server>,
    /// The names of those that are gone.
    removed: Vec<String>,
}

/// Requests that ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestsEnded {
    requests: Vec<FinishedRequest>,
    /// How many more ended that are not told of.
    missed: u64,
}

/// Events that are not told of: magid does not keep them any more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Missed {
    /// How many.
    missed: u64,
}

/// A topic that nothing is told of for now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lost {
    topic: Topic,
    /// A stable code.
    reason: String,
}

/// What can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Topic {
    /// Events, as `magictl events` shows them.
    Events,
    /// The servers and their states.
    Servers,
    /// Requests that ended.
    Requests,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Events, Self::Servers, Self::Requests];

    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Servers => "servers",
            Self::Requests => "requests",
        }
    }
}

/// What tells one client.
#[derive(Clone)]
struct Follower {
    context: Context,
    feed: Feed,
    /// How many of the last events to begin with.
    first: u32,
    /// The last event that the client has.
    seen: Option<Place>,
}

/// The place of an event: the start of its magid, in milliseconds of the epoch, and its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    magid: i64,
    sequence: u64,
}

impl Place {
    fn parse(id: &str) -> Option<Self> {
        let (magid, sequence) = id.split_once('.')?;
        Some(Self {
            magid: magid.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }

    fn id(self) -> String {
        format!("{}.{}", self.magid, self.sequence)
    }
}

/// Why a topic is not followed any more.
enum End {
    Gone,
    Status(Status),
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// What happens, as server-sent events: `event` (with an id, from which a client that comes back goes on),
/// `servers` (a snapshot, then what changes), `requests` (that ended), `missed`, and `lost` while magid is
/// away.
#[utoipa::path(
    get, path = "/api/events", tag = "activity", params(Topics),
    responses(
        (status = 200, content_type = "text/event-stream", body = Event),
        (status = 400, body = ProblemDetails),
    )
)]
pub(super) async fn watch(
    State(context): State<Context>,
    Query(query): Query<Topics>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = wanted(query.topics.as_deref())?;
    let last_id = headers.get("last-event-id");
    let seen = last_id.and_then(|id| Place::parse(id.to_str().ok()?));
    let first = query.last.unwrap_or(FIRST).min(KEPT);
    Ok(feed::respond(
        context.ending.clone(),
        move |feed| async move {
            let follower = Follower {
                context,
                feed,
                first,
                seen,
            };
            tokio::join!(
                follower.clone().follow(Topic::Events, &wanted),
                follower.clone().follow(Topic::Servers, &wanted),
                follower.follow(Topic::Requests, &wanted),
            );
        },
    ))
}

/// The topics of a list, or all.
fn wanted(topics: Option<&str>) -> Result<Vec<Topic>, Problem> {
    let Some(topics) = topics else {
        return Ok(Topic::ALL.to_vec());
    };
    let topics = topics.split(',').map(|name| {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
        topic.ok_or_else(|| {
            let known = Topic::ALL.map(Topic::name).join(", ");
            Problem::invalid(format!("there is no topic {name:?}: there are {known}"))
        })
    });
    topics.collect()
}

impl Follower {
    /// Follows a topic through one magid after the other, if it is wanted.
    async fn follow(mut self, topic: Topic, wanted: &[Topic]) {
        while wanted.contains(&topic) {
            let Err(end) = match topic {
                Topic::Events => self.events().await,
                Topic::Servers => self.servers().await,
                Topic::Requests => self.requests().await,
            };
            if !self.goes_on(topic, end).await {
                return;
            }
        }
    }

    /// Follows the events of one magid.
    async fn events(&mut self) -> Result<Infallible, End> {
        let mut daemon = self.context.daemon();
        let version = daemon.get_version(read(v1::GetVersionRequest {})).await?;
        let started_at = timestamp(version.into_inner().started_at);
        let magid = started_at.map_or(0, |at| at.as_millisecond());
        let last = if self.seen.is_some() {
            KEPT
        } else {
            self.first
        };
        let request = v1::WatchEventsRequest {
            last: Some(last),
            follow: true,
            servers: Vec::new(),
        };
        let mut stream = daemon.watch_events(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            let mut missed = message.missed;
            for event in message.events {
                self.event(magid, event, &mut missed).await?;
            }
            tell_missed(&self.feed, &mut missed).await?;
        }
        Err(ended())
    }

    /// Sends an event that was not seen before, behind the number of those that were missed.
    async fn event(&mut self, magid: i64, event: v1::Event, missed: &mut u64) -> Result<(), Gone> {
        let sequence = event.sequence;
        if let Some(before) = self.seen.filter(|seen| seen.magid == magid) {
            if sequence <= before.sequence {
                return Ok(());
            }
            // magid's own count begins with this stream, and ours before it.
            *missed = (*missed).max(sequence - before.sequence - 1);
        }
        tell_missed(&self.feed, missed).await?;
        let place = Place { magid, sequence };
        let event = Event::from(event);
        self.feed.send_with_id("event", place.id(), event).await?;
        self.seen = Some(place);
        Ok(())
    }

    /// Follows the servers of one magid.
    async fn servers(&mut self) -> Result<Infallible, End> {
        let request = v1::WatchServersRequest {};
        let stream = self.context.servers().watch_servers(request).await?;
        let mut stream = stream.into_inner();
        while let Some(message) = stream.message().await? {
            let change = ServersChanged {
                snapshot: message.snapshot,
                servers: all(message.servers),
                removed: message.removed,
            };
            self.feed.send("servers", change).await?;
        }
        Err(ended())
    }

    /// Follows the requests that one magid is told of.
    async fn requests(&mut self) -> Result<Infallible, End> {
        let request = v1::WatchRequestsRequest {
            follow: true,
            server: String::new(),
        };
        let stream = self.context.gateways().watch_requests(request).await?;
        let mut stream = stream.into_inner();
        while let Some(message) = stream.message().await? {
            let ended = RequestsEnded {
                requests: all(message.requests),
                missed: message.missed,
            };
            self.feed.send("requests", ended).await?;
        }
        Err(ended())
    }

    /// Says that a topic is lost, and waits. False: it will not come back.
    async fn goes_on(&self, topic: Topic, end: End) -> bool {
        let End::Status(status) = end else {
            return false;
        };
        let passes = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
        );
        let reason = Problem::from(status).code().to_owned();
        let told = self.feed.send("lost", Lost { topic, reason }).await;
        sleep(PAUSE).await;
        passes && told.is_ok()
    }
}

async fn tell_missed(feed: &Feed, missed: &mut u64) -> Result<(), Gone> {
    match std::mem::take(missed) {
        0 => Ok(()),
        missed => feed.send("missed", Missed { missed }).await,
    }
}

/// magid ended a stream that has no end: it is on its way down.
fn ended() -> End {
    Status::unavailable("the stream ended").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let place = Place {
            magid: 1_767_225_600_000,
            sequence: 42,
        };
        assert_eq!(Place::parse(&place.id()), Some(place));
        assert_eq!(Place::parse("42"), None);
        assert_eq!(Place::parse("x.1"), None);
    }
}
