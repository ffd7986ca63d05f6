//! Remembers which servers an operator stopped, over reloads and restarts of magid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::record::RecordError;
use crate::blocking::blocking;
use crate::files;
use crate::name::ServerName;

const VERSION: u32 = 1;
const LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Stopped {
    version: u32,
    servers: BTreeSet<String>,
}

/// Writes the newest set to disk; sets that come while one is written are folded into the last.
#[derive(Debug)]
pub struct Memory {
    newest: watch::Sender<BTreeSet<ServerName>>,
    writer: JoinHandle<()>,
}

impl Memory {
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
        let stopped = Stopped {
            version: VERSION,
            servers: inbox
                .borrow_and_update()
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        let path = path.clone();
        let written = blocking(move || write(&path, &stopped)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot remember which servers were stopped: {error}");
        }
    }
}

fn write(path: &Path, stopped: &Stopped) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(stopped)?;
    text.push('\n');
    files::replace(path, text.as_bytes())
}

/// Reads the servers that an operator stopped. A file that cannot be understood counts as none, and
/// is told in the log. Blocks.
///
/// # Errors
///
/// A file of a later version.
pub fn read(path: &Path) -> Result<BTreeSet<ServerName>, RecordError> {
    let text = match files::read_stable(path, LIMIT) {
        Ok(text) => text,
        Err(files::ReadError::Missing(_)) => return Ok(BTreeSet::new()),
        Err(error) => {
            tracing::warn!("cannot know which servers were stopped: {error}");
            return Ok(BTreeSet::new());
        }
    };
    match serde_json::from_str::<Stopped>(&text) {
        Ok(stopped) if stopped.version > VERSION => Err(RecordError::Newer {
            path: path.to_path_buf(),
            found: stopped.version.into(),
        }),
        Ok(stopped) => {
            let names = stopped.servers.iter();
            Ok(names
                .filter_map(|name| ServerName::new(name).ok())
                .collect())
        }
        Err(error) => {
            tracing::warn!("cannot use {}: {error}", path.display());
            Ok(BTreeSet::new())
        }
    }
}
