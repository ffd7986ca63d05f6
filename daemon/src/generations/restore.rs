//! Writing files of a generation back.

use std::path::PathBuf;

use jiff::Timestamp;

use super::error::RestoreError;
use super::generation::{Generation, StoredFile};
use super::store::Store;
use crate::config::MAX_FILE_SIZE;
use crate::files::{Rewrite, read_stable};

/// What came of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The files that were, or would be, written.
    pub written: Vec<PathBuf>,
    /// Files that are like that already.
    pub unchanged: Vec<PathBuf>,
    /// Where that is kept which was in the files, and is in no generation.
    pub kept: Vec<PathBuf>,
}

impl Store {
    /// Writes files of generation `number` back to where they were, or with `dry_run` only says which:
    /// all, or the one that `which` names by its path, as `magid.toml`, or by the name of the profile.
    /// Applies nothing. Blocks.
    ///
    /// # Errors
    ///
    /// Nothing was written, unless the error says so.
    pub fn restore(
        &self,
        number: u64,
        which: Option<&str>,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Restored, RestoreError> {
        let generation = self.get(number)?;
        let mut restored = Restored::default();
        let mut differing = Vec::new();
        for file in selected(&generation, which)? {
            // What cannot be read is not what it was.
            match read_stable(&file.path, MAX_FILE_SIZE as u64) {
                Ok(text) if text == file.text => restored.unchanged.push(file.path.clone()),
                Ok(_) | Err(_) => differing.push(file),
            }
        }
        if dry_run {
            restored.written = differing.iter().map(|file| file.path.clone()).collect();
            return Ok(restored);
        }
        self.write_back(&differing, &mut restored, now)?;
        Ok(restored)
    }

    /// Writes all files, or none: whatever is likely to fail is done for all before the first is replaced.
    fn write_back(
        &self,
        files: &[&StoredFile],
        restored: &mut Restored,
        now: Timestamp,
    ) -> Result<(), RestoreError> {
        let unwritten = |reason, written: &[PathBuf]| RestoreError::Unwritten {
            reason,
            written: written.to_vec(),
        };
        let mut prepared = Vec::new();
        for file in files {
            let rewrite = Rewrite::prepare(&file.path, &file.text);
            prepared.push((
                rewrite.map_err(|reason| unwritten(reason, &[]))?,
                &file.path,
            ));
        }
        for (_, path) in &prepared {
            restored.kept.extend(self.keep_replaced(path, now)?);
        }
        for (rewrite, path) in prepared {
            let finished = rewrite.finish();
            finished.map_err(|reason| unwritten(reason, &restored.written))?;
            restored.written.push(path.clone());
        }
        Ok(())
    }
}

fn selected<'a>(
    generation: &'a Generation,
    which: Option<&str>,
) -> Result<Vec<&'a StoredFile>, RestoreError> {
    let content = &generation.content;
    let Some(asked) = which else {
        return Ok(content.files().collect());
    };
    let by_path = content.files().find(|file| file.path.as_os_str() == asked);
    let by_name = || match &content.profile {
        _ if asked == "magid.toml" => content.daemon.as_ref(),
        Some(profile) if profile.name == asked => profile.file.as_ref(),
        Some(_) | None => None,
    };
    match by_path.or_else(by_name) {
        Some(file) => Ok(vec![file]),
        None => Err(RestoreError::NoSuchFile {
            number: generation.number,
            asked: asked.to_owned(),
            there: content.files().map(|file| file.path.clone()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::generations::tests::{at, content};
    use crate::generations::{Cause, Content};

    /// A folder with a store in it whose generation 1 has two files beside it.
    fn stored() -> (TempDir, Store, Content) {
        let dir = TempDir::new().unwrap();
        let mut content = content("log = 1\n", "[servers.a]\n");
        content.daemon.as_mut().unwrap().path = dir.path().join("magid.toml");
        let profile = content.profile.as_mut().unwrap().file.as_mut().unwrap();
        profile.path = dir.path().join("development.toml");
        let mut store = Store::open(&dir.path().join("generations")).unwrap();
        let made = store.record(content.clone(), Cause::Start, "", at(0));
        assert_eq!(made.unwrap(), 1);
        (dir, store, content)
    }

    fn texts(content: &Content) -> Vec<Option<String>> {
        let read = |path: &Path| fs::read_to_string(path).ok();
        content.files().map(|file| read(&file.path)).collect()
    }

    #[test]
    fn all_files_come_back_and_those_that_are_the_same_are_not_touched() {
        let (dir, store, content) = stored();
        let [magid_toml, profile] = ["magid.toml", "development.toml"].map(|n| dir.path().join(n));
        fs::write(&magid_toml, "log = 1\n").unwrap();
        let before = fs::metadata(&magid_toml).unwrap().modified().unwrap();
        let expected = Restored {
            written: vec![profile.clone()],
            unchanged: vec![magid_toml.clone()],
            kept: Vec::new(),
        };
        assert_eq!(store.restore(1, None, true, at(9)).unwrap(), expected);
        assert!(!profile.exists());
        assert_eq!(store.restore(1, None, false, at(9)).unwrap(), expected);
        assert_eq!(fs::read_to_string(&profile).unwrap(), "[servers.a]\n");
        assert_eq!(
            fs::metadata(&magid_toml).unwrap().modified().unwrap(),
            before
        );
        let again = store.restore(1, None, false, at(9)).unwrap();
        assert_eq!(again.unchanged.len(), content.files().count());
    }

    #[test]
    fn one_file_is_named_by_its_path_as_magid_toml_or_as_the_profile() {
        let (dir, store, content) = stored();
        let path = dir.path().join("magid.toml").display().to_string();
        for (asked, there) in [
            (path.as_str(), [true, false]),
            ("magid.toml", [true, false]),
            ("development", [false, true]),
        ] {
            store.restore(1, Some(asked), false, at(9)).unwrap();
            assert_eq!(
                texts(&content)
                    .iter()
                    .map(Option::is_some)
                    .collect::<Vec<_>>(),
                there
            );
            for file in content.files() {
                let _ = fs::remove_file(&file.path);
            }
        }
        let error = store
            .restore(1, Some("production"), false, at(9))
            .unwrap_err();
        assert!(error.to_string().contains(&path), "{error}");
        let error = store.restore(2, None, false, at(9)).unwrap_err();
        assert!(matches!(error, RestoreError::Generation(_)));
    }

    #[test]
    fn a_file_that_is_not_even_text_comes_back() {
        let (dir, store, content) = stored();
        fs::write(dir.path().join("development.toml"), b"\xff\0").unwrap();
        store.restore(1, None, false, at(9)).unwrap();
        let expected: Vec<_> = content
            .files()
            .map(|file| Some(file.text.clone()))
            .collect();
        assert_eq!(texts(&content), expected);
    }

    #[test]
    fn if_one_file_cannot_be_written_none_is() {
        let (dir, store, content) = stored();
        fs::create_dir(dir.path().join("development.toml")).unwrap();
        let error = store.restore(1, None, false, at(9)).unwrap_err();
        let RestoreError::Unwritten { reason, written } = &error else {
            panic!("{error}");
        };
        assert!(reason.to_string().contains("development.toml"));
        assert!(written.is_empty());
        assert_eq!(texts(&content), [None, None]);
    }
}
