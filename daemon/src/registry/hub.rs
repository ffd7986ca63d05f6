//! Caches of the Hugging Face hub.
//!
//! There a repository is a folder `models--ORG--NAME`. Its files are in `blobs/`, named by a hash;
//! `snapshots/REVISION/` has a symlink for each, by the name that people know; and `refs/main` says
//! which revision is the newest. Every other revision of a file is a former one of the same model.

use std::path::{Path, PathBuf};

/// What a repository's folder begins with.
const PREFIX: &str = "models--";

/// Where the revisions are in it.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// What the files in it are named by hashes in.
pub(super) const BLOBS: &str = "blobs";

/// A place in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repository<'a> {
    path: &'a Path,
    /// How many of the path's components are the folder of the repository.
    depth: usize,
}

/// Whether a folder's name is that of a repository.
pub(super) fn is_repository(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The repository in whose `snapshots` the file at `path` is.
pub(super) fn repository(path: &Path) -> Option<Repository<'_>> {
    // Most paths are in none.
    path.to_str().filter(|text| text.contains(PREFIX))?;
    let names: Vec<_> = path.components().map(|c| c.as_os_str()).collect();
    let depth = 1 + names
        .windows(4)
        .rposition(|names| names[0].to_str().is_some_and(is_repository) && names[1] == SNAPSHOTS)?;
    Some(Repository { path, depth })
}

/// What stays the same of the path of a model when it is downloaded in a newer revision.
pub(super) fn without_revision(path: &Path) -> PathBuf {
    match repository(path) {
        Some(repository) => repository.folder().join(repository.inside()),
        None => path.to_path_buf(),
    }
}

impl<'a> Repository<'a> {
    /// The name of it, as `ORG--NAME`.
    pub(super) fn name(&self) -> &'a str {
        let component = self.path.components().nth(self.depth - 1);
        let name = component.and_then(|c| c.as_os_str().to_str());
        name.and_then(|name| name.strip_prefix(PREFIX))
            .unwrap_or_default()
    }

    /// Its folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.path.components().take(self.depth).collect()
    }

    /// The folder of the revision.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.path.components().take(self.depth + 2).collect()
    }

    /// The path inside the revision.
    pub(super) fn inside(&self) -> PathBuf {
        self.path.components().skip(self.depth + 2).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_path_in_the_cache_are_told_apart() {
        let path = Path::new("/c/models--a--b/snapshots/12/Q4/x.gguf");
        let repository = repository(path).unwrap();
        assert_eq!(repository.name(), "a--b");
        assert_eq!(repository.folder(), Path::new("/c/models--a--b"));
        assert_eq!(
            repository.snapshot(),
            Path::new("/c/models--a--b/snapshots/12")
        );
        assert_eq!(repository.inside(), Path::new("Q4/x.gguf"));
        let newer = Path::new("/c/models--a--b/snapshots/34/Q4/x.gguf");
        assert_eq!(without_revision(path), without_revision(newer));
    }

    #[test]
    fn other_paths_are_in_no_repository() {
        for path in [
            "/c/models--a--b/x.gguf",
            "/c/models--a/snapshots/x.gguf",
            "/x.gguf",
        ] {
            assert_eq!(repository(Path::new(path)), None);
            assert_eq!(without_revision(Path::new(path)), Path::new(path));
        }
    }
}
