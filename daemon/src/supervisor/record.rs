//! What is on disk about each server's incarnations.
//!
//! Before a process is made, the number of its incarnation, its endpoint and its token are on disk;
//! after it, who the process is. So whatever moment magid is killed at, the next magid finds what is
//! left of it: by pid and start time, or by the token in the environment.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::name::ServerName;
use crate::process::{Identity, Token};

/// The version of the format.
const VERSION: u32 = 1;

/// The largest record that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// The record of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The server.
    pub server: String,
    /// The number of its newest incarnation.
    pub incarnation: u64,
    /// The port of its newest incarnation.
    pub port: Option<u16>,
    /// The incarnation that has, or may have, a process.
    pub live: Option<LiveRecord>,
}

/// An incarnation that has, or may have, a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRecord {
    /// What is in the environment of its whole process tree.
    pub token: Token,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// Who it is. Absent between the two writes around a spawn.
    pub process: Option<Identity>,
}

/// Why the records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read the records in {}: {reason}", .folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// A later magid wrote it.
    #[error("cannot use {}: it has version {found}, and this magid knows {VERSION}; run the magid that wrote it, or remove the file", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

impl Record {
    /// The record of a server that never ran.
    pub fn new(server: &ServerName) -> Self {
        Self {
            version: VERSION,
            server: server.to_string(),
            incarnation: 0,
            port: None,
            live: None,
        }
    }

    /// Writes it into the folder of records. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system says; the former record is then untouched.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        files::replace(
            &folder.join(format!("{}.json", self.server)),
            text.as_bytes(),
        )
    }
}

/// Reads all records. One that cannot be understood is set aside, and told in the log: it must not
/// keep the others from being used. Blocks.
///
/// # Errors
///
/// A folder that cannot be read, or a record of a later version.
pub fn read_all(folder: &Path) -> Result<BTreeMap<ServerName, Record>, RecordError> {
    let unreadable = |reason: io::Error| RecordError::Unreadable {
        folder: folder.to_path_buf(),
        reason,
    };
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_record = path.extension().is_some_and(|ending| ending == "json");
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = name.and_then(|name| ServerName::new(name).ok()) else {
            continue;
        };
        if is_record && let Some(record) = read(&path)? {
            records.insert(name, record);
        }
    }
    Ok(records)
}

fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    let text = match files::read_stable(path, LIMIT) {
        Ok(text) => text,
        Err(error) => return Ok(set_aside(path, &error.to_string())),
    };
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    if let Ok(Versioned { version }) = serde_json::from_str(&text)
        && version > u64::from(VERSION)
    {
        return Err(RecordError::Newer {
            path: path.to_path_buf(),
            found: version,
        });
    }
    match serde_json::from_str(&text) {
        Ok(record) => Ok(Some(record)),
        Err(error) => Ok(set_aside(path, &error.to_string())),
    }
}

fn set_aside(path: &Path, why: &str) -> Option<Record> {
    let aside = path.with_extension("broken");
    let moved = std::fs::rename(path, &aside);
    tracing::warn!(
        "cannot use {}: {why}; {}",
        path.display(),
        match moved {
            Ok(()) => format!("it was moved to {}", aside.display()),
            Err(error) => format!("cannot move it aside: {error}"),
        }
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let name = ServerName::new("qwen2.5").unwrap();
        let mut record = Record::new(&name);
        record.incarnation = 3;
        record.write(folder.path()).unwrap();
        assert_eq!(
            read_all(folder.path()).unwrap(),
            BTreeMap::from([(name, record)])
        );
    }

    #[test]
    fn a_broken_record_is_set_aside_and_the_others_are_used() {
        let folder = tempfile::tempdir().unwrap();
        Record::new(&ServerName::new("good").unwrap())
            .write(folder.path())
            .unwrap();
        std::fs::write(folder.path().join("bad.json"), "{\"version\":1").unwrap();
        assert_eq!(read_all(folder.path()).unwrap().len(), 1);
        assert!(folder.path().join("bad.broken").exists());
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "{\"version\": 2, \"more\": true}").unwrap();
        assert!(matches!(
            read_all(folder.path()),
            Err(RecordError::Newer { found: 2, .. })
        ));
        assert!(path.exists());
    }
}
