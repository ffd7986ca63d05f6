//! Files that a user wants to be models.
//!
//! A file becomes a model only if the scan that was asked for saw it, so nothing outside of the scan
//! paths ever does: a symlink or `..` leads nowhere that a scan would not go by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::choose::{Left, Sighting};
use super::handle::{RegistryError, Reply, Wanted, WantedModel};
use super::hub;
use super::look::Look;
use super::merge::Models;
use super::model::{Model, ModelId, ScanReport};

/// Decides what becomes of the files that are wanted.
pub(super) struct Admission<'a> {
    known: &'a Models,
    looks: &'a [Look],
    sighting: &'a Sighting,
    excluded: &'a mut BTreeSet<PathBuf>,
    /// The ids that were chosen for new models.
    pub(super) chosen: BTreeMap<PathBuf, ModelId>,
}

/// Somebody who waits for a scan, once it is decided what he is to be told.
pub(super) enum Admitted {
    Report(Reply<(Arc<ScanReport>, u64)>),
    Model(Result<PathBuf, RegistryError>, Reply<(Arc<Model>, u64)>),
}

impl<'a> Admission<'a> {
    pub(super) fn new(
        known: &'a Models,
        looks: &'a [Look],
        sighting: &'a Sighting,
        excluded: &'a mut BTreeSet<PathBuf>,
    ) -> Self {
        Self {
            known,
            looks,
            sighting,
            excluded,
            chosen: BTreeMap::new(),
        }
    }

    /// Decides, and lets the model in if it may be one.
    pub(super) fn admit(&mut self, wanted: Wanted) -> Admitted {
        match wanted {
            Wanted::Report(reply) => Admitted::Report(reply),
            Wanted::Model(wanted, reply) => Admitted::Model(self.decide(&wanted), reply),
        }
    }

    fn decide(&mut self, wanted: &WantedModel) -> Result<PathBuf, RegistryError> {
        let path = self.model_of(wanted)?;
        let key = hub::without_revision(&path);
        let mut known = self.known.values();
        if let Some(model) = known.find(|model| hub::without_revision(&model.path) == key) {
            return Err(RegistryError::Exists {
                what: wanted.path.display().to_string(),
                id: model.id.clone(),
            });
        }
        if let Some(id) = &wanted.id {
            if self.known.contains_key(id) || self.chosen.values().any(|other| other == id) {
                return Err(RegistryError::Exists {
                    what: format!("a model {id}"),
                    id: id.clone(),
                });
            }
            self.chosen.insert(path.clone(), id.clone());
        }
        self.excluded
            .retain(|excluded| hub::without_revision(excluded) != key);
        Ok(path)
    }

    /// The path of the model that the file is, or is a shard of.
    fn model_of(&self, wanted: &WantedModel) -> Result<PathBuf, RegistryError> {
        let refused = |why: &str| RegistryError::NotAModel {
            path: wanted.path.clone(),
            why: why.to_owned(),
        };
        let seen = self.seen(wanted).ok_or_else(|| self.unseen(&wanted.path))?;
        let mut models = self.sighting.models.iter();
        if let Some((path, _)) = models.find(|(_, model)| model.files.iter().any(|f| f == seen)) {
            return Ok(path.clone());
        }
        match self.sighting.left.get(seen) {
            Some(Left::Broken(why)) => Err(refused(why)),
            Some(Left::Unsettled) => Err(refused("it is being written; it appears by itself")),
            Some(Left::Part(why)) => Err(refused(why)),
            Some(Left::Twin(_)) | None => Err(refused("it is no model by itself")),
        }
    }

    /// The path by which the scan saw the file.
    fn seen(&self, wanted: &WantedModel) -> Option<&Path> {
        let mut files = self.looks.iter().flat_map(|look| &look.files);
        let by_path = files.clone().find(|file| file.path == wanted.path);
        let seen = by_path.or_else(|| files.find(|file| file.place == wanted.place))?;
        match self.sighting.left.get(&seen.path) {
            Some(Left::Twin(twin)) => Some(twin),
            Some(Left::Unsettled | Left::Broken(_) | Left::Part(_)) | None => Some(&seen.path),
        }
    }

    fn unseen(&self, path: &Path) -> RegistryError {
        let path = path.to_path_buf();
        let Some(look) = self
            .looks
            .iter()
            .find(|look| path.starts_with(&look.root.path))
        else {
            return RegistryError::OutsideScanPaths { path };
        };
        let why = match look.blocked.get(&path) {
            Some(why) => why.clone(),
            None if path.extension().is_none_or(|ending| ending != "gguf") => {
                "the name of a model ends in .gguf".to_owned()
            }
            None => "what begins with a dot, or is nested too deep, is not looked at".to_owned(),
        };
        RegistryError::NotAModel { path, why }
    }
}

impl Admitted {
    /// Answers with what the scan brought, whose models are on disk with state `number`.
    pub(super) fn answer(self, report: &Arc<ScanReport>, models: &Models, number: u64) {
        match self {
            // Nobody may have waited for the answers.
            Self::Report(reply) => drop(reply.send(Ok((report.clone(), number)))),
            Self::Model(Err(error), reply) => drop(reply.send(Err(error))),
            Self::Model(Ok(path), reply) => {
                let model = models.values().find(|model| model.path == path);
                let model = model.ok_or_else(|| RegistryError::NotAModel {
                    path: path.clone(),
                    why: "it went away".to_owned(),
                });
                drop(reply.send(model.map(|model| (model.clone(), number))));
            }
        }
    }
}
