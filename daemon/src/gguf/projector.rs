//! Whose projector a file is.
//!
//! A projector is called after its model, as `mmproj-gemma-3-4b-it-F16.gguf`, or just `mmproj-F16.gguf` in
//! a folder of its own. The embeddings it makes often have the length of its model's, but not always:
//! of several models that it could belong to, those that agree in that go first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::facts::{Basis, Facts, Kind, Role};
use super::file_name::own_words;
use super::group::{Group, GroupError, Grouped, Problem};

/// Quantizations of projectors, the one to take first. It is small, and its precision is seen.
const PREFERRED: [&str; 4] = ["F16", "BF16", "F32", "Q8_0"];

type Words = BTreeSet<String>;

struct Projector<'a> {
    file: usize,
    name: &'a str,
    facts: &'a Facts,
    words: Words,
}

/// Gives each model of a folder its projector.
pub(super) fn projectors(files: &[(&str, &Arc<Facts>)], grouped: &mut Grouped) {
    let projectors: Vec<_> = files.iter().enumerate().filter_map(Projector::of).collect();
    if projectors.is_empty() {
        return;
    }
    let words = |group: &Group| own_words(files[group.files[0]].0).into_iter().collect();
    let models: Vec<Words> = grouped.models.iter().map(words).collect();
    let mut fitting = vec![Vec::new(); models.len()];
    for projector in &projectors {
        let owners = projector.owners(&grouped.models, &models);
        if owners.is_empty() {
            grouped.problems.push(Problem {
                file: projector.file,
                reason: GroupError::Unclaimed,
            });
        }
        for owner in owners {
            fitting[owner].push(projector);
        }
    }
    for (at, fitting) in fitting.into_iter().enumerate() {
        let model = &mut grouped.models[at];
        let best = fitting
            .into_iter()
            .min_by_key(|projector| projector.rank(&model.facts, &models[at]));
        if let Some(best) = best {
            let basis = if best.agrees(&model.facts) {
                Basis::Metadata
            } else {
                Basis::Name
            };
            model.join(best.file, best.facts, basis);
        }
    }
}

impl<'a> Projector<'a> {
    fn of((file, &(name, facts)): (usize, &(&'a str, &'a Arc<Facts>))) -> Option<Self> {
        (facts.role == Role::Projector).then(|| Self {
            file,
            name,
            facts,
            words: own_words(name).into_iter().collect(),
        })
    }

    /// The models it fits, by their places: those it is called after; else the only one that answers.
    fn owners(&self, models: &[Group], words: &[Words]) -> Vec<usize> {
        let agrees = |at: &usize| self.agrees(&models[*at].facts);
        let is_called_after = |at: &usize| self.is_called_after(&words[*at]);
        let called = (0..models.len()).filter(is_called_after).collect();
        let called = those_or_all(called, agrees);
        if !called.is_empty() {
            return called;
        }
        let answers = |at: &usize| match models[*at].facts.kind.value {
            Kind::Chat | Kind::Vision => true,
            Kind::Embedding | Kind::Rerank => false,
        };
        let answering = (0..models.len()).filter(answers).collect();
        let answering = those_or_all(answering, agrees);
        let are_one = answering
            .windows(2)
            .all(|pair| words[pair[0]] == words[pair[1]]);
        if are_one && !answering.iter().any(|&at| self.is_strange_to(&words[at])) {
            answering
        } else {
            Vec::new()
        }
    }

    /// Whether it makes embeddings of the length that a model has.
    fn agrees(&self, model: &Facts) -> bool {
        let made = self.facts.shape.embedding;
        made != 0 && made == model.shape.embedding
    }

    /// Whether all words of one name are in the other.
    fn is_called_after(&self, model: &Words) -> bool {
        let is_named = !self.words.is_empty() && !model.is_empty();
        is_named && (self.words.is_subset(model) || model.is_subset(&self.words))
    }

    /// Whether it has a name of its own that has nothing of the model's.
    fn is_strange_to(&self, model: &Words) -> bool {
        !self.words.is_empty() && !model.is_empty() && self.words.is_disjoint(model)
    }

    /// The least is the best.
    fn rank(&self, model: &Facts, words: &Words) -> (bool, usize, usize, &'a str) {
        let common = self.words.intersection(words).count();
        let quantization = &self.facts.quantization.value;
        let preference = PREFERRED.iter().position(|name| name == quantization);
        (
            !self.agrees(model),
            usize::MAX - common,
            preference.unwrap_or(PREFERRED.len()),
            self.name,
        )
    }
}

/// Those of `all` that fulfil `wish`, or all if none does.
fn those_or_all(all: Vec<usize>, wish: impl Fn(&usize) -> bool) -> Vec<usize> {
    let those: Vec<_> = all.iter().copied().filter(wish).collect();
    if those.is_empty() { all } else { those }
}
