//! Hints that something in a folder changed.
//!
//! A hint is never more than a reason to look: events are lost when queues overflow, do not exist on
//! network file systems, and say nothing of what a symlink points to. So whoever watches also looks
//! again now and then, and decides by what he reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

/// Watches folders for all of magid.
#[derive(Clone)]
pub struct Hints {
    shared: Arc<Shared>,
}

/// The lock of `watcher` is taken before that of `folders`, and notify is called under the first
/// only: it calls back from a thread of its own, which takes the second.
struct Shared {
    folders: Arc<Mutex<Folders>>,
    /// None: the system grants no watches, and looking now and then is all there is.
    watcher: Mutex<Option<RecommendedWatcher>>,
}

type Folders = HashMap<PathBuf, Folder>;

struct Folder {
    changed: watch::Sender<()>,
    watches: usize,
}

impl std::fmt::Debug for Hints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}

impl Hints {
    /// Begins to watch nothing.
    pub fn start() -> Self {
        let folders: Arc<Mutex<Folders>> = Arc::default();
        let seen = folders.clone();
        let watcher = notify::recommended_watcher(move |event| pass_on(&seen, event));
        if let Err(error) = &watcher {
            tracing::warn!("cannot watch files: {error}; changes are noticed within a minute");
        }
        Self {
            shared: Arc::new(Shared {
                folders,
                watcher: Mutex::new(watcher.ok()),
            }),
        }
    }

    /// Watches a folder, or while it does not exist the nearest one above it, until the watch is
    /// dropped.
    pub fn watch(&self, folder: &Path) -> Watch {
        let folder = nearest_existing(folder);
        let mut watcher = lock(&self.shared.watcher);
        let changed = {
            let mut folders = lock(&self.shared.folders);
            let entry = folders.entry(folder.clone()).or_insert_with(|| Folder {
                changed: watch::Sender::new(()),
                watches: 0,
            });
            entry.watches += 1;
            entry.changed.subscribe()
        };
        // Also if it is watched: the watch of a folder is lost when that is moved away, or another one
        // takes its place.
        if let Some(watcher) = watcher.as_mut()
            && let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive)
        {
            tracing::debug!(folder = %folder.display(), "cannot watch a folder: {error}");
        }
        Watch {
            shared: self.shared.clone(),
            folder,
            changed,
        }
    }
}

/// One interest in one folder.
pub struct Watch {
    shared: Arc<Shared>,
    folder: PathBuf,
    changed: watch::Receiver<()>,
}

impl Watch {
    /// Waits for the next hint.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The sender lives as long as this watch; were it gone, there would be no more hints.
            std::future::pending::<()>().await;
        }
    }

    fn has_hint(&self) -> bool {
        self.changed.has_changed().unwrap_or(false)
    }
}

/// Waits for the next hint from any of the watches; for ever if there are none. Cancel-safe: a hint
/// that was not waited out is still there.
pub async fn any_changed(watches: &mut [Watch]) {
    let mut hints: Vec<_> = watches
        .iter_mut()
        .map(|watch| Box::pin(watch.changed()))
        .collect();
    std::future::poll_fn(|context| {
        let mut hints = hints.iter_mut();
        match hints.any(|hint| hint.as_mut().poll(context).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

/// Puts watches in the place of earlier ones: what those were not yet asked for is a hint of the new ones,
/// and so is a folder that was not watched before, since it may have changed before it was.
pub fn take_over(watches: &mut [Watch], former: &[Watch]) {
    for watch in watches {
        let mut same = former.iter().filter(|old| old.folder == watch.folder);
        let is_seen = same.next().is_some_and(|old| !old.has_hint());
        if !is_seen {
            watch.changed.mark_changed();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watcher = lock(&self.shared.watcher);
        {
            let mut folders = lock(&self.shared.folders);
            let Some(entry) = folders.get_mut(&self.folder) else {
                return;
            };
            entry.watches -= 1;
            if entry.watches > 0 {
                return;
            }
            folders.remove(&self.folder);
        }
        if let Some(watcher) = watcher.as_mut() {
            // A folder that is gone has lost its watch already.
            let _ = watcher.unwatch(&self.folder);
        }
    }
}

fn pass_on(folders: &Mutex<Folders>, event: notify::Result<notify::Event>) {
    let folders = lock(folders);
    let all = || folders.values().for_each(|f| f.changed.send_replace(()));
    match event {
        // Reading is no change, and would make every look the cause of the next one.
        Ok(event) if event.kind.is_access() => {}
        Ok(event) if event.need_rescan() => all(),
        Ok(event) => {
            for path in &event.paths {
                let touched = [Some(path.as_path()), path.parent()];
                for folder in touched.into_iter().flatten() {
                    if let Some(entry) = folders.get(folder) {
                        entry.changed.send_replace(());
                    }
                }
            }
        }
        Err(_) => all(),
    }
}

/// The folder, or the nearest one above it, by its real name: the kernel has one watch for a folder, and
/// tells of it under the name by which it was watched last.
fn nearest_existing(folder: &Path) -> PathBuf {
    let mut existing = folder.ancestors().filter(|path| path.is_dir());
    let real = existing.find_map(|path| std::fs::canonicalize(path).ok());
    real.unwrap_or_else(|| PathBuf::from("/"))
}

/// Nothing panics while it holds one of these locks, and what they guard is whole at every point.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_that_was_not_yet_asked_for_is_a_hint_of_the_next_watches() {
        let dir = tempfile::tempdir().unwrap();
        let hints = Hints::start();
        let former = [hints.watch(dir.path())];
        let mut other = hints.watch(dir.path());
        std::fs::write(dir.path().join("file"), "").unwrap();
        other.changed().await;

        let mut watches = [hints.watch(dir.path())];
        assert!(!watches[0].has_hint());
        take_over(&mut watches, &former);
        assert!(watches[0].has_hint());
    }

    #[test]
    fn only_what_was_not_watched_before_may_have_changed_before_it_was() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let hints = Hints::start();
        let former = [hints.watch(dirs[0].path())];
        let mut watches = dirs.each_ref().map(|dir| hints.watch(dir.path()));
        take_over(&mut watches, &former);
        assert_eq!(watches.each_ref().map(Watch::has_hint), [false, true]);
    }
}
