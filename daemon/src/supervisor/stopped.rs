//! Remembers which servers an operator stopped, over reloads and restarts of magid.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::blocking::blocking;
use crate::files;
use crate::files::state::{self, Fault, NewerVersion};
use crate::name::ServerName;

const VERSION: u32 = 1;
const LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopped {
    version: u32,
    servers: BTreeSet<String>,
}

/// Writes the newest set to disk; sets that come while one is written are folded into the last.
#[derive(Debug)]
pub struct StoppedFile {
    newest: watch::Sender<BTreeSet<ServerName>>,
    writer: JoinHandle<()>,
}

impl StoppedFile {
    /// Starts the owner of the file, which holds `known` now.
    pub fn spawn(path: PathBuf, known: BTreeSet<ServerName>) -> Self {
        let (newest, inbox) = watch::channel(known);
        let writer = tokio::spawn(run(path, inbox));
        Self { newest, writer }
    }

    /// Has a set written.
    pub fn remember(&self, stopped: BTreeSet<ServerName>) {
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

async fn run(path: PathBuf, mut inbox: watch::Receiver<BTreeSet<ServerName>>) {
    while inbox.changed().await.is_ok() {
        let stopped = inbox.borrow_and_update().clone();
        let path = path.clone();
        let written = blocking(move || write(&path, &stopped)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot remember which servers were stopped: {error}");
        }
    }
}

fn write(path: &Path, stopped: &BTreeSet<ServerName>) -> io::Result<()> {
    files::replace(path, text(stopped)?.as_bytes())
}

/// The text of the file.
pub(crate) fn text(stopped: &BTreeSet<ServerName>) -> io::Result<String> {
    let stopped = Stopped {
        version: VERSION,
        servers: stopped.iter().map(ToString::to_string).collect(),
    };
    let mut text = serde_json::to_string_pretty(&stopped)?;
    text.push('\n');
    Ok(text)
}

/// Reads the text of the file.
pub(crate) fn parse(text: &str) -> Result<BTreeSet<ServerName>, Fault> {
    let stopped: Stopped = state::parse(text, VERSION)?;
    let names = stopped.servers.iter().map(|name| {
        ServerName::new(name)
            .map_err(|error| Fault::Broken(format!("the name of a server {error}")))
    });
    names.collect()
}

/// Reads the servers that an operator stopped. A file that cannot be understood is set aside, told in
/// the log, and counts as none. Blocks.
///
/// # Errors
///
/// A file of a later version.
pub fn read(path: &Path) -> Result<BTreeSet<ServerName>, NewerVersion> {
    let stopped = state::read(path, LIMIT, VERSION, parse)?;
    Ok(stopped.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<ServerName> {
        let names = names.iter().map(|name| ServerName::new(name).unwrap());
        names.collect()
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        assert_eq!(read(&path), Ok(names(&[])));
        write(&path, &names(&["a", "b.c"])).unwrap();
        assert_eq!(read(&path), Ok(names(&["a", "b.c"])));
    }

    #[test]
    fn a_file_of_a_later_version_is_refused_even_if_its_servers_are_of_another_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        std::fs::write(&path, r#"{"version": 2, "servers": {"a": "held"}}"#).unwrap();
        assert_eq!(read(&path).unwrap_err().found, 2);
        assert!(path.exists());
    }

    #[test]
    fn a_broken_file_is_set_aside_before_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stopped.json");
        for text in ["{", r#"{"version": 1, "servers": ["../x"]}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), Ok(names(&[])));
            let aside = std::fs::read_to_string(path.with_extension("broken"));
            assert_eq!(aside.unwrap(), text);
        }
    }
}
