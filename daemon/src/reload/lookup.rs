//! Finding the files that a profile names.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::ScanPath;

/// How deep folders of models are searched.
const DEPTH: usize = 8;

/// How many files and folders are looked at under all scan paths.
const ENTRIES: usize = 200_000;

/// The model files under the scan paths, by file name.
#[derive(Debug, Default)]
pub(super) struct ModelFiles {
    by_name: BTreeMap<String, BTreeSet<PathBuf>>,
    searched: Vec<PathBuf>,
    /// Scan paths that were written down, and cannot be read.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

impl ModelFiles {
    /// Searches the scan paths. Blocks.
    pub(super) fn search(paths: &[ScanPath]) -> Self {
        let mut found = Self::default();
        let mut seen = BTreeSet::new();
        let mut budget = ENTRIES;
        for scan in paths {
            if let Err(error) = std::fs::read_dir(&scan.path) {
                if scan.written_down {
                    found
                        .unreadable
                        .push((scan.path.clone(), error.to_string()));
                }
                continue;
            }
            found.searched.push(scan.path.clone());
            found.descend(&scan.path, DEPTH, &mut seen, &mut budget);
        }
        found
    }

    fn descend(
        &mut self,
        folder: &Path,
        depth: usize,
        seen: &mut BTreeSet<PathBuf>,
        budget: &mut usize,
    ) {
        // A symlink loop leads to a folder that was seen.
        let is_new = std::fs::canonicalize(folder).is_ok_and(|real| seen.insert(real));
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        if !is_new {
            return;
        }
        for entry in entries.flatten() {
            if *budget == 0 {
                return;
            }
            *budget -= 1;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if depth > 0 {
                    self.descend(&path, depth - 1, seen, budget);
                }
            } else if path.extension().is_some_and(|ending| ending == "gguf") {
                self.by_name.entry(name).or_default().insert(path);
            }
        }
    }

    /// The file that a profile in `folder` means by `model`: a path, or a file name under the scan
    /// paths with or without `.gguf`.
    ///
    /// # Errors
    ///
    /// Says where it was looked for.
    pub(super) fn find(&self, model: &str, folder: &Path) -> Result<PathBuf, String> {
        if model.contains('/') {
            let path = folder.join(model);
            return match std::fs::metadata(&path) {
                Ok(meta) if meta.is_file() => Ok(path),
                Ok(_) => Err(format!("{} is not a file", path.display())),
                Err(error) => Err(format!("cannot open {}: {error}", path.display())),
            };
        }
        let with_ending = format!("{model}.gguf");
        let found = [model, &with_ending]
            .into_iter()
            .find_map(|name| self.by_name.get(name));
        let Some(paths) = found else {
            return Err(self.not_found(model));
        };
        let mut each = paths.iter();
        match (each.next(), each.next()) {
            (Some(path), None) => Ok(path.clone()),
            (Some(first), Some(second)) => Err(format!(
                "{model} is there more than once: {} and {}; write the path of one",
                first.display(),
                second.display()
            )),
            (None, _) => Err(self.not_found(model)),
        }
    }

    fn not_found(&self, model: &str) -> String {
        let searched: Vec<_> = self
            .searched
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        if searched.is_empty() {
            return format!(
                "there is no folder of models to look for {model} in: set [models] scan_paths, or write a path"
            );
        }
        format!("there is no {model} under {}", searched.join(", "))
    }
}

/// The program that a path or a name stands for: a name is looked up in `PATH`. What cannot be found
/// stays as it is, and fails when it is run.
pub(super) fn program(written: &Path, search_path: Option<&str>) -> PathBuf {
    if written.components().count() != 1 || written.is_absolute() {
        return written.to_path_buf();
    }
    let folders = search_path
        .unwrap_or_default()
        .split(':')
        .filter(|f| !f.is_empty());
    let mut candidates = folders.map(|folder| Path::new(folder).join(written));
    candidates
        .find(|path| {
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
        .unwrap_or_else(|| written.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(path: &Path) -> Vec<ScanPath> {
        vec![ScanPath {
            path: path.to_path_buf(),
            written_down: true,
        }]
    }

    #[test]
    fn a_model_is_found_by_its_file_name_in_any_folder_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/m.gguf"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let models = ModelFiles::search(&scan(dir.path()));
        let expected = dir.path().join("a/m.gguf");
        assert_eq!(models.find("m.gguf", Path::new("/")), Ok(expected.clone()));
        assert_eq!(models.find("m", Path::new("/")), Ok(expected));
    }

    #[test]
    fn a_name_that_two_files_have_is_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a", "b"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("m.gguf"), "").unwrap();
        }
        let error = ModelFiles::search(&scan(dir.path())).find("m", Path::new("/"));
        assert!(error.unwrap_err().contains("more than once"));
    }

    #[test]
    fn a_missing_model_is_told_with_the_folders_that_were_searched() {
        let dir = tempfile::tempdir().unwrap();
        let error = ModelFiles::search(&scan(dir.path())).find("m", Path::new("/"));
        assert!(
            error
                .unwrap_err()
                .contains(&dir.path().display().to_string())
        );
    }
}
