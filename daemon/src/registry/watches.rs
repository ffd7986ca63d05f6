//! The folders that are watched for new models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::look::{Look, Place};
use crate::blocking::blocking;
use crate::files::{Hints, Watch, any_changed};

/// How many folders are watched at the most: watches are granted per user, and others want some, too.
const MOST: usize = 1024;

/// Watches the folders that were looked at.
pub(super) struct Watches {
    hints: Hints,
    /// What is watched. A folder that another one took the place of, as when a disk is mounted, has to
    /// be watched anew.
    folders: BTreeMap<PathBuf, Option<Place>>,
    watches: Vec<Watch>,
    /// Scan paths that do not exist. Above them much may happen that is no concern of the registry.
    awaited: Vec<PathBuf>,
    awaited_watches: Vec<Watch>,
    /// A hint came from above them, and whether they exist was not looked at since.
    is_hinted: bool,
    /// How many folders are not watched.
    left_out: usize,
}

impl Watches {
    pub(super) fn new(hints: Hints) -> Self {
        Self {
            hints,
            folders: BTreeMap::new(),
            watches: Vec::new(),
            awaited: Vec::new(),
            awaited_watches: Vec::new(),
            is_hinted: false,
            left_out: 0,
        }
    }

    /// Watches what was looked at. True: some of it was not watched before, so what happened there
    /// since the look may have gone unnoticed.
    pub(super) fn follow(&mut self, looks: &[Look]) -> bool {
        let (folders, left_out) = folders(looks);
        self.left_out = left_out;
        let missing = looks.iter().filter(|look| look.is_missing);
        let missing: Vec<_> = missing.map(|look| look.root.path.clone()).collect();
        let await_more = missing != self.awaited;
        if await_more {
            self.awaited = missing;
            self.watch_above();
        }
        if folders == self.folders {
            return await_more;
        }
        let names = std::mem::take(&mut self.folders);
        let mut former: BTreeMap<_, _> = names.into_iter().zip(self.watches.drain(..)).collect();
        let mut kept = BTreeMap::new();
        for entry in &folders {
            let entry = (entry.0.clone(), *entry.1);
            kept.extend(former.remove(&entry).map(|watch| (entry, watch)));
        }
        // A watch that is given up must be gone before its folder is watched anew.
        drop(former);
        let mut has_new = await_more;
        for (folder, place) in folders {
            let watch = kept.remove(&(folder.clone(), place));
            has_new |= watch.is_none();
            let watch = watch.unwrap_or_else(|| self.hints.watch(&folder));
            self.watches.push(watch);
            self.folders.insert(folder, place);
        }
        has_new
    }

    /// What people should know of it.
    pub(super) fn problem(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "{} folders of models are more than are watched: what changes there is noticed within a minute",
                self.left_out
            )
        })
    }

    /// Waits for a hint that models came, changed or went. Cancel-safe: a hint that was not waited out
    /// is still there.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.is_hinted {
                // Before looking, so that what comes between the two is an event.
                self.watch_above();
                let is_there = any_is_there(&self.awaited).await;
                self.is_hinted = false;
                if is_there {
                    return;
                }
            }
            tokio::select! {
                () = any_changed(&mut self.watches) => return,
                () = any_changed(&mut self.awaited_watches) => self.is_hinted = true,
            }
        }
    }

    /// Watches the nearest folders above what does not exist, of which there may be nearer ones now.
    fn watch_above(&mut self) {
        self.awaited_watches.clear();
        let awaited = self.awaited.iter().map(|path| self.hints.watch(path));
        self.awaited_watches = awaited.collect();
    }
}

async fn any_is_there(paths: &[PathBuf]) -> bool {
    let paths = paths.to_vec();
    let there = blocking(move || paths.iter().any(|path| path.exists()));
    there.await.unwrap_or(true)
}

/// The folders to watch, and how many more there are.
fn folders(looks: &[Look]) -> (BTreeMap<PathBuf, Option<Place>>, usize) {
    let roots = looks.iter().filter_map(|look| {
        let folder = look.folders.get(&look.root.path)?;
        Some((&look.root.path, Some(folder.place)))
    });
    let inside = looks.iter().flat_map(|look| &look.folders);
    let inside = inside.map(|(path, folder)| (path, Some(folder.place)));
    let outside = looks.iter().flat_map(|look| &look.outside);
    let outside = outside.map(|path| (path, None));
    let mut chosen: BTreeMap<PathBuf, Option<Place>> = BTreeMap::new();
    let mut left_out = 0;
    for (path, place) in roots.chain(inside).chain(outside) {
        let is_known = chosen.contains_key(path as &Path);
        if !is_known && chosen.len() == MOST {
            left_out += 1;
        } else if !is_known {
            chosen.insert(path.clone(), place);
        }
    }
    (chosen, left_out)
}
