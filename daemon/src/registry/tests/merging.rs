//! What is known after any course of events.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::super::choose::{Left, SeenModel, Sighting};
use super::super::look::{Folder, Look, Place};
use super::super::merge::{Input, Merged, Models, merge};
use super::super::testing::facts;
use super::*;

const ROOTS: [&str; 2] = ["/a", "/b"];
const NAMES: [&str; 4] = ["x.gguf", "y.gguf", "Y.gguf", "sub/x.gguf"];

/// How a scan path is found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Well,
    Missing,
    Empty,
    Unreadable,
}

/// How a file is found: with so many parameters, being written, or not at all.
type File = Option<Option<u64>>;

#[derive(Clone, Debug)]
struct Moment {
    health: [Health; 2],
    files: BTreeMap<PathBuf, File>,
    /// A model that a user says something of after it.
    set: prop::sample::Index,
}

fn paths() -> Vec<PathBuf> {
    let roots = ROOTS.iter();
    roots
        .flat_map(|root| NAMES.map(|name| Path::new(root).join(name)))
        .collect()
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let health = prop_oneof![
        6 => Just(Health::Well),
        1 => Just(Health::Missing),
        1 => Just(Health::Empty),
        1 => Just(Health::Unreadable),
    ];
    let file = prop_oneof![
        3 => Just(None),
        1 => Just(Some(None)),
        6 => (1..4_u64).prop_map(|parameters| Some(Some(parameters))),
    ];
    let files = prop::collection::vec(file, paths().len());
    let moment = (
        [health.clone(), health],
        files,
        any::<prop::sample::Index>(),
    );
    let moment = moment.prop_map(|(health, files, set)| Moment {
        health,
        files: paths().into_iter().zip(files).collect(),
        set,
    });
    prop::collection::vec(moment, 1..12)
}

impl Moment {
    fn looks(&self) -> Vec<Look> {
        let looks = ROOTS.iter().zip(self.health).map(|(root, health)| {
            let mut look = Look::nothing(&scan_path(Path::new(root)));
            let entries = match health {
                Health::Well => 1,
                Health::Empty => 0,
                Health::Missing | Health::Unreadable => {
                    look.is_missing = health == Health::Missing;
                    look.blocked.insert(root.into(), "it is bad".to_owned());
                    return look;
                }
            };
            let place = Place {
                device: 1,
                inode: 1,
            };
            let modified = Timestamp::UNIX_EPOCH;
            let folder = Folder {
                entries,
                place,
                modified,
            };
            look.folders.insert(root.into(), folder);
            look
        });
        looks.collect()
    }

    fn is_well(&self, path: &Path) -> bool {
        let mut roots = ROOTS.iter().zip(self.health);
        roots.any(|(root, health)| path.starts_with(root) && health == Health::Well)
    }

    fn sighting(&self) -> Sighting {
        let mut sighting = Sighting::default();
        for (path, file) in self.files.iter().filter(|(path, _)| self.is_well(path)) {
            match file {
                None => {}
                Some(None) => {
                    sighting.left.insert(path.clone(), Left::Unsettled);
                }
                Some(Some(parameters)) => {
                    let model = SeenModel {
                        files: vec![path.clone()],
                        mmproj: None,
                        size_bytes: *parameters,
                        modified: Timestamp::UNIX_EPOCH,
                        facts: Arc::new(facts(*parameters)),
                    };
                    sighting.models.insert(path.clone(), model);
                }
            }
        }
        sighting
    }

    fn merge(&self, known: &Models, second: i64) -> Merged {
        merge(Input {
            known,
            looks: &self.looks(),
            sighting: self.sighting(),
            device: &|_| Some(1),
            excluded: &BTreeSet::new(),
            chosen: &BTreeMap::new(),
            tiers: &TierRule::default(),
            scanned_at: Some(Timestamp::new(second - 1, 0).unwrap()),
            now: Timestamp::new(second, 0).unwrap(),
        })
    }
}

#[test]
fn a_deleted_file_is_forgotten_after_a_minute_unless_something_was_said_of_it() {
    let moment = |files: [Option<Option<u64>>; 2]| Moment {
        health: [Health::Well; ROOTS.len()],
        files: paths()
            .into_iter()
            .zip(files.into_iter().chain(std::iter::repeat(None)))
            .collect(),
        set: any_index(),
    };
    let mut known = moment([Some(Some(1)), Some(Some(2))])
        .merge(&Models::new(), 0)
        .models;
    let said = known.values_mut().next_back().unwrap();
    Arc::make_mut(said).overrides.thinking = Some(true);
    let said = said.id.clone();
    let gone = moment([None, None]);
    for second in [1, 59] {
        known = gone.merge(&known, second).models;
        assert_eq!(known.len(), 2);
    }
    known = gone.merge(&known, 60).models;
    assert!(known.keys().eq([&said]));
}

/// Nothing is set by it.
fn any_index() -> prop::sample::Index {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    any::<prop::sample::Index>()
        .new_tree(&mut runner)
        .unwrap()
        .current()
}

/// The laws for one step.
fn hold(moment: &Moment, before: &Models, merged: &Merged) -> Result<(), TestCaseError> {
    let after = &merged.models;
    let mut paths = BTreeSet::new();
    for (id, model) in after {
        prop_assert_eq!(id, &model.id);
        prop_assert!(paths.insert(&model.path), "two models have one path");
        let is_there = moment.sighting().models.contains_key(&model.path);
        prop_assert_eq!(model.is_available(), is_there);
    }
    prop_assert!(
        moment
            .sighting()
            .models
            .keys()
            .all(|path| paths.contains(path))
    );
    for (id, model) in before {
        // The id of a model that is forgotten may go to a new one.
        let now = after.get(id);
        let Some(now) = now.filter(|now| now.first_seen == model.first_seen) else {
            prop_assert!(model.overrides.is_empty(), "what a user said is lost");
            prop_assert!(!model.is_available(), "a model went without notice");
            prop_assert!(moment.is_well(&model.path), "a bad disk forgot a model");
            continue;
        };
        prop_assert_eq!(&now.overrides, &model.overrides);
        let stays = moment.files[&model.path].is_some() || !moment.is_well(&model.path);
        prop_assert!(
            !stays || now.path == model.path,
            "the file is there, the id went"
        );
    }
    let reported = merged.report.added.len() + merged.report.removed.len();
    prop_assert!(merged.is_news || reported + merged.report.changed.len() == 0);
    Ok(())
}

proptest! {
    #[test]
    fn ids_and_what_users_said_survive_whatever_happens_to_the_files(moments in moments()) {
        let mut known = Models::new();
        for (second, moment) in moments.iter().enumerate() {
            let merged = moment.merge(&known, second as i64);
            hold(moment, &known, &merged)?;
            known = merged.models;
            if !known.is_empty() {
                let id = moment.set.get(&known.keys().collect::<Vec<_>>()).as_str().to_owned();
                let model = known.get_mut(id.as_str()).unwrap();
                Arc::make_mut(model).overrides.enabled = Some(false);
            }
        }
    }

    #[test]
    fn the_same_sight_again_brings_nothing_but_forgetting(moments in moments()) {
        let mut known = Models::new();
        for (second, moment) in moments.iter().enumerate() {
            known = moment.merge(&known, second as i64).models;
            let again = moment.merge(&known, second as i64);
            prop_assert!(again.report.added.is_empty() && again.report.removed.is_empty());
            prop_assert!(again.report.changed.is_empty());
            let third = moment.merge(&again.models, second as i64);
            prop_assert!(!third.is_news);
            prop_assert_eq!(&third.models, &again.models);
        }
    }
}
