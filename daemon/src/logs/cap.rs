//! Keeping a file from filling the disk while it is being written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

/// Holes are made in steps of this many bytes, so that not every line makes one.
const STEP: u64 = 256 * 1024;

/// Gives the oldest blocks of a file back to the disk, so that at most about `max_size` bytes of it
/// take up space, and what is written until the next call. What is left keeps its place: writers and
/// readers notice nothing. A file system without holes has the whole file emptied instead. Gives the
/// bytes that were dropped now. Blocks.
///
/// # Errors
///
/// If the file can be neither punched nor truncated.
pub fn enforce(path: &Path, max_size: u64) -> io::Result<u64> {
    enforce_by(path, max_size, punch)
}

fn punch(file: &File, length: i64) -> nix::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, flags, 0, length)
}

fn enforce_by(
    path: &Path,
    max_size: u64,
    punch: impl Fn(&File, i64) -> nix::Result<()>,
) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    let allocated = meta.blocks() * 512;
    if meta.len() <= max_size || allocated <= max_size + STEP {
        return Ok(0);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    let end = (meta.len() - max_size) / STEP * STEP;
    let length = i64::try_from(end).map_err(io::Error::other)?;
    match punch(&file, length) {
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
    use std::io::Write as _;

    use super::*;
    use crate::logs::Follower;

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

    /// As on vfat, or on NFS before 4.2.
    #[test]
    fn without_holes_the_file_is_emptied_and_written_and_read_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = OpenOptions::new().append(true).open(file.path()).unwrap();
        let mut follower = Follower::at_end(file.path()).unwrap();
        writer.write_all(&b"old\n".repeat(1024 * 1024)).unwrap();
        let refuse = |_: &File, _| Err(nix::errno::Errno::EOPNOTSUPP);
        let dropped = enforce_by(file.path(), 1024 * 1024, refuse).unwrap();
        assert_eq!(dropped, 4 * 1024 * 1024);
        writer.write_all(b"new\n").unwrap();
        assert_eq!(super::super::tail(file.path(), 9).unwrap(), ["new"]);
        assert_eq!(follower.read().unwrap().lines, ["new"]);
    }

    #[test]
    fn a_reader_goes_on_where_blocks_were_given_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = OpenOptions::new().append(true).open(file.path()).unwrap();
        let mut follower = Follower::at_end(file.path()).unwrap();
        writer.write_all(&b"old\n".repeat(1024 * 1024)).unwrap();
        enforce(file.path(), 64 * 1024).unwrap();
        writer.write_all(b"new\n").unwrap();
        let mut last = String::new();
        loop {
            let fresh = follower.read().unwrap();
            assert!(fresh.lines.iter().all(|line| !line.contains('\0')));
            last = fresh.lines.last().cloned().unwrap_or(last);
            if fresh.at_end {
                break;
            }
        }
        assert_eq!(last, "new");
    }

    #[test]
    fn a_small_file_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\n").unwrap();
        assert_eq!(enforce(file.path(), 1024 * 1024).unwrap(), 0);
    }
}
