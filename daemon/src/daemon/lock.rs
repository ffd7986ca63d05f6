//! One magid per state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// A process that magid was about to start as it ended has the lock, too, until it is another program.
/// So often that is waited for, and so long each time.
const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

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
    match patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(LockError::Held {
                folder: folder.to_path_buf(),
                pid: holder(&file),
            });
        }
        Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
    }
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(Lock { _file: file })
}

/// Tries to lock; for a while, if whoever had the lock has ended.
fn patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if holder(file).is_some_and(has_ended) => {
                thread::sleep(PAUSE);
            }
            locked => return locked,
        }
    }
    file.try_lock()
}

/// The pid of whoever locked the file.
fn holder(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.trim().parse().ok()
}

fn has_ended(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
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
    #[test]
    fn what_is_left_of_a_magid_that_ended_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let left = take(folder.path()).unwrap();
        // No process has such an id.
        std::fs::write(folder.path().join("magid.lock"), "4294967295\n").unwrap();
        let gone = thread::spawn(move || drop(left));
        let _lock = take(folder.path()).unwrap();
        gone.join().unwrap();
    }
}
