//! Which files of a folder make a model: all shards together, and the projector with its model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::facts::{Basis, Facts, Guess, Kind, Role, Split};
use super::file_name::ShardName;
use super::milli_bits;
use super::projector::projectors;

/// So many missing shards are named.
const NAMED: usize = 3;

/// What the files of a folder come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouped {
    /// The models, in the order of their first files.
    pub models: Vec<Group>,
    /// The files that cannot be used, and why.
    pub problems: Vec<Problem>,
}

/// The files of a model, each by its place among those that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its shards in order, or its only file.
    pub files: Vec<usize>,
    /// Its projector.
    pub projector: Option<usize>,
    /// What is known of it as a whole.
    pub facts: Arc<Facts>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its place among those that were given.
    pub file: usize,
    /// Why.
    pub reason: GroupError,
}

/// Why a file that is well in itself cannot be used. Each reads as the end of a sentence: "cannot use
/// FILE: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Shards are missing.
    #[error("of its shards, {} cannot be used or {} not there", listed(.missing, *.more), if .missing.len() + usize::from(*.more) == 1 { "is" } else { "are" })]
    ShardsMissing {
        /// The first of those that are missing.
        missing: Vec<String>,
        /// Whether there are more.
        more: bool,
    },
    /// The first shard is missing.
    #[error("it is a shard, and the first one, {first}, cannot be used or is not there")]
    FirstMissing {
        /// Its name.
        first: String,
    },
    /// llama.cpp finds shards by their names only.
    #[error(
        "it is shard {} of {}, so it must be called NAME-{:05}-of-{:05}.gguf", .split.number, .split.count,
        .split.number, .split.count
    )]
    Misnamed {
        /// Which shard it is.
        split: Split,
    },
    /// Another file has the name of a shard.
    #[error("{other} has the name of one of its shards, and is none")]
    Foreign {
        /// That file.
        other: String,
    },
    /// It cannot be told whose projector it is.
    #[error("it is a projector, and it cannot be told of which model: call it mmproj-MODEL.gguf")]
    Unclaimed,
}

/// Makes models of the files of one folder, given by their names.
pub fn group(files: &[(&str, &Arc<Facts>)]) -> Grouped {
    let mut grouped = Grouped::default();
    let by_name: HashMap<_, _> = (0..files.len()).map(|at| (files[at].0, at)).collect();
    for (at, (_, facts)) in files.iter().enumerate() {
        match facts.role {
            Role::Model => match whole(files, &by_name, at) {
                Ok(model) => grouped.models.push(model),
                Err(reason) => grouped.problems.push(Problem { file: at, reason }),
            },
            Role::Shard | Role::Projector | Role::Adapter | Role::Vocabulary => {}
        }
    }
    grouped.problems.extend(orphans(files, &by_name));
    projectors(files, &mut grouped);
    grouped
}

/// The model whose only file or first shard is at `first`.
fn whole(
    files: &[(&str, &Arc<Facts>)],
    by_name: &HashMap<&str, usize>,
    first: usize,
) -> Result<Group, GroupError> {
    let (name, facts) = files[first];
    let shards = match facts.split {
        Some(split) => shards(files, by_name, name, split)?,
        None => Vec::new(),
    };
    let files: Vec<_> = std::iter::once(first)
        .chain(shards.iter().map(|(at, _)| *at))
        .collect();
    let mut facts = facts.clone();
    for (_, shard) in shards {
        add(Arc::make_mut(&mut facts), shard);
    }
    Ok(Group {
        files,
        projector: None,
        facts,
    })
}

/// All shards but the first, which is called `name`.
fn shards<'a>(
    files: &[(&str, &'a Arc<Facts>)],
    by_name: &HashMap<&str, usize>,
    name: &str,
    split: Split,
) -> Result<Vec<(usize, &'a Arc<Facts>)>, GroupError> {
    let name = shard_name(name, split)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for number in 2..=split.count {
        let sibling = name.sibling(number);
        let Some(&at) = by_name.get(sibling.as_str()) else {
            missing.push(sibling);
            if missing.len() > NAMED {
                break;
            }
            continue;
        };
        let facts = files[at].1;
        let expected = Split { number, ..split };
        if facts.role != Role::Shard || facts.split != Some(expected) {
            return Err(GroupError::Foreign { other: sibling });
        }
        found.push((at, facts));
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let more = missing.len() > NAMED;
    missing.truncate(NAMED);
    Err(GroupError::ShardsMissing { missing, more })
}

/// The name of a shard, if it is as the shard says.
fn shard_name(name: &str, split: Split) -> Result<ShardName<'_>, GroupError> {
    ShardName::parse(name)
        .filter(|name| name.number == split.number && name.count == split.count)
        .ok_or(GroupError::Misnamed { split })
}

/// Shards without a first one: one problem for all of a model.
fn orphans(files: &[(&str, &Arc<Facts>)], by_name: &HashMap<&str, usize>) -> Vec<Problem> {
    let mut misnamed = Vec::new();
    let mut without_first = BTreeMap::new();
    for (file, (name, facts)) in files.iter().enumerate() {
        let Some(split) = facts.split.filter(|_| facts.role == Role::Shard) else {
            continue;
        };
        match shard_name(name, split) {
            Ok(name) => {
                let first = name.sibling(1);
                if !by_name.contains_key(first.as_str()) {
                    without_first.entry(first).or_insert(file);
                }
            }
            Err(reason) => misnamed.push(Problem { file, reason }),
        }
    }
    let without_first = without_first.into_iter().map(|(first, file)| Problem {
        file,
        reason: GroupError::FirstMissing { first },
    });
    misnamed.into_iter().chain(without_first).collect()
}

/// Adds a shard to what is known of the first. A first shard may have no tensors at all.
fn add(facts: &mut Facts, shard: &Facts) {
    let is_unknown = facts.quantization.basis == Basis::Nothing;
    if is_unknown {
        facts.quantization = shard.quantization.clone();
    }
    facts.parameters = facts.parameters.saturating_add(shard.parameters);
    facts.tensor_bytes = facts.tensor_bytes.saturating_add(shard.tensor_bytes);
    facts.milli_bits = milli_bits(facts.tensor_bytes, facts.parameters);
}

fn listed(names: &[String], more: bool) -> String {
    let names = names.join(", ");
    if more {
        format!("{names} and others")
    } else {
        names
    }
}

impl Group {
    /// Gives it a projector.
    pub(super) fn join(&mut self, projector: usize, facts: &Facts, basis: Basis) {
        self.projector = Some(projector);
        if self.facts.kind.value == Kind::Chat && facts.kind.value == Kind::Vision {
            Arc::make_mut(&mut self.facts).kind = Guess {
                value: Kind::Vision,
                basis,
            };
        }
    }
}
