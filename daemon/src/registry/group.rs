//! Joining the files of a model, folder by folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::gguf::{self, Facts, Role};

/// Files, joined to models.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The models.
    pub(super) models: Vec<Parts>,
    /// The files that cannot be used, and why.
    pub(super) problems: Vec<(PathBuf, String)>,
}

/// The files of one model.
#[derive(Debug)]
pub(super) struct Parts {
    /// All shards in order.
    pub(super) files: Vec<PathBuf>,
    pub(super) mmproj: Option<PathBuf>,
    /// What is known of it as a whole.
    pub(super) facts: Facts,
}

/// Joins files whose headers are known.
pub(super) fn join(files: &BTreeMap<PathBuf, Arc<Facts>>) -> Joined {
    let mut folders: BTreeMap<&Path, Vec<(&PathBuf, &str, &Facts)>> = BTreeMap::new();
    for (path, facts) in files {
        let name = path.file_name().and_then(|name| name.to_str());
        if let (Some(folder), Some(name)) = (path.parent(), name) {
            let files = folders.entry(folder).or_default();
            files.push((path, name, facts));
        }
    }
    let mut joined = Joined::default();
    for files in folders.into_values() {
        joined.add(&files);
    }
    joined
}

impl Joined {
    /// Adds the files of one folder.
    fn add(&mut self, files: &[(&PathBuf, &str, &Facts)]) {
        let named: Vec<_> = files
            .iter()
            .map(|&(_, name, facts)| (name, facts))
            .collect();
        let grouped = gguf::group(&named);
        let path = |at: usize| files[at].0.clone();
        let models = grouped.models.into_iter().map(|group| Parts {
            files: group.files.into_iter().map(path).collect(),
            mmproj: group.projector.map(path),
            facts: group.facts,
        });
        self.models.extend(models);
        let problems = grouped.problems.into_iter();
        self.problems
            .extend(problems.map(|problem| (path(problem.file), problem.reason.to_string())));
    }
}

/// Why a file is no model by itself, though nothing is wrong with it.
pub(super) fn no_model(role: Role) -> Option<&'static str> {
    match role {
        Role::Model => None,
        Role::Shard => Some("it is a shard of another one: name the first"),
        Role::Projector => Some("it is the projector of another one"),
        Role::Adapter => Some("it is an adapter, of no use without its model: name it in `args`"),
        Role::Vocabulary => Some("it has only a vocabulary"),
    }
}
