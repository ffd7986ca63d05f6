//! What is known of servers that were started before, in memory and in a file.
//!
//! The file saves work, and no more: magid runs as well without it. So one that is broken is set aside,
//! and one of a later version is left alone and not used.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::breakdown::Breakdown;
use super::inputs::Key;
use crate::blocking::blocking;
use crate::files;
use crate::files::state::{self, Fault};

const VERSION: u32 = 1;

/// The most sets of settings that are remembered; those that were not used for the longest time go.
const MOST: usize = 4096;

/// The largest that the file can be: an entry with several devices has less than 2 KiB.
const LIMIT: u64 = 8 << 20;

/// Incarnations of which the memory is remembered.
const INCARNATIONS: usize = 5;

/// What is known, by the settings that it was found out for. A clone is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimates {
    entries: BTreeMap<Key, (u64, Arc<Known>)>,
    /// Grows with every use.
    uses: u64,
}

/// What is known of a server with certain settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What llama-fit-params says.
    pub(super) fit: Option<Breakdown>,
    /// The most main memory that each of the last incarnations had, in bytes. The newest is the last.
    observed: Vec<u64>,
}

impl Known {
    /// The most main memory that any of the last incarnations had.
    pub(super) fn observed(&self) -> Option<u64> {
        self.observed.iter().copied().max()
    }
}

impl Estimates {
    /// What is known of these settings.
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Known>> {
        self.uses += 1;
        let (used, known) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(known.clone())
    }

    /// Remembers what llama-fit-params says.
    pub(super) fn fit(&mut self, key: &Key, breakdown: Breakdown) {
        self.change(key, |known| known.fit = Some(breakdown));
    }

    /// Remembers the most main memory that an incarnation had; `again` if it is not the first figure of
    /// that incarnation.
    pub(super) fn observe(&mut self, key: &Key, bytes: u64, again: bool) {
        self.change(key, |known| {
            if again {
                known.observed.pop();
            }
            known.observed.push(bytes);
            let surplus = known.observed.len().saturating_sub(INCARNATIONS);
            known.observed.drain(..surplus);
        });
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Known)) {
        self.uses += 1;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.0 = self.uses;
        change(Arc::make_mut(&mut entry.1));
        if self.entries.len() > MOST {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.entries.remove(&key));
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// The least recently used first.
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Key,
    fit: Option<Breakdown>,
    observed: Vec<u64>,
}

/// The text of the file.
pub(crate) fn text(estimates: &Estimates) -> io::Result<String> {
    let mut entries: Vec<_> = estimates.entries.iter().collect();
    entries.sort_by_key(|(_, (used, _))| *used);
    let entries = entries.into_iter().map(|(key, (_, known))| Entry {
        key: key.clone(),
        fit: known.fit.clone(),
        observed: known.observed.clone(),
    });
    let content = Content {
        version: VERSION,
        entries: entries.collect(),
    };
    let mut text = serde_json::to_string(&content)?;
    text.push('\n');
    Ok(text)
}

/// Reads the text of the file.
pub(crate) fn parse(text: &str) -> Result<Estimates, Fault> {
    let content: Content = state::parse(text, VERSION)?;
    let mut estimates = Estimates::default();
    let surplus = content.entries.len().saturating_sub(MOST);
    for entry in content.entries.into_iter().skip(surplus) {
        let Entry { key, fit, observed } = entry;
        if estimates.entries.contains_key(&key) {
            return Err(Fault::Broken(format!("the key {key} is there twice")));
        }
        estimates.change(&key, |known| *known = Known { fit, observed });
    }
    Ok(estimates)
}

/// The file, and the task that writes it.
#[derive(Debug)]
pub(super) struct EstimatesFile {
    newest: watch::Sender<Estimates>,
}

impl EstimatesFile {
    /// Reads the file and starts its owner.
    pub(super) async fn open(path: PathBuf) -> (Self, Estimates) {
        let from = path.clone();
        let read = blocking(move || state::read(&from, LIMIT, VERSION, parse)).await;
        let (known, is_ours) = match read {
            Ok(Ok(known)) => (known.unwrap_or_default(), true),
            Ok(Err(newer)) => {
                tracing::warn!("{newer}; what servers need is found out anew meanwhile");
                (Estimates::default(), false)
            }
            Err(_shutting_down) => (Estimates::default(), false),
        };
        let (newest, inbox) = watch::channel(known.clone());
        if is_ours {
            tokio::spawn(run(path, inbox));
        }
        (Self { newest }, known)
    }

    /// Has what is known written; what comes while it is written is folded into one.
    pub(super) fn write(&self, estimates: &Estimates) {
        self.newest.send_replace(estimates.clone());
    }
}

/// Ends when the file is dropped. What was not yet written then is found out again.
async fn run(path: PathBuf, mut inbox: watch::Receiver<Estimates>) {
    while inbox.changed().await.is_ok() {
        let estimates = inbox.borrow_and_update().clone();
        let to = path.clone();
        let written = blocking(move || replace(&to, &estimates)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
    }
}

fn replace(path: &Path, estimates: &Estimates) -> io::Result<()> {
    files::replace(path, text(estimates)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::breakdown::Parts;

    fn key(number: u32) -> Key {
        Key::try_from(format!("{number:032x}")).unwrap()
    }

    fn breakdown() -> Breakdown {
        let parts = Parts {
            model: u64::MAX,
            context: 2,
            compute: 3,
        };
        Breakdown {
            host: parts,
            devices: [("CUDA0".to_owned(), parts)].into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut estimates = Estimates::default();
        estimates.fit(&key(2), breakdown());
        estimates.observe(&key(1), 7, false);
        let mut read = parse(&text(&estimates).unwrap()).unwrap();
        assert_eq!(read.get(&key(2)).unwrap().fit, Some(breakdown()));
        assert_eq!(read.get(&key(1)).unwrap().observed(), Some(7));
    }

    /// Should this fail, the file needs a new version, and this magid has to read both.
    #[test]
    fn a_file_that_an_earlier_magid_wrote_is_read() {
        let earlier = include_str!("../../../fuzz/corpus/state_files/estimates.json");
        let mut read = parse(earlier).unwrap();
        assert_eq!(parse(&text(&read).unwrap()).as_ref(), Ok(&read));
        let key = Key::try_from("0dd3c4e8f1b2a5968778695a4b3c2d1e".to_owned());
        let known = read.get(&key.unwrap()).unwrap();
        assert_eq!(known.observed(), Some(355_467_264));
        assert_eq!(known.fit.as_ref().unwrap().devices["CUDA0"].context, 2);
        assert_eq!(read.entries.len(), 2);
        let twice = earlier.replacen("1dd3", "0dd3", 1);
        assert!(parse(&twice).is_err());
    }

    #[test]
    fn the_least_recently_used_is_forgotten() {
        let mut estimates = Estimates::default();
        for number in 0..MOST as u32 {
            estimates.fit(&key(number), breakdown());
        }
        estimates.get(&key(0));
        let mut estimates = parse(&text(&estimates).unwrap()).unwrap();
        estimates.fit(&key(u32::MAX), breakdown());
        assert!(estimates.get(&key(0)).is_some());
        assert!(estimates.get(&key(1)).is_none());
        assert!(text(&estimates).unwrap().len() < LIMIT as usize);
    }

    #[test]
    fn a_file_with_too_much_is_cut_to_what_was_used_last() {
        let entries: Vec<_> = (0..MOST as u32 + 9)
            .map(|number| format!(r#"{{"key": "{number:032x}", "fit": null, "observed": []}}"#))
            .collect();
        let text = format!(r#"{{"version": 1, "entries": [{}]}}"#, entries.join(","));
        let mut estimates = parse(&text).unwrap();
        assert_eq!(estimates.entries.len(), MOST);
        assert!(estimates.get(&key(8)).is_none() && estimates.get(&key(9)).is_some());
    }

    #[test]
    fn the_most_of_the_last_incarnations_counts() {
        let mut estimates = Estimates::default();
        let mut observe = |bytes, again| {
            estimates.observe(&key(1), bytes, again);
            estimates.get(&key(1)).unwrap().observed()
        };
        assert_eq!(observe(90, false), Some(90));
        assert_eq!(observe(100, true), Some(100));
        for _ in 0..INCARNATIONS - 1 {
            assert_eq!(observe(50, false), Some(100));
        }
        assert_eq!(observe(60, false), Some(60));
    }

    #[tokio::test]
    async fn a_broken_file_is_set_aside_and_a_later_one_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory_estimates.json");
        std::fs::write(&path, r#"{"version": 1, "entries": [{"key": "x"}]}"#).unwrap();
        let (_file, known) = EstimatesFile::open(path.clone()).await;
        assert_eq!(known, Estimates::default());
        assert!(!path.exists() && path.with_extension("broken").exists());

        let later = r#"{"version": 2}"#;
        std::fs::write(&path, later).unwrap();
        let (file, mut known) = EstimatesFile::open(path.clone()).await;
        known.fit(&key(1), breakdown());
        file.write(&known);
        file.newest.closed().await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
    }
}
