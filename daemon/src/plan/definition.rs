//! What a server is defined as, after everything has been looked up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::config::{ApiKeys, Replace, Traffic};
use crate::gguf::Facts;
use crate::lifecycle::Policy;
use crate::memory::Demand;
use crate::name::{Alias, ServerName};

/// What magid adds to every command line of its own: the web page of llama-server would be open beside
/// our access rules; metrics and slots are what supervision looks at; colours have no place in a file.
pub const OWN_FLAGS: [&str; 5] = ["--no-ui", "--metrics", "--slots", "--log-colors", "off"];

/// A server of the active profile, with all defaults filled in and all files looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: ServerName,
    /// Its other names.
    pub aliases: Vec<Alias>,
    /// Whether it runs without being asked for.
    pub autostart: bool,
    /// Of servers that start together, the one with the higher priority is given memory first.
    pub priority: i32,
    /// How it takes requests, and what becomes of it without any.
    pub traffic: Traffic,
    /// How its incarnation is replaced.
    pub replace: Replace,
    /// What reaches its process.
    pub launch: Launch,
    /// What it needs of memory, as far as was known when it was defined. No part of what it is.
    pub need: Option<Demand>,
    /// The rules of its lifecycle.
    pub policy: Policy,
    /// `file:line` of its table. No part of what it is: moving it is no edit.
    pub defined_at: String,
}

/// What reaches the process of a server. A change of any of it needs a new incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The llama-server binary.
    pub engine: PathBuf,
    /// The model.
    pub model: Model,
    /// The address it listens on.
    pub host: IpAddr,
    /// The port, if the profile fixes it.
    pub port: Option<u16>,
    /// The typed keys that are set, as key and value, for telling what changed.
    pub settings: BTreeMap<String, String>,
    /// The arguments that these keys and `args` stand for.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
    /// Whether it asks for a key.
    pub api_key: ApiKeys,
}

/// The model of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `model` as the profile has it.
    pub written: String,
    /// Its name in the registry, if it is there.
    pub id: Option<String>,
    /// The file, or the first of its shards; or why there is none.
    pub file: Result<PathBuf, String>,
    /// The further shards.
    pub shards: Vec<PathBuf>,
    /// Which file it is, so that another one of the same name is noticed.
    pub identity: Option<Identity>,
    /// What its header says, if it was read.
    pub facts: Option<Arc<Facts>>,
}

impl Model {
    /// A model of which no file was found.
    pub fn missing(written: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            written: written.into(),
            id: None,
            file: Err(why.into()),
            shards: Vec::new(),
            identity: None,
            facts: None,
        }
    }
}

/// Which file stands behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number in the file system.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl Identity {
    /// Whether another file took the place of this one. A copy with the same size and time is taken
    /// for the same: it was restored or moved to another disk. One that was written in place is the
    /// same file.
    pub fn was_replaced_by(&self, other: &Self) -> bool {
        let differs = (self.size, self.modified) != (other.size, other.modified);
        self.inode != other.inode && differs
    }
}

impl Launch {
    /// The files that an incarnation maps.
    pub fn model_files(&self) -> Vec<PathBuf> {
        let projector = self.settings.get("mmproj").map(PathBuf::from);
        let files = self.model.file.iter().chain(&self.model.shards);
        files.cloned().chain(projector).collect()
    }

    /// The arguments of an incarnation that listens on `port`, without the program's name.
    pub fn command_line(
        &self,
        name: &ServerName,
        model: &std::path::Path,
        port: u16,
    ) -> Vec<String> {
        let mut line = vec![
            "--model".to_owned(),
            model.display().to_string(),
            "--alias".to_owned(),
            name.to_string(),
            "--host".to_owned(),
            self.host.to_string(),
            "--port".to_owned(),
            port.to_string(),
        ];
        line.extend(OWN_FLAGS.map(str::to_owned));
        line.extend(self.arguments.iter().cloned());
        line
    }

    /// The address at which an incarnation that listens on [`Launch::host`] can be reached.
    pub fn reachable_host(&self) -> IpAddr {
        match self.host {
            IpAddr::V4(host) if host.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(host) if host.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            host => host,
        }
    }
}
