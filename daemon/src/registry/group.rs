//! Joining the files of a model, folder by folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::gguf::{self, Facts, Role};

/// Files, joined to models. Each is given by its place among those that were given.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The models.
    pub(super) models: Vec<Parts>,
    /// The files that cannot be used, and why.
    pub(super) problems: Vec<(usize, String)>,
}

/// The files of one model.
#[derive(Debug)]
pub(super) struct Parts {
    /// All shards in order.
    pub(super) files: Vec<usize>,
    pub(super) mmproj: Option<usize>,
    /// What is known of it as a whole.
    pub(super) facts: Arc<Facts>,
}

/// Joins files whose headers are known.
pub(super) fn join(files: &[(&Path, &Arc<Facts>)]) -> Joined {
    // As text: paths are compared part by part, which takes long.
    let mut folders: HashMap<&OsStr, Vec<usize>> = HashMap::new();
    for (at, (path, _)) in files.iter().enumerate() {
        let folder = path.parent().unwrap_or(path).as_os_str();
        folders.entry(folder).or_default().push(at);
    }
    let mut joined = Joined::default();
    for folder in folders.into_values() {
        joined.add(&folder, files);
    }
    joined
}

impl Joined {
    /// Adds those files that are in one folder.
    fn add(&mut self, folder: &[usize], files: &[(&Path, &Arc<Facts>)]) {
        let named = folder.iter().filter_map(|&at| {
            let (path, facts) = files[at];
            Some((at, path.file_name()?.to_str()?, facts))
        });
        let mut named: Vec<_> = named.collect();
        // What is told of them must not depend on the order.
        named.sort_by_key(|(_, name, _)| *name);
        let named = named.into_iter();
        let (at, named): (Vec<_>, Vec<_>) =
            named.map(|(at, name, facts)| (at, (name, facts))).unzip();
        let grouped = gguf::group(&named);
        let models = grouped.models.into_iter().map(|group| Parts {
            files: group.files.into_iter().map(|file| at[file]).collect(),
            mmproj: group.projector.map(|file| at[file]),
            facts: group.facts,
        });
        self.models.extend(models);
        let problems = grouped.problems.into_iter();
        self.problems
            .extend(problems.map(|problem| (at[problem.file], problem.reason.to_string())));
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
