//! Telling whether a file is still the same, without reading it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What changes when a file is replaced, written, or made executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// The fingerprint of the file at `path`, through symlinks. None: there is no such file.
    ///
    /// # Errors
    ///
    /// Whatever the system says, other than that there is no such file.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(Some(Self {
                device: meta.dev(),
                inode: meta.ino(),
                size: meta.size(),
                mode: meta.mode(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is the file of `before`, and was written since.
    pub fn was_overwritten_since(&self, before: &Self) -> bool {
        self.inode == before.inode && (self.size, self.modified) != (before.size, before.modified)
    }

    /// Whether the content is that of `other`: moving or linking a file does not change it.
    pub fn same_content(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }
}
