//! What somebody means by the name of a model.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::model::{Model, ModelId, Snapshot};
use crate::text::one_line;

/// How alike a name must be to be proposed, from 0 to 1.
const ALIKE: f64 = 0.75;

/// How many names are proposed, and how many candidates are named.
const NAMED: usize = 3;

/// What somebody meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A model of the registry.
    Model(Arc<Model>),
    /// A path that is not in the registry. Whether there is a file is for the caller to see.
    Path(PathBuf),
}

/// Why it is not clear what somebody meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// Nothing has this name.
    #[error("{}", no_such_model(.name, .near, .searched))]
    NoSuchModel {
        /// What was written.
        name: String,
        /// Ids that look like it, the most alike first.
        near: Vec<ModelId>,
        /// Where models are looked for.
        searched: Vec<PathBuf>,
    },
    /// Several files have this name.
    #[error("{} is there more than once: {}; write the id of one", one_line(.name), several(.candidates))]
    Ambiguous {
        /// What was written.
        name: String,
        /// The models that have a file of this name.
        candidates: Vec<(ModelId, PathBuf)>,
    },
}

/// The models by the names of their files. Thousands of servers may name one each.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    by_file: HashMap<String, Vec<ModelId>>,
    by_path: HashMap<OsString, ModelId>,
}

impl Names {
    fn of(models: &BTreeMap<ModelId, Arc<Model>>) -> Self {
        let mut names = Self::default();
        for (id, path) in models
            .iter()
            .flat_map(|(id, m)| m.files.iter().map(move |f| (id, f)))
        {
            names.by_path.insert(path.into(), id.clone());
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                names
                    .by_file
                    .entry(name.to_owned())
                    .or_default()
                    .push(id.clone());
            }
        }
        names
    }
}

impl Snapshot {
    /// What is meant by `written` in a file in `folder`, or by somebody whose current folder that is:
    /// the id of a model, the name of its file with or without `.gguf`, or a path, which has a `/`.
    ///
    /// # Errors
    ///
    /// Names what is near, or the candidates.
    pub fn find(&self, written: &str, folder: &Path) -> Result<Found, NotFound> {
        if written.contains('/') {
            let path = plain(&folder.join(written));
            let id = self.names().by_path.get(path.as_os_str());
            let known = id.and_then(|id| self.models.get(id));
            return Ok(known.map_or(Found::Path(path), |model| Found::Model(model.clone())));
        }
        if let Some(model) = self.models.get(written) {
            return Ok(Found::Model(model.clone()));
        }
        match self.of_file_name(written).as_slice() {
            [] => {
                let unsettled = self.unsettled.iter();
                let mut unsettled = unsettled.filter(|path| has_name(path, written));
                let path = unsettled.next().cloned();
                path.map(Found::Path).ok_or_else(|| self.no_such(written))
            }
            [model] => Ok(Found::Model(Arc::clone(model))),
            several => Err(NotFound::Ambiguous {
                name: written.to_owned(),
                candidates: several
                    .iter()
                    .map(|model| (model.id.clone(), model.path.clone()))
                    .collect(),
            }),
        }
    }

    fn of_file_name(&self, written: &str) -> Vec<&Arc<Model>> {
        let names = &self.names().by_file;
        let ids = names
            .get(written)
            .or_else(|| names.get(&format!("{written}.gguf")));
        let ids = ids.into_iter().flatten();
        ids.filter_map(|id| self.models.get(id)).collect()
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::of(&self.models))
    }

    fn no_such(&self, written: &str) -> NotFound {
        NotFound::NoSuchModel {
            name: written.to_owned(),
            near: self.near(written),
            searched: self.scan_paths.clone(),
        }
    }

    /// The ids that look like `written`.
    fn near(&self, written: &str) -> Vec<ModelId> {
        let lower = written.to_lowercase();
        let wanted = lower.strip_suffix(".gguf").unwrap_or(&lower);
        let likeness = |id: &ModelId| strsim::jaro_winkler(wanted, id.as_str());
        let rated = self.models.keys().map(|id| (likeness(id), id));
        let mut rated: Vec<_> = rated.filter(|(likeness, _)| *likeness >= ALIKE).collect();
        rated.sort_by(|a, b| b.0.total_cmp(&a.0));
        rated
            .into_iter()
            .take(NAMED)
            .map(|(_, id)| id.clone())
            .collect()
    }
}

/// Whether a file has this name, with or without `.gguf`.
fn has_name(path: &Path, written: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == written || name.strip_suffix(".gguf") == Some(written))
}

/// A path without `.`; what `..` means, only the disk knows.
fn plain(path: &Path) -> PathBuf {
    let components = path.components();
    components.filter(|c| *c != Component::CurDir).collect()
}

fn no_such_model(name: &str, near: &[ModelId], searched: &[PathBuf]) -> String {
    let name = one_line(name);
    if searched.is_empty() {
        return format!(
            "there is no folder of models to look for {name} in: set [models] scan_paths, or write a path"
        );
    }
    let searched = listed(searched.iter().map(|path| path.display().to_string()));
    let mut message = format!("there is no {name} under {searched}");
    if !near.is_empty() {
        let near: Vec<_> = near.iter().map(ModelId::as_str).collect();
        message = format!("{message}; near it: {}", near.join(", "));
    }
    message
}

fn several(candidates: &[(ModelId, PathBuf)]) -> String {
    let each = candidates.iter();
    listed(each.map(|(id, path)| format!("{id} ({})", one_line(&path.to_string_lossy()))))
}

/// The first few, and how many there are beside them.
fn listed(each: impl ExactSizeIterator<Item = String>) -> String {
    let more = each.len().saturating_sub(NAMED);
    let named: Vec<_> = each.take(NAMED).collect();
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{model, snapshot};
    use super::*;

    const HERE: &str = "/etc/magi/profiles";

    fn found(snapshot: &Snapshot, written: &str) -> Option<String> {
        match snapshot.find(written, Path::new(HERE)) {
            Ok(Found::Model(model)) => Some(model.id.to_string()),
            Ok(Found::Path(_)) | Err(_) => None,
        }
    }

    #[test]
    fn a_model_is_meant_by_its_id_its_file_name_or_its_path() {
        let mut sharded = model("big", "/m/Big-00001-of-00002.gguf");
        sharded.files.push("/m/Big-00002-of-00002.gguf".into());
        let known = snapshot([model("x-7b", "/m/X 7B.gguf"), sharded]);
        for written in [
            "x-7b",
            "X 7B",
            "X 7B.gguf",
            "/m/X 7B.gguf",
            "/m/./X 7B.gguf",
        ] {
            assert_eq!(found(&known, written).as_deref(), Some("x-7b"), "{written}");
        }
        for written in ["big", "Big-00001-of-00002", "Big-00002-of-00002.gguf"] {
            assert_eq!(found(&known, written).as_deref(), Some("big"), "{written}");
        }
    }

    #[test]
    fn a_path_that_is_not_in_the_registry_is_relative_to_the_file_that_names_it() {
        let found = snapshot([]).find("./own/x.gguf", Path::new(HERE));
        let path = PathBuf::from("/etc/magi/profiles/own/x.gguf");
        assert_eq!(found, Ok(Found::Path(path)));
    }

    #[test]
    fn a_name_that_two_files_have_is_not_guessed_but_an_id_is_one_model() {
        let known = snapshot([model("m", "/a/m.gguf"), model("m-b", "/b/m.gguf")]);
        assert_eq!(found(&known, "m").as_deref(), Some("m"));
        let error = known.find("m.gguf", Path::new(HERE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "m.gguf is there more than once: m (/a/m.gguf), m-b (/b/m.gguf); write the id of one"
        );
    }

    #[test]
    fn a_name_that_nothing_has_is_answered_with_what_is_near_and_where_it_was_looked_for() {
        let known = snapshot([
            model("qwen2.5-7b-q4_k_m", "/m/q.gguf"),
            model("z", "/m/z.gguf"),
        ]);
        let error = known.find("Qwen2.5-7B-Q4", Path::new(HERE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no Qwen2.5-7B-Q4 under /m; near it: qwen2.5-7b-q4_k_m"
        );
    }

    #[test]
    fn without_scan_paths_the_key_to_set_is_named() {
        let error = Snapshot::default().find("x", Path::new(HERE)).unwrap_err();
        assert!(error.to_string().contains("[models] scan_paths"));
    }
}
