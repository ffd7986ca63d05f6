//! Which of the files that were seen are models.
//!
//! One file can be seen by several paths, through symlinks and hard links, and in several revisions.
//! It is one model, by one path: if it is known already, by the one it has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::group;
use super::hub;
use super::look::{Header, Look, Place, SeenFile, Stamp};
use crate::gguf::Facts;

/// What was seen, as models.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    /// The models by path.
    pub(super) models: HashMap<PathBuf, SeenModel>,
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
    pub(super) facts: Arc<Facts>,
}

/// Makes models of what was seen. `is_known` says of a path that a model has it.
pub(super) fn choose(looks: &[Look], is_known: impl Fn(&Path) -> bool) -> Sighting {
    let mut sighting = Sighting::default();
    let newest = newest_revisions(looks, &mut sighting.left);
    let files = without_twins(newest, is_known, &mut sighting.left);
    let mut usable = Vec::new();
    let mut written: HashSet<&Path> = HashSet::new();
    for file in files {
        match &file.header {
            Header::Facts(facts) => {
                usable.push((file, facts));
                let why = group::no_model(facts.role);
                sighting.leave(file, why.map(Left::Part));
            }
            Header::Unsettled => {
                written.extend(file.path.parent());
                sighting.leave(file, Some(Left::Unsettled));
            }
            Header::Broken(why) => sighting.leave(file, Some(Left::Broken(why.clone()))),
        }
    }
    let named: Vec<_> = usable
        .iter()
        .map(|(file, facts)| (file.path.as_path(), *facts))
        .collect();
    let joined = group::join(&named);
    for (at, why) in joined.problems {
        let (file, _) = usable[at];
        // The shard that is missing may be the one that is being written.
        let waits = file
            .path
            .parent()
            .is_some_and(|folder| written.contains(folder));
        let left = if waits {
            Left::Unsettled
        } else {
            Left::Broken(why)
        };
        sighting.leave(file, Some(left));
    }
    for parts in joined.models {
        let files: Vec<_> = parts.files.iter().map(|&at| usable[at].0).collect();
        let mmproj = parts.mmproj.map(|at| usable[at].0);
        sighting.add(&files, mmproj, parts.facts);
    }
    sighting
}

impl Sighting {
    fn leave(&mut self, file: &SeenFile, left: Option<Left>) {
        if let Some(left) = left {
            self.left.insert(file.path.clone(), left);
        }
    }

    fn add(&mut self, files: &[&SeenFile], mmproj: Option<&SeenFile>, facts: Arc<Facts>) {
        let Some(first) = files.first() else {
            return;
        };
        let sizes = files.iter().map(|file| file.stamp.size);
        let times = files.iter().chain(&mmproj).map(|file| file.stamp.modified);
        let model = SeenModel {
            files: files.iter().map(|file| file.path.clone()).collect(),
            mmproj: mmproj.map(|file| file.path.clone()),
            size_bytes: sizes.fold(0, u64::saturating_add),
            modified: times.max().unwrap_or_default(),
            facts,
        };
        self.models.insert(first.path.clone(), model);
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

/// The files, but each only once.
fn without_twins<'a>(
    files: Vec<&'a SeenFile>,
    is_known: impl Fn(&Path) -> bool,
    left: &mut BTreeMap<PathBuf, Left>,
) -> Vec<&'a SeenFile> {
    // Where places are no more than hints, two files could have one: not with the same stamp, too.
    let mut places: HashMap<(Place, Stamp), &SeenFile> = HashMap::with_capacity(files.len());
    let mut twins = Vec::new();
    for file in files {
        let best = places.entry((file.place, file.stamp)).or_insert(file);
        if best.path == file.path {
            continue;
        }
        let rank = |file: &'a SeenFile| (!is_known(&file.path), file.is_link, &file.path);
        let worse = match rank(file) < rank(best) {
            true => std::mem::replace(best, file),
            false => file,
        };
        twins.push(worse);
    }
    for twin in twins {
        let chosen = places[&(twin.place, twin.stamp)].path.clone();
        left.insert(twin.path.clone(), Left::Twin(chosen));
    }
    places.into_values().collect()
}
