//! The steps in which the store changes what is on disk.
//!
//! All go through here, so that a test can end magid, or fill the disk, at each of them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

#[cfg(test)]
use super::tests::power;
use crate::files;

/// Replaces a file as a whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    power::replace(path, content)?;
    files::replace(path, content)
}

/// Makes a folder, if it is not there.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Gives a file another name, under which there is none.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    power::step()?;
    fs::rename(from, to)
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    power::step()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Has the names in a folder survive the loss of power.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    power::step()?;
    File::open(folder)?.sync_all()
}
