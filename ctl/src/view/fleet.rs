//! The daemon as a whole.

use jiff::Timestamp;
use magi_proto::v1;
use magi_view::{Config, Gateway, Server, all, non_empty, timestamp};
use serde::Serialize;

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) node: String,
    pub(crate) profile: Option<String>,
    pub(crate) generation: Option<u64>,
    pub(crate) config: Config,
    pub(crate) servers: Vec<Server>,
    pub(crate) gateways: Vec<Gateway>,
}

impl From<v1::GetStatusResponse> for Status {
    fn from(answer: v1::GetStatusResponse) -> Self {
        Self {
            node: answer.node,
            profile: answer.profile,
            generation: answer.generation,
            config: answer.config.unwrap_or_default().into(),
            servers: all(answer.servers),
            gateways: all(answer.gateways),
        }
    }
}

/// What `start`, `stop` and `restart` end with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Servers {
    pub(crate) servers: Vec<Server>,
}

/// One line of `status --watch -o jsonl`: a server as it is now, or the name of one that is gone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) server: Option<Server>,
    pub(crate) removed: Option<String>,
}

impl Change {
    /// The changes of one message.
    pub(crate) fn from_wire(message: v1::WatchServersResponse) -> Vec<Self> {
        let revision = message.revision;
        let changed = message.servers.into_iter().map(|server| Self {
            revision,
            server: Some(server.into()),
            removed: None,
        });
        let removed = message.removed.into_iter().map(|name| Self {
            revision,
            server: None,
            removed: Some(name),
        });
        changed.chain(removed).collect()
    }
}

/// What `daemon version` shows of magid.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) environment: Option<String>,
    pub(crate) state_dir: Option<String>,
    pub(crate) log_dir: Option<String>,
}

impl From<v1::GetVersionResponse> for Version {
    fn from(answer: v1::GetVersionResponse) -> Self {
        Self {
            version: answer.version,
            pid: answer.pid,
            started_at: timestamp(answer.started_at),
            environment: answer.environment,
            state_dir: non_empty(answer.state_dir),
            log_dir: non_empty(answer.log_dir),
        }
    }
}
