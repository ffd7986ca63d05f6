//! Texts that were in files, and in no generation, when a rollback or a restore wrote to the files.
//!
//! An edit that was refused, vetoed, or just saved is nowhere else. So it is kept here before it is
//! overwritten: the last [`MOST`] of them.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::disk;
use super::error::{KeepError, WriteError};
use super::store::Store;
use crate::config::MAX_FILE_SIZE;
use crate::files::{self, ReadError, read_stable_bytes};

/// The folder, in that of generations.
const FOLDER: &str = "replaced";

/// So many are kept.
const MOST: usize = 20;

/// When a text was replaced, as the end of its name says it: in UTC, and ordered by time.
const TIME: &str = "%Y%m%dT%H%M%S%6fZ";

impl Store {
    /// Keeps what is in a file of the configuration that is about to be written, if it is nowhere else.
    /// Returns where.
    ///
    /// # Errors
    ///
    /// It may be lost if the file is written.
    pub(crate) fn keep_replaced(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<PathBuf>, KeepError> {
        let text = match read_stable_bytes(path, MAX_FILE_SIZE as u64) {
            Ok(text) => text,
            Err(ReadError::Missing(_)) => return Ok(None),
            Err(reason) => return Err(reason.into()),
        };
        if text.trim_ascii().is_empty() || self.has_text(path, &text) {
            return Ok(None);
        }
        let folder = self.folder().join(FOLDER);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let kept = kept_in(&folder);
        let same = kept.iter().find(|kept| {
            stem_of(kept) == Some(&*stem)
                && read_stable_bytes(kept, MAX_FILE_SIZE as u64).is_ok_and(|known| known == text)
        });
        if let Some(same) = same {
            return Ok(Some(same.clone()));
        }
        let fresh = folder.join(format!("{stem}-{}.toml", now.strftime(TIME)));
        let failed = |reason| WriteError::Failed {
            path: fresh.clone(),
            reason,
        };
        disk::folder(&folder).map_err(failed)?;
        disk::replace(&fresh, &text).map_err(failed)?;
        let surplus = (kept.len() + 1).saturating_sub(MOST);
        for old in &kept[..surplus.min(kept.len())] {
            if let Err(error) = disk::remove(old) {
                tracing::warn!("cannot remove {}: {error}", old.display());
            }
        }
        Ok(Some(fresh))
    }

    /// Whether a generation has this text for this file.
    fn has_text(&self, path: &Path, text: &[u8]) -> bool {
        let numbers: Vec<u64> = self.list().map(|header| header.number).collect();
        numbers.into_iter().any(|number| {
            self.get(number).is_ok_and(|generation| {
                let mut files = generation.content.files();
                files.any(|file| file.path == path && file.text.as_bytes() == text)
            })
        })
    }
}

/// Removes what a writer left there that was killed.
pub(super) fn sweep(folder: &Path) {
    files::sweep(&folder.join(FOLDER));
}

/// What is kept, oldest first.
fn kept_in(folder: &Path) -> Vec<PathBuf> {
    let entries: io::Result<Vec<_>> = std::fs::read_dir(folder).and_then(Iterator::collect);
    let paths = entries.unwrap_or_default().into_iter();
    let mut kept: Vec<PathBuf> = paths
        .map(|entry| entry.path())
        .filter(|path| stem_of(path).is_some())
        .collect();
    kept.sort_by(|a, b| time_of(a).cmp(&time_of(b)));
    kept
}

/// The name of the file that a text was in, and when it was replaced.
fn parts(path: &Path) -> Option<(&str, &str)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".toml")?;
    let (stem, time) = name.rsplit_once('-')?;
    time.ends_with('Z').then_some((stem, time))
}

fn stem_of(path: &Path) -> Option<&str> {
    parts(path).map(|(stem, _)| stem)
}

fn time_of(path: &Path) -> Option<&str> {
    parts(path).map(|(_, time)| time)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::generations::Cause;
    use crate::generations::tests::{at, content};

    fn stored() -> (TempDir, Store, PathBuf) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("development.toml");
        let mut content = content("", "[servers.a]\n");
        content
            .profile
            .as_mut()
            .unwrap()
            .file
            .as_mut()
            .unwrap()
            .path = path.clone();
        let mut store = Store::open(&dir.path().join("generations")).unwrap();
        store.record(content, Cause::Start, "", at(0)).unwrap();
        (dir, store, path)
    }

    #[test]
    fn what_is_in_no_generation_is_kept_once() {
        let (_dir, store, path) = stored();
        let keep = |text: &[u8], second| {
            fs::write(&path, text).unwrap();
            store.keep_replaced(&path, at(second)).unwrap()
        };
        let first = keep(b"[servers.b]\n", 1).unwrap();
        let name = first.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("development-") && name.ends_with("Z.toml"),
            "{name}"
        );
        assert_eq!(fs::read(&first).unwrap(), b"[servers.b]\n");
        assert_eq!(keep(b"[servers.b]\n", 2), Some(first));
        let odd = keep(b"\xff", 3).unwrap();
        assert_eq!(fs::read(odd).unwrap(), b"\xff");
        for nothing_to_lose in ["[servers.a]\n", "", " \n"] {
            assert_eq!(keep(nothing_to_lose.as_bytes(), 4), None);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(store.keep_replaced(&path, at(5)).unwrap(), None);
    }

    #[test]
    fn the_newest_are_kept_whatever_files_they_were_in() {
        let (dir, store, path) = stored();
        let magid_toml = dir.path().join("magid.toml");
        for number in 0..MOST + 5 {
            let path = [&path, &magid_toml][number % 2];
            fs::write(path, number.to_string()).unwrap();
            let second = i64::try_from(number).unwrap();
            store.keep_replaced(path, at(second)).unwrap();
        }
        let kept = kept_in(&dir.path().join("generations").join(FOLDER));
        let texts: Vec<_> = kept
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let expected: Vec<_> = (5..MOST + 5).map(|number| number.to_string()).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let (_dir, store, path) = stored();
        fs::create_dir(&path).unwrap();
        let error = store.keep_replaced(&path, at(1)).unwrap_err();
        assert!(error.to_string().contains("development.toml"), "{error}");
    }
}
