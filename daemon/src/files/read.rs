//! Reading a file that somebody may be writing.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// How often a file that changes under the reader is read again.
const TRIES: u32 = 5;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("cannot find {}", .0.display())]
    Missing(PathBuf),
    /// It may not, or cannot, be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// It is larger than any file of its kind.
    #[error("cannot take {}: it has more than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// It is not text.
    #[error("cannot take {}: byte {at} is not valid UTF-8", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
    /// Somebody is still writing it.
    #[error("cannot take {}: it is being written", .0.display())]
    Changing(PathBuf),
}

/// Reads a text of at most `limit` bytes whose size and time of modification are the same before and
/// after. Blocks.
///
/// # Errors
///
/// Says why there is no text to be trusted.
pub fn read_stable(path: &Path, limit: u64) -> Result<String, ReadError> {
    let bytes = read_stable_bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|error| ReadError::NotText {
        path: path.to_path_buf(),
        at: error.utf8_error().valid_up_to(),
    })
}

/// As [`read_stable`], of a file that need not be text. Blocks.
///
/// # Errors
///
/// Says why there is nothing to be trusted.
pub fn read_stable_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    for _ in 0..TRIES {
        if let Some(bytes) = read_once(path, limit)? {
            return Ok(bytes);
        }
    }
    Err(ReadError::Changing(path.to_path_buf()))
}

fn read_once(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let unreadable = |reason: io::Error| match reason.kind() {
        io::ErrorKind::NotFound => ReadError::Missing(path.to_path_buf()),
        _ => ReadError::Unreadable {
            path: path.to_path_buf(),
            reason,
        },
    };
    // A pipe in the place of the file would else be waited for, for ever.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    if !before.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let mut bounded = (&mut file).take(limit + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge {
            path: path.to_path_buf(),
            limit,
        });
    }
    let after = std::fs::metadata(path).map_err(unreadable)?;
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| {
        (a.dev(), a.ino(), a.size(), a.mtime(), a.mtime_nsec())
            == (b.dev(), b.ino(), b.size(), b.mtime(), b.mtime_nsec())
    };
    if !same(&before, &after) || bytes.len() as u64 != after.len() {
        return Ok(None);
    }
    Ok(Some(bytes))
}
