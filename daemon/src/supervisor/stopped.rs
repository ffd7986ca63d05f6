//! Remembers which servers an operator stopped, over reloads and restarts of magid.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::blocking::blocking;
use crate::files;
use crate::files::state::{self, Fault, NewerVersion};
use crate::lifecycle::StopReason;
use crate::name::ServerName;

/// The version of a file in which nothing is held, which magids before that know too.
const FIRST_VERSION: u32 = 1;

const VERSION: u32 = 2;
const LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopped {
    version: u32,
    /// All of them.
    servers: BTreeSet<String>,
    /// Those that are held.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    held: BTreeSet<String>,
}

/// How an operator stopped a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Until an operator or a request starts it.
    Plain,
    /// Until an operator starts it: requests are refused.
    Held,
}

impl Stop {
    /// The reason that the server has.
    pub fn reason(self) -> StopReason {
        match self {
            Self::Plain => StopReason::Requested,
            Self::Held => StopReason::Held,
        }
    }
}

/// The servers that an operator stopped.
pub type StoppedServers = BTreeMap<ServerName, Stop>;

/// Writes the newest ones to disk; what comes while they are written is folded into the last.
#[derive(Debug)]
pub struct StoppedFile {
    newest: watch::Sender<StoppedServers>,
    writer: JoinHandle<()>,
}

impl StoppedFile {
    /// Starts the owner of the file, which holds `known` now.
    pub fn spawn(path: PathBuf, known: StoppedServers) -> Self {
        let (newest, inbox) = watch::channel(known);
        let writer = tokio::spawn(run(path, inbox));
        Self { newest, writer }
    }

    /// Has these written.
    pub fn remember(&self, stopped: StoppedServers) {
        self.newest.send_if_modified(|known| {
            let differs = *known != stopped;
            *known = stopped;
            differs
        });
    }

    /// Waits until what was remembered is on disk, and ends the owner.
    pub async fn close(self) {
        drop(self.newest);
        let _ = self.writer.await;
    }
}

async fn run(path: PathBuf, mut inbox: watch::Receiver<StoppedServers>) {
    while inbox.changed().await.is_ok() {
        let stopped = inbox.borrow_and_update().clone();
        let path = path.clone();
        let written = blocking(move || write(&path, &stopped)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot remember which servers were stopped: {error}");
        }
    }
}

fn write(path: &Path, stopped: &StoppedServers) -> io::Result<()> {
    files::replace(path, text(stopped)?.as_bytes())
}

/// The text of the file.
pub(crate) fn text(stopped: &StoppedServers) -> io::Result<String> {
    let held = stopped.iter().filter(|(_, stop)| **stop == Stop::Held);
    let held: BTreeSet<_> = held.map(|(name, _)| name.to_string()).collect();
    let stopped = Stopped {
        version: match held.is_empty() {
            true => FIRST_VERSION,
            false => VERSION,
        },
        servers: stopped.keys().map(ToString::to_string).collect(),
        held,
    };
    let mut text = serde_json::to_string_pretty(&stopped)?;
    text.push('\n');
    Ok(text)
}

/// Reads the text of the file.
pub(crate) fn parse(text: &str) -> Result<StoppedServers, Fault> {
    let stopped: Stopped = match state::parse(text, FIRST_VERSION) {
        Err(Fault::Newer(_)) => state::parse(text, VERSION)?,
        first => first?,
    };
    let plain = stopped.servers.iter().map(|name| (name, Stop::Plain));
    let held = stopped.held.iter().map(|name| (name, Stop::Held));
    let named = plain.chain(held).map(|(name, stop)| {
        let name = ServerName::new(name);
        let name = name.map_err(|error| Fault::Broken(format!("the name of a server {error}")))?;
        Ok((name, stop))
    });
    named.collect()
}

/// Reads the servers that an operator stopped. A file that cannot be understood is set aside, told in
/// the log, and counts as none. Blocks.
///
/// # Errors
///
/// A file of a later version.
pub fn read(path: &Path) -> Result<StoppedServers, NewerVersion> {
    let stopped = state::read(path, LIMIT, VERSION, parse)?;
    Ok(stopped.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(names: &[(&str, Stop)]) -> StoppedServers {
        let named = names.iter().copied();
        named
            .map(|(name, stop)| (ServerName::new(name).unwrap(), stop))
            .collect()
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        assert_eq!(read(&path), Ok(stopped(&[])));
        let both = stopped(&[("a", Stop::Plain), ("b.c", Stop::Held)]);
        write(&path, &both).unwrap();
        assert_eq!(read(&path), Ok(both));
    }

    #[test]
    fn a_file_without_what_is_held_is_that_of_earlier_magids() {
        let text = text(&stopped(&[("a", Stop::Plain)])).unwrap();
        let earlier = "{\n  \"version\": 1,\n  \"servers\": [\n    \"a\"\n  ]\n}\n";
        assert_eq!(text, earlier);
        assert_eq!(parse(earlier), Ok(stopped(&[("a", Stop::Plain)])));
    }

    #[test]
    fn a_file_of_a_later_version_is_refused_even_if_its_servers_are_of_another_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        std::fs::write(&path, r#"{"version": 3, "servers": {"a": "held"}}"#).unwrap();
        assert_eq!(read(&path).unwrap_err().found, 3);
        assert!(path.exists());
    }

    #[test]
    fn a_broken_file_is_set_aside_before_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        for text in ["{", r#"{"version": 1, "servers": ["../x"]}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), Ok(stopped(&[])));
            let aside = std::fs::read_to_string(path.with_extension("broken"));
            assert_eq!(aside.unwrap(), text);
        }
    }
}
