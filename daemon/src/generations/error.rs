//! What can go wrong.

use std::io;
use std::path::PathBuf;

use crate::files::state::NewerVersion;
use crate::files::{ReadError, RewriteError};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("cannot read the generations in {}: {reason}", .folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// A later magid wrote one of the files.
    #[error(transparent)]
    Newer(#[from] NewerVersion),
}

/// Why something is not on disk. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full, or may not be written to.
    #[error("cannot write {}: {reason}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// It was written, and something else was read back.
    #[error("cannot trust {}: what was read back is not what was written; look after the disk", .0.display())]
    Different(PathBuf),
    /// Another change was begun after this one.
    #[error("cannot go on with generation {0}: another change took its place")]
    Displaced(u64),
}

/// There is no such generation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot find generation {number}: {}", told(left))]
pub struct NoSuchGeneration {
    /// The number that was asked for.
    pub number: u64,
    /// The numbers that are left, newest first.
    pub left: Vec<u64>,
}

/// A generation that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use generation {number}: {why}; put a copy of {} back, or remove it", .path.display())]
pub struct Broken {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// Why a generation cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// It was pruned, or never was.
    #[error(transparent)]
    NoSuch(#[from] NoSuchGeneration),
    /// Its file is of no use.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why what is in a file cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] ReadError),
    /// It cannot be written elsewhere.
    #[error(transparent)]
    Unwritten(#[from] WriteError),
}

/// Why files are not what they were in a generation.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such generation, or it is of no use.
    #[error(transparent)]
    Generation(#[from] GetError),
    /// It has no such file.
    #[error(
        "cannot find {asked} in generation {number}, which has {}",
        paths(there)
    )]
    NoSuchFile {
        /// The generation.
        number: u64,
        /// What was asked for.
        asked: String,
        /// What it has.
        there: Vec<PathBuf>,
    },
    /// What is in a file is nowhere else, and cannot be kept. None was written.
    #[error(transparent)]
    Kept(#[from] KeepError),
    /// A file cannot be written. All were tried first, so it is likely that none was.
    #[error("{reason}{}", already(written))]
    Unwritten {
        /// Why.
        reason: RewriteError,
        /// What was written before.
        written: Vec<PathBuf>,
    },
}

/// The numbers that are left, in a sentence: runs of them as `7 to 9`.
fn told(left: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in left {
        match runs.last_mut() {
            Some((_, low)) if low.checked_sub(1) == Some(number) => *low = number,
            Some(_) | None => runs.push((number, number)),
        }
    }
    let runs: Vec<String> = runs
        .iter()
        .map(|(high, low)| match high - low {
            0 => high.to_string(),
            1 => format!("{high}, {low}"),
            2.. => format!("{high} to {low}"),
        })
        .collect();
    match runs.is_empty() {
        true => "there is none yet".to_owned(),
        false => format!("there are {}", runs.join(", ")),
    }
}

fn paths(there: &[PathBuf]) -> String {
    let paths: Vec<_> = there
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match paths.is_empty() {
        true => "no files".to_owned(),
        false => paths.join(" and "),
    }
}

fn already(written: &[PathBuf]) -> String {
    match written.is_empty() {
        true => String::new(),
        false => format!("; {} was written already", paths(written)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_generation_says_what_is_left() {
        let missing = |left: &[u64]| {
            let left = left.to_vec();
            NoSuchGeneration { number: 5, left }.to_string()
        };
        assert_eq!(
            missing(&[20, 19, 18, 12, 11, 3, 1]),
            "cannot find generation 5: there are 20 to 18, 12, 11, 3, 1"
        );
        assert_eq!(missing(&[]), "cannot find generation 5: there is none yet");
    }
}
