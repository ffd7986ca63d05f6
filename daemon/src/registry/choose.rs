//! Which of the files that were seen are models.
//!
//! One file can be seen by several paths, through symlinks and hard links, and in several revisions.
//! It is one model, by one path: if it is known already, by the one it has.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::group::{self, Parts};
use super::hub;
use super::look::{Header, Look, Place, SeenFile, Stamp};
use crate::gguf::Facts;

/// What was seen, as models.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    /// The models by path.
    pub(super) models: BTreeMap<PathBuf, SeenModel>,
    /// The files that are there and are no models, or not now, and why.
    pub(super) left: BTreeMap<PathBuf, Left>,
}

/// Why a file is no model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Somebody is writing it.
    Unsettled,
    /// It is well, and no model by itself.
    Part(&'static str),
    /// It, or what belongs to it, cannot be used.
    Broken(String),
    /// It is another path to this file, or a former revision of it.
    Twin(PathBuf),
}

/// A model as it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeenModel {
    pub(super) files: Vec<PathBuf>,
    pub(super) mmproj: Option<PathBuf>,
    pub(super) size_bytes: u64,
    pub(super) modified: Timestamp,
    pub(super) facts: Facts,
}

/// Makes models of what was seen. `is_known` says of a path that a model has it.
pub(super) fn choose(looks: &[Look], is_known: impl Fn(&Path) -> bool) -> Sighting {
    let mut sighting = Sighting::default();
    let newest = newest_revisions(looks, &mut sighting.left);
    let files = without_twins(newest, is_known, &mut sighting.left);
    let mut usable: BTreeMap<PathBuf, Arc<Facts>> = BTreeMap::new();
    for file in files.values() {
        let left = match &file.header {
            Header::Facts(facts) => {
                usable.insert(file.path.clone(), facts.clone());
                continue;
            }
            Header::Unsettled => Left::Unsettled,
            Header::Broken(why) => Left::Broken(why.clone()),
        };
        sighting.left.insert(file.path.clone(), left);
    }
    for (path, facts) in &usable {
        if let Some(why) = group::no_model(facts.role) {
            sighting.left.insert(path.clone(), Left::Part(why));
        }
    }
    let joined = group::join(&usable);
    for (path, why) in joined.problems {
        let waits = sighting.is_written_beside(&path);
        let left = if waits {
            Left::Unsettled
        } else {
            Left::Broken(why)
        };
        sighting.left.insert(path, left);
    }
    let models = joined.models.into_iter().filter_map(|parts| {
        let path = parts.files.first()?.clone();
        Some((path, seen_model(parts, &files)))
    });
    sighting.models = models.collect();
    sighting
}

impl Sighting {
    /// Whether a file in the same folder is still written: the shard that is missing may be the next.
    fn is_written_beside(&self, path: &Path) -> bool {
        let mut left = self.left.iter();
        left.any(|(other, left)| *left == Left::Unsettled && other.parent() == path.parent())
    }
}

fn seen_model(parts: Parts, files: &BTreeMap<PathBuf, &SeenFile>) -> SeenModel {
    let stamps = || {
        parts
            .files
            .iter()
            .filter_map(|path| Some(files.get(path)?.stamp))
    };
    SeenModel {
        size_bytes: stamps()
            .map(|stamp| stamp.size)
            .fold(0, u64::saturating_add),
        modified: stamps()
            .map(|stamp| stamp.modified)
            .max()
            .unwrap_or_default(),
        files: parts.files,
        mmproj: parts.mmproj,
        facts: parts.facts,
    }
}

/// All files, but of those in a cache of the hub only the newest revision.
fn newest_revisions<'a>(
    looks: &'a [Look],
    left: &mut BTreeMap<PathBuf, Left>,
) -> Vec<&'a SeenFile> {
    let mut newest: HashMap<PathBuf, (Revision, &SeenFile)> = HashMap::new();
    let mut chosen = Vec::new();
    let mut former = Vec::new();
    for (look, file) in looks
        .iter()
        .flat_map(|look| look.files.iter().map(move |f| (look, f)))
    {
        let Some(repository) = hub::repository(&file.path) else {
            chosen.push(file);
            continue;
        };
        let snapshot = repository.snapshot();
        let head = look.newest.get(&repository.folder());
        let revision = Revision {
            is_usable: matches!(file.header, Header::Facts(_)),
            is_head: head.is_some_and(|head| snapshot.ends_with(head)),
            modified: look.folders.get(&snapshot).map(|folder| folder.modified),
        };
        let key = hub::without_revision(&file.path);
        match newest.get_mut(&key) {
            Some(best) if best.0 >= revision => former.push((key, file)),
            Some(best) => former.push((key, std::mem::replace(best, (revision, file)).1)),
            None => drop(newest.insert(key, (revision, file))),
        }
    }
    for (key, file) in former {
        let twin = newest[&key].1.path.clone();
        if twin != file.path {
            left.insert(file.path.clone(), Left::Twin(twin));
        }
    }
    chosen.extend(newest.into_values().map(|(_, file)| file));
    chosen
}

/// How new a revision is: the later in this order, the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Revision {
    is_usable: bool,
    is_head: bool,
    modified: Option<Timestamp>,
}

/// The files by path, but each only once.
fn without_twins<'a>(
    mut files: Vec<&'a SeenFile>,
    is_known: impl Fn(&Path) -> bool,
    left: &mut BTreeMap<PathBuf, Left>,
) -> BTreeMap<PathBuf, &'a SeenFile> {
    files.sort_by_cached_key(|file| (!is_known(&file.path), file.is_link, file.path.clone()));
    // Where places are no more than hints, two files could have one: not with the same stamp, too.
    let mut places: HashMap<(Place, Stamp), &Path> = HashMap::new();
    let mut chosen = BTreeMap::new();
    for file in files {
        let first = *places.entry((file.place, file.stamp)).or_insert(&file.path);
        if first == file.path {
            chosen.insert(file.path.clone(), file);
        } else {
            left.insert(file.path.clone(), Left::Twin(first.to_path_buf()));
        }
    }
    chosen
}
