//! Reading the headers of files, of those that changed and have settled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::super::look::{Header, SeenFile, Stamp};
use super::ReadFacts;
use super::walk;

/// A file that was left alone for so long has been written. Long enough for a pause of whoever copies.
const SETTLED: Duration = Duration::from_millis(500);

/// A file that was left alone for so long and cannot be used yet is broken.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// How many files are read at a time.
const THREADS: usize = 4;

/// What is known of the files from earlier looks.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Earlier {
    /// What the headers said.
    pub(in super::super) known: Arc<HashMap<PathBuf, KnownFile>>,
    /// The files that somebody seemed to be writing.
    pub(in super::super) settling: HashMap<PathBuf, Settling>,
}

/// What the header of a file said.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct KnownFile {
    /// The file as it was then.
    pub(in super::super) stamp: Stamp,
    /// The device it was on: if its folder is on another one, a disk is not mounted.
    pub(in super::super) device: u64,
    /// What the header said, or why the file cannot be used.
    pub(in super::super) header: Result<Arc<crate::gguf::Facts>, String>,
}

impl KnownFile {
    /// Whether a file that is seen is this one, as it was.
    pub(in super::super) fn is(&self, file: &SeenFile) -> bool {
        let header = match (&self.header, &file.header) {
            (Ok(known), Header::Facts(facts)) => Arc::ptr_eq(known, facts),
            (Err(known), Header::Broken(why)) => known == why,
            (Ok(_) | Err(_), Header::Facts(_) | Header::Broken(_) | Header::Unsettled) => false,
        };
        header && self.stamp == file.stamp && self.device == file.place.device
    }
}

/// A file that somebody seems to be writing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Settling {
    /// The file as it was seen.
    pub(in super::super) stamp: Stamp,
    /// Since when it has been like that.
    pub(in super::super) since: Instant,
    /// When to look again.
    pub(in super::super) look_again: Instant,
}

/// When a look is taken: by the clock on the wall, which is that of the files or nearly so, and by one
/// that is not set.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Now {
    pub(in super::super) wall: Timestamp,
    pub(in super::super) instant: Instant,
}

impl Earlier {
    /// How long a file has been as it is, as far as can be told. The time of its change is not enough:
    /// it may come from another machine's clock.
    fn rest(&self, path: &Path, stamp: &Stamp, now: Now) -> (Instant, Duration) {
        let settling = self.settling.get(path).filter(|s| s.stamp == *stamp);
        let since = settling.map_or(now.instant, |settling| settling.since);
        let dated = now.wall.duration_since(stamp.modified);
        let dated = Duration::try_from(dated).unwrap_or(Duration::ZERO);
        (since, now.instant.duration_since(since).max(dated))
    }
}

/// Finds out what the headers of `files` say, and returns the files that have not settled. Blocks.
pub(super) fn read(
    files: &mut [SeenFile],
    earlier: &Earlier,
    now: Now,
    read: &ReadFacts,
    progress: &AtomicU64,
) -> HashMap<PathBuf, Settling> {
    let mut unread = Vec::new();
    for (index, file) in files.iter_mut().enumerate() {
        match earlier.known.get(&file.path) {
            Some(known) if known.stamp == file.stamp => {
                file.header = match &known.header {
                    Ok(facts) => Header::Facts(facts.clone()),
                    Err(why) => Header::Broken(why.clone()),
                };
            }
            Some(_) | None if earlier.rest(&file.path, &file.stamp, now).1 >= SETTLED => {
                unread.push(index);
            }
            Some(_) | None => {}
        }
    }
    for (index, header) in read_all(files, &unread, read, progress) {
        let file = &files[index];
        let (_, rest) = earlier.rest(&file.path, &file.stamp, now);
        files[index].header = match header {
            Header::Broken(_) if rest < GIVEN_UP => Header::Unsettled,
            header => header,
        };
    }
    let unsettled = files.iter().filter(|file| file.header == Header::Unsettled);
    let settling = unsettled.map(|file| {
        let (since, rest) = earlier.rest(&file.path, &file.stamp, now);
        let until = if rest < SETTLED { SETTLED } else { GIVEN_UP };
        let settling = Settling {
            stamp: file.stamp,
            since,
            look_again: now.instant + until.saturating_sub(rest).max(SETTLED / 10),
        };
        (file.path.clone(), settling)
    });
    settling.collect()
}

/// Reads the files with these indices, some at a time.
fn read_all(
    files: &[SeenFile],
    indices: &[usize],
    read: &ReadFacts,
    progress: &AtomicU64,
) -> Vec<(usize, Header)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(&index) = indices.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, read_one(&files[index], read)));
            progress.fetch_add(1, Ordering::Relaxed);
        }
        done
    };
    // A few files are not worth a thread.
    if indices.len() <= THREADS {
        return work();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let done = threads.into_iter().map(|thread| thread.join());
        done.flat_map(|done| done.unwrap_or_default()).collect()
    })
}

fn read_one(file: &SeenFile, read: &ReadFacts) -> Header {
    let header = match read(&file.path) {
        Ok(facts) => Header::Facts(Arc::new(facts)),
        Err(why) => Header::Broken(crate::text::one_line(&why)),
    };
    // What was read of a file that changed meanwhile is of no file that ever was.
    let after = std::fs::metadata(&file.path).ok();
    match after.is_some_and(|meta| walk::stamp(&meta) == file.stamp) {
        true => header,
        false => Header::Unsettled,
    }
}
