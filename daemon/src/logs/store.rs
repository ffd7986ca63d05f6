//! Where the output of each incarnation is kept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::name::ServerName;

const EXTENSION: &str = "log";

/// One folder for each server, in it one file for each incarnation: `DIR/SERVER/INCARNATION.log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStore {
    dir: PathBuf,
    keep: usize,
}

impl LogStore {
    /// Logs in `dir`, of which the newest `keep` incarnations of each server are kept, and always the
    /// newest one.
    pub fn new(dir: PathBuf, keep: usize) -> Self {
        Self {
            dir,
            keep: keep.max(1),
        }
    }

    /// Makes the file for a new incarnation, to be appended to, and removes those that are too many.
    ///
    /// # Errors
    ///
    /// If the file cannot be made.
    pub fn create(&self, server: &ServerName, incarnation: u64) -> io::Result<(File, PathBuf)> {
        let path = self.path(server, incarnation);
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(self.folder(server))?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path)?;
        self.prune(server);
        Ok((file, path))
    }

    /// Where the output of an incarnation is, or would be.
    pub fn path(&self, server: &ServerName, incarnation: u64) -> PathBuf {
        self.folder(server)
            .join(format!("{incarnation}.{EXTENSION}"))
    }

    /// The folder of a server's logs.
    pub fn folder_of(&self, server: &ServerName) -> PathBuf {
        self.folder(server)
    }

    /// The incarnations whose output is there, the oldest first.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read. A server that never ran has none, which is no error.
    pub fn incarnations(&self, server: &ServerName) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(self.folder(server)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            numbers.extend(number_of(&entry?.path()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes all output of a server.
    ///
    /// # Errors
    ///
    /// If it cannot be removed. That there is none is no error.
    pub fn remove(&self, server: &ServerName) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(server)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn folder(&self, server: &ServerName) -> PathBuf {
        self.dir.join(server.as_str())
    }

    /// An old log that cannot be removed must not keep a server from starting.
    fn prune(&self, server: &ServerName) {
        let numbers = self.incarnations(server).unwrap_or_default();
        let superfluous = numbers.len().saturating_sub(self.keep);
        for &number in &numbers[..superfluous] {
            let path = self.path(server, number);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an old log");
            }
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn alpha() -> ServerName {
        ServerName::new("alpha").unwrap()
    }

    #[test]
    fn the_newest_incarnations_are_kept_in_the_order_of_numbers() {
        let folder = TempDir::new().unwrap();
        let store = LogStore::new(folder.path().join("log"), 3);
        assert!(store.incarnations(&alpha()).unwrap().is_empty());
        for incarnation in 7..12 {
            store.create(&alpha(), incarnation).unwrap();
        }
        assert_eq!(store.incarnations(&alpha()).unwrap(), [9, 10, 11]);
        store.remove(&alpha()).unwrap();
        store.remove(&alpha()).unwrap();
        assert!(store.incarnations(&alpha()).unwrap().is_empty());
    }

    #[test]
    fn logs_are_not_for_everybody() {
        let folder = TempDir::new().unwrap();
        let store = LogStore::new(folder.path().join("log"), 3);
        let (_, path) = store.create(&alpha(), 1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o640);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        assert_eq!(mode(&folder.path().join("log")), 0o750);
    }
}
