//! What is known of the models after a scan.
//!
//! What a user said of a model stays with it for as long as there can be any doubt whether the model
//! is still there, and goes with it when its file is moved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::absence::{Absence, GONE, absence};
use super::choose::{SeenModel, Sighting};
use super::hub;
use super::id;
use super::look::Look;
use super::model::{Availability, Model, ModelId, Overrides, ScanReport};
use crate::gguf::{Facts, Tier, TierRule};

/// A model whose file was deleted is forgotten, and with it the servers that were selected for it, once it
/// was missed for so long: whoever replaces a file deletes the old one first.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// The models by name.
pub(super) type Models = BTreeMap<ModelId, Arc<Model>>;

/// What models are made of.
pub(super) struct Input<'a> {
    /// What was known.
    pub(super) known: &'a Models,
    /// What was seen.
    pub(super) looks: &'a [Look],
    /// The models of it.
    pub(super) sighting: Sighting,
    /// The device that a file was on.
    pub(super) device: &'a dyn Fn(&Path) -> Option<u64>,
    /// The models that a user deleted.
    pub(super) excluded: &'a BTreeSet<PathBuf>,
    /// The ids that a user chose for new models.
    pub(super) chosen: &'a BTreeMap<PathBuf, ModelId>,
    /// What makes a tier.
    pub(super) tiers: &'a TierRule,
    /// When the scan before ended. None: there was none.
    pub(super) scanned_at: Option<Timestamp>,
    /// When the scan ended.
    pub(super) now: Timestamp,
}

/// What is known now.
#[derive(Debug)]
pub(super) struct Merged {
    /// The models.
    pub(super) models: Models,
    /// Of the models that a user deleted, those that may still be there.
    pub(super) excluded: BTreeSet<PathBuf>,
    /// What differs. Its problems are not filled in.
    pub(super) report: ScanReport,
    /// Places that keep models from being served: what is wrong, and how many models they have.
    pub(super) held: BTreeMap<PathBuf, (String, usize)>,
    /// Whether anything differs but the times at which models were last seen.
    pub(super) is_news: bool,
}

/// Makes what is known of what was known and what was seen.
pub(super) fn merge(input: Input<'_>) -> Merged {
    let excluded = still_there(&input);
    let is_news = excluded != *input.excluded;
    let mut merge = Merge {
        found: HashMap::new(),
        merged: Merged {
            models: Models::new(),
            excluded,
            report: ScanReport::default(),
            held: BTreeMap::new(),
            is_news,
        },
        input,
    };
    merge.take_found();
    let absent = merge.meet_known();
    let absent = merge.meet_revisions(absent);
    let absent = merge.meet_moved(absent);
    for model in absent {
        merge.miss(&model);
    }
    merge.add_new();
    merge.merged.report.total = merge.merged.models.len();
    merge.merged
}

/// The tier that the rule gives a model.
pub(super) fn guessed_tier(facts: &Facts, tiers: &TierRule) -> Tier {
    let bits = u128::from(facts.parameters) * u128::from(facts.milli_bits);
    tiers.tier(u64::try_from(bits / 8_000).unwrap_or(u64::MAX))
}

fn still_there(input: &Input<'_>) -> BTreeSet<PathBuf> {
    let paths = input.excluded.iter();
    let there = paths.filter(|path| {
        let is_seen = input.sighting.models.contains_key(*path);
        is_seen || matches!(input.absence(path), Absence::Held { .. })
            // A newer revision takes the place of a deleted one, and is as unwanted.
            || hub::repository(path).is_some_and(|_| input.sees_revision_of(path))
    });
    there.cloned().collect()
}

impl Input<'_> {
    fn absence(&self, path: &Path) -> Absence {
        absence(path, (self.device)(path), self.looks, &self.sighting)
    }

    fn sees_revision_of(&self, path: &Path) -> bool {
        let key = hub::without_revision(path);
        let mut seen = self.sighting.models.keys();
        seen.any(|seen| hub::without_revision(seen) == key)
    }
}

struct Merge<'a> {
    input: Input<'a>,
    /// What was seen and belongs to nothing yet.
    found: HashMap<PathBuf, SeenModel>,
    merged: Merged,
}

impl Merge<'_> {
    fn take_found(&mut self) {
        let excluded = self.merged.excluded.iter();
        let excluded: BTreeSet<_> = excluded.map(|path| hub::without_revision(path)).collect();
        self.found = std::mem::take(&mut self.input.sighting.models);
        if !excluded.is_empty() {
            self.found
                .retain(|path, _| !excluded.contains(&hub::without_revision(path)));
        }
    }

    /// Takes the models that are where they were, and returns the others.
    fn meet_known(&mut self) -> Vec<Arc<Model>> {
        let mut absent = Vec::new();
        for model in self.input.known.values() {
            match self.found.remove_entry(&model.path) {
                Some((path, seen)) => self.meet(model, path, seen),
                None => absent.push(model.clone()),
            }
        }
        absent
    }

    /// Takes the models of which there is a newer revision.
    fn meet_revisions(&mut self, mut absent: Vec<Arc<Model>>) -> Vec<Arc<Model>> {
        let in_hub = self
            .found
            .keys()
            .filter(|path| hub::repository(path).is_some());
        let mut newer: HashMap<PathBuf, PathBuf> = in_hub
            .map(|path| (hub::without_revision(path), path.clone()))
            .collect();
        absent.retain(|model| {
            let path = newer.remove(&hub::without_revision(&model.path));
            let seen = path.and_then(|path| self.found.remove_entry(&path));
            let Some((path, seen)) = seen else {
                return true;
            };
            self.meet(model, path, seen);
            false
        });
        absent
    }

    /// Takes the models that were moved: gone from one path, and there at another. First those that
    /// kept the name of their file, as when a folder is moved. Two that are alike are not guessed at.
    fn meet_moved(&mut self, mut absent: Vec<Arc<Model>>) -> Vec<Arc<Model>> {
        for keeps_name in [true, false] {
            let name = |path: &Path| {
                path.file_name()
                    .filter(|_| keeps_name)
                    .map(ToOwned::to_owned)
            };
            let gone = absent
                .iter()
                .filter(|model| matches!(self.input.absence(&model.path), Absence::Gone(_)));
            let gone = gone.map(|model| {
                let key = (
                    name(&model.path),
                    Likeness::of(model.size_bytes, &model.facts),
                );
                (key, model.clone())
            });
            let gone = only_ones(gone);
            let found = self.found.iter().map(|(path, seen)| {
                let key = (name(path), Likeness::of(seen.size_bytes, &seen.facts));
                (key, path.clone())
            });
            let mut found = only_ones(found);
            for (key, model) in gone {
                let path = found.remove(&key);
                let seen = path.and_then(|path| self.found.remove_entry(&path));
                if let Some((path, seen)) = seen {
                    self.meet(&model, path, seen);
                    absent.retain(|other| other.id != model.id);
                }
            }
        }
        absent
    }

    /// A model that was seen.
    fn meet(&mut self, known: &Arc<Model>, path: PathBuf, seen: SeenModel) {
        let now = Model {
            guessed_tier: guessed_tier(&seen.facts, self.input.tiers),
            path,
            files: seen.files,
            mmproj: seen.mmproj,
            size_bytes: seen.size_bytes,
            modified: seen.modified,
            facts: seen.facts,
            last_seen: None,
            availability: Availability::Available,
            id: known.id.clone(),
            overrides: known.overrides.clone(),
            first_seen: known.first_seen,
        };
        if now == **known {
            return self.keep(known.clone());
        }
        self.merged.is_news = true;
        let report = &mut self.merged.report;
        match known.is_available() {
            true => report.changed.push(now.id.clone()),
            false => report.added.push(now.id.clone()),
        }
        self.keep(Arc::new(now));
    }

    fn keep(&mut self, model: Arc<Model>) {
        self.merged.models.insert(model.id.clone(), model);
    }

    /// A model that was not seen.
    fn miss(&mut self, known: &Arc<Model>) {
        let reason = match self.input.absence(&known.path) {
            Absence::Held { place, reason } => {
                let held = self.merged.held.entry(place);
                held.or_insert_with(|| (reason.clone(), 0)).1 += 1;
                reason
            }
            Absence::Gone(reason) => {
                let was_gone = known.availability == Availability::Unavailable(reason.clone());
                let last_seen = known.last_seen.unwrap_or(known.first_seen);
                let missed_for = self.input.now.duration_since(last_seen);
                let may_come_back = reason == GONE && missed_for < FORGOTTEN_AFTER;
                if was_gone && !may_come_back && known.overrides.is_empty() {
                    self.merged.is_news = true;
                    return;
                }
                reason
            }
        };
        let availability = Availability::Unavailable(reason);
        if known.availability == availability {
            return self.keep(known.clone());
        }
        self.merged.is_news = true;
        if known.is_available() {
            self.merged.report.removed.push(known.id.clone());
        }
        self.keep(Arc::new(Model {
            availability,
            last_seen: known.last_seen.or(self.input.scanned_at),
            ..(**known).clone()
        }));
    }

    fn add_new(&mut self) {
        // Ids that a user chose are not given to others.
        let chosen: BTreeSet<_> = self.input.chosen.values().cloned().collect();
        let mut found: Vec<_> = std::mem::take(&mut self.found).into_iter().collect();
        // Of two files of one name it must always be the same that gets the plain id.
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, seen) in found {
            let models = &self.merged.models;
            let id = self
                .input
                .chosen
                .get(&path)
                .filter(|id| !models.contains_key(*id));
            let is_taken = |id: &str| models.contains_key(id) || chosen.contains(id);
            let id = id.cloned().unwrap_or_else(|| id::new_id(&path, is_taken));
            let model = Model {
                id: id.clone(),
                path,
                files: seen.files,
                mmproj: seen.mmproj,
                size_bytes: seen.size_bytes,
                modified: seen.modified,
                guessed_tier: guessed_tier(&seen.facts, self.input.tiers),
                facts: seen.facts,
                overrides: Overrides::default(),
                first_seen: self.input.now,
                last_seen: None,
                availability: Availability::Available,
            };
            self.merged.is_news = true;
            self.merged.report.added.push(id.clone());
            self.merged.models.insert(id, Arc::new(model));
        }
    }
}

/// What a moved file keeps: its size, and all that its header says.
#[derive(PartialEq, Eq, Hash)]
struct Likeness(u64, String);

impl Likeness {
    fn of(size: u64, facts: &Facts) -> Self {
        Self(size, format!("{facts:?}"))
    }
}

/// The values whose key no other has.
fn only_ones<K: Eq + Hash, V>(all: impl Iterator<Item = (K, V)>) -> HashMap<K, V> {
    let mut ones: HashMap<K, Option<V>> = HashMap::new();
    for (key, value) in all {
        ones.entry(key)
            .and_modify(|one| *one = None)
            .or_insert(Some(value));
    }
    let ones = ones.into_iter();
    ones.filter_map(|(key, one)| Some((key, one?))).collect()
}
