//! Keeping a file from filling the disk while it is being written.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

/// Holes are made in steps of this many bytes, so that not every line makes one.
const STEP: u64 = 256 * 1024;

/// Gives the oldest blocks of a file back to the disk, so that at most about `max_size` bytes of it
/// take up space. What is left keeps its place: writers and readers notice nothing. A file system
/// without holes has the whole file emptied instead. Gives the bytes that were dropped now. Blocks.
///
/// # Errors
///
/// If the file can be neither punched nor truncated.
pub fn enforce(path: &Path, max_size: u64) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    let allocated = meta.blocks() * 512;
    if meta.len() <= max_size || allocated <= max_size + STEP {
        return Ok(0);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    let end = (meta.len() - max_size) / STEP * STEP;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let length = i64::try_from(end).map_err(io::Error::other)?;
    match fallocate(&file, flags, 0, length) {
        Ok(()) => Ok(allocated.saturating_sub(max_size)),
        Err(nix::errno::Errno::EOPNOTSUPP) => {
            file.set_len(0)?;
            Ok(meta.len())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_blocks_are_given_back_and_the_newest_stay() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = vec![b'x'; 4 * 1024 * 1024];
        text.extend(b"\nthe end\n");
        std::fs::write(file.path(), &text).unwrap();
        let dropped = enforce(file.path(), 1024 * 1024).unwrap();
        let meta = std::fs::metadata(file.path()).unwrap();
        assert!(dropped > 0);
        assert!(meta.blocks() * 512 <= 1024 * 1024 + 2 * STEP);
        assert_eq!(super::super::tail(file.path(), 1).unwrap(), ["the end"]);
        assert_eq!(enforce(file.path(), 1024 * 1024).unwrap(), 0);
    }

    #[test]
    fn a_small_file_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\n").unwrap();
        assert_eq!(enforce(file.path(), 1024 * 1024).unwrap(), 0);
    }
}
