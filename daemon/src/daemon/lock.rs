//! One magid per state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Held for as long as magid runs; the kernel lets go of it however magid ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another magid has it.
    #[error("cannot use {}: another magid{} runs on it; stop that one, or give this one a state_dir of its own", .folder.display(), pid_text(.pid))]
    Held {
        /// The state directory.
        folder: PathBuf,
        /// The pid of the other.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error("cannot lock {}: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
}

fn pid_text(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// Takes the lock of a state directory.
///
/// # Errors
///
/// If another magid has it; names its pid.
pub(super) fn take(folder: &Path) -> Result<Lock, LockError> {
    let path = folder.join("magid.lock");
    let unusable = |reason| LockError::Unusable {
        path: path.clone(),
        reason,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut text);
            return Err(LockError::Held {
                folder: folder.to_path_buf(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
    }
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_lock_is_refused_and_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let _first = take(folder.path()).unwrap();
        let error = take(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
    }
}
