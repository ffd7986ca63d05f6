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

use super::seat::Seat;
use crate::files;
use crate::files::state::{self, Fault, NewerVersion};
use crate::process::{Identity, Token};
use crate::text::one_line;

/// The version of the format.
const VERSION: u32 = 1;

/// The largest record that is read, in bytes.
const LIMIT: u64 = 64 * 1024;

/// The record of one seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The seat: for most servers the name.
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
    /// A later magid wrote one.
    #[error(transparent)]
    Newer(#[from] NewerVersion),
}

impl Record {
    /// The record of a seat in which nothing ever ran.
    pub fn new(seat: &Seat) -> Self {
        Self {
            version: VERSION,
            server: seat.to_string(),
            incarnation: 0,
            port: None,
            live: None,
        }
    }

    /// Reads the text of the record of `seat`. That of another would have two servers take the same
    /// processes for theirs.
    pub(crate) fn parse(seat: &Seat, text: &str) -> Result<Self, Fault> {
        let record: Self = state::parse(text, VERSION)?;
        if record.server == seat.to_string() {
            Ok(record)
        } else {
            let why = format!("it is of {}", one_line(&record.server));
            Err(Fault::Broken(why))
        }
    }

    /// The text of it.
    pub(crate) fn text(&self) -> io::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Writes it into the folder of records. Blocks.
    ///
    /// # Errors
    ///
    /// Whatever the system says; the former record is then untouched.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(format!("{}.json", self.server));
        files::replace(&path, self.text()?.as_bytes())
    }
}

/// Reads all records. One that cannot be understood is set aside, and told in the log: it must not
/// keep the others from being used. Blocks.
///
/// # Errors
///
/// A folder that cannot be read, or a record of a later version.
pub fn read_all(folder: &Path) -> Result<BTreeMap<Seat, Record>, RecordError> {
    let unreadable = |reason: io::Error| RecordError::Unreadable {
        folder: folder.to_path_buf(),
        reason,
    };
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_record = path.extension().is_some_and(|ending| ending == "json");
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(seat) = name.and_then(Seat::parse) else {
            continue;
        };
        if !is_record {
            continue;
        }
        let record = state::read(&path, LIMIT, VERSION, |text| Record::parse(&seat, text))?;
        records.extend(record.map(|record| (seat, record)));
    }
    Ok(records)
}

/// The records that can be understood, as they are: nothing is set aside. For those who only look.
/// Blocks.
pub fn look(folder: &Path) -> BTreeMap<Seat, Record> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let record = |path: PathBuf| {
        let seat = Seat::parse(path.file_stem()?.to_str()?)?;
        let text = files::read_stable(&path, LIMIT).ok()?;
        Some((seat.clone(), Record::parse(&seat, &text).ok()?))
    };
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .filter_map(record)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let seat = Seat::parse("qwen2.5~1").unwrap();
        let mut record = Record::new(&seat);
        record.incarnation = 3;
        record.write(folder.path()).unwrap();
        assert_eq!(
            read_all(folder.path()).unwrap(),
            BTreeMap::from([(seat, record)])
        );
    }

    #[test]
    fn a_broken_record_is_set_aside_and_the_others_are_used() {
        let folder = tempfile::tempdir().unwrap();
        Record::new(&Seat::parse("good").unwrap())
            .write(folder.path())
            .unwrap();
        std::fs::write(folder.path().join("bad.json"), "{\"version\":1").unwrap();
        assert_eq!(read_all(folder.path()).unwrap().len(), 1);
        assert!(folder.path().join("bad.broken").exists());
    }

    #[test]
    fn a_record_under_the_name_of_another_server_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(&Seat::parse("a").unwrap());
        record.write(folder.path()).unwrap();
        std::fs::copy(folder.path().join("a.json"), folder.path().join("b.json")).unwrap();
        assert_eq!(read_all(folder.path()).unwrap().len(), 1);
        assert!(folder.path().join("b.broken").exists());
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "{\"version\": 2, \"more\": true}").unwrap();
        assert!(matches!(
            read_all(folder.path()),
            Err(RecordError::Newer(NewerVersion { found: 2, .. }))
        ));
        assert!(path.exists());
    }
}
