//! Looking at the scan paths.
//!
//! A look at a path walks through its folders and asks for the size and time of each file that may be
//! a model. The header is read only of files that are not as they were at an earlier look. A file that
//! is still being written is looked at again a little later.
//!
//! A disk may be dead, and asking it anything may never return. So each path is looked at by a thread
//! of its own; if it makes no progress it is told as one that does not answer, the others are as they
//! are, and it is left alone until that thread returns.

mod headers;
pub(super) mod walk;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub(super) use headers::{Earlier, KnownFile, Now, Settling};

use super::look::Look;
use crate::blocking::blocking;
use crate::config::ScanPath;
use crate::gguf::Facts;

/// Reads the facts of one file, or says why it is no model. Blocks.
pub(super) type ReadFacts = dyn Fn(&Path) -> Result<Facts, String> + Send + Sync;

/// A path is given up if this long nothing comes of it. A disk that sleeps takes about ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks at scan paths.
pub(super) struct Scanner {
    read: Arc<ReadFacts>,
    patience: Duration,
    /// Looks that are under way, also those that were given up.
    under_way: HashMap<PathBuf, Weak<AtomicU64>>,
}

/// What a scan brought.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The looks at the scan paths, in their order.
    pub(super) looks: Vec<Look>,
    /// The files that somebody seems to be writing.
    pub(super) settling: HashMap<PathBuf, Settling>,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").finish_non_exhaustive()
    }
}

impl Scanner {
    /// A scanner that reads files by `read`.
    pub(super) fn new(read: Arc<ReadFacts>) -> Self {
        Self {
            read,
            patience: PATIENCE,
            under_way: HashMap::new(),
        }
    }

    /// Begins a scan of all `roots`; the future ends with it.
    pub(super) fn scan(
        &mut self,
        roots: &[ScanPath],
        earlier: Arc<Earlier>,
    ) -> impl Future<Output = Scanned> + Send + 'static {
        let now = Now {
            wall: Timestamp::now(),
            instant: Instant::now(),
        };
        let mut seen = HashSet::new();
        let looks: Vec<_> = roots
            .iter()
            .filter(|root| seen.insert(&root.path))
            .map(|root| tokio::spawn(self.look(root, earlier.clone(), now)))
            .collect();
        async move {
            let mut scanned = Scanned {
                looks: Vec::new(),
                settling: HashMap::new(),
            };
            for look in looks {
                if let Ok((look, settling)) = look.await {
                    scanned.looks.push(look);
                    scanned.settling.extend(settling);
                }
            }
            scanned
        }
    }

    fn look(
        &mut self,
        root: &ScanPath,
        earlier: Arc<Earlier>,
        now: Now,
    ) -> impl Future<Output = (Look, HashMap<PathBuf, Settling>)> + Send + 'static {
        let progress = Arc::new(AtomicU64::new(0));
        let is_stuck = self
            .under_way
            .get(&root.path)
            .is_some_and(|look| look.strong_count() > 0);
        if !is_stuck {
            let weak = Arc::downgrade(&progress);
            self.under_way.insert(root.path.clone(), weak);
        }
        let (root, read, patience) = (root.clone(), self.read.clone(), self.patience);
        async move {
            let given_up = || (no_answer(&root), HashMap::new());
            if is_stuck {
                return given_up();
            }
            let watched = Arc::downgrade(&progress);
            let of = root.clone();
            let work = blocking(move || look(&of, &earlier, now, &*read, &progress));
            match with_patience(work, &watched, patience).await {
                Some(Ok(done)) => done,
                Some(Err(error)) => (Look::blocked(&root, error.to_string()), HashMap::new()),
                None => given_up(),
            }
        }
    }
}

fn no_answer(root: &ScanPath) -> Look {
    Look::blocked(
        root,
        "it does not answer: is its disk or its server there?".to_owned(),
    )
}

/// Looks at one path. Blocks for as long as its disk does.
pub(super) fn look(
    root: &ScanPath,
    earlier: &Earlier,
    now: Now,
    read: &ReadFacts,
    progress: &AtomicU64,
) -> (Look, HashMap<PathBuf, Settling>) {
    let mut look = walk::walk(root, progress);
    let settling = headers::read(&mut look.files, earlier, now, read, progress);
    (look, settling)
}

/// Waits for work as long as it makes progress.
async fn with_patience<T>(
    work: impl Future<Output = T>,
    progress: &Weak<AtomicU64>,
    patience: Duration,
) -> Option<T> {
    tokio::pin!(work);
    let mut seen = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
            return Some(done);
        }
        let now = progress
            .upgrade()
            .map_or(0, |now| now.load(Ordering::Relaxed));
        if now == seen {
            return None;
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tempfile::TempDir;

    use super::super::testing::{scan_path, write};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_given_up_only_when_it_makes_no_progress() {
        let progress = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&progress);
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE / 2).await;
                progress.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(with_patience(slow, &watched, PATIENCE).await, Some(()));
        let dead = std::future::pending::<()>();
        assert_eq!(with_patience(dead, &watched, PATIENCE).await, None);
    }

    #[tokio::test]
    async fn a_path_that_does_not_answer_keeps_nobody_from_the_others_and_is_asked_once() {
        let folder = TempDir::new().unwrap();
        let roots = ["dead", "well"].map(|name| scan_path(&folder.path().join(name)));
        for root in &roots {
            write(&root.path.join("a.gguf"), 1);
        }
        let (asked, times_asked) = mpsc::channel();
        let (release, hold) = mpsc::channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        let dead = roots[0].path.clone();
        let mut scanner = Scanner::new(Arc::new(move |path: &Path| {
            if path.starts_with(&dead) {
                asked.send(()).unwrap();
                let _ = hold.lock().unwrap().recv();
            }
            super::super::header::read(path)
        }));
        scanner.patience = Duration::from_millis(50);
        for _ in 0..3 {
            let scanned = scanner.scan(&roots, Arc::default()).await;
            let why = &scanned.looks[0].blocked[&roots[0].path];
            assert!(why.contains("does not answer"), "{why}");
            assert_eq!(scanned.looks[1].files.len(), 1);
        }
        assert_eq!(times_asked.try_iter().count(), 1);
        drop(release);
        scanner.patience = PATIENCE;
        let mut looks = scanner.scan(&roots, Arc::default()).await.looks;
        while looks[0].files.is_empty() {
            looks = scanner.scan(&roots, Arc::default()).await.looks;
        }
        assert!(looks[0].blocked.is_empty());
    }
}
