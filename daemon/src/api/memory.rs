//! What servers and models need of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use magi_proto::v1;

use super::{Api, convert};
use crate::memory::{Demand, Inputs, Snapshot};
use crate::plan::{Definition, StepAction};
use crate::registry::Model;
use crate::reload::Verdict;
use crate::supervisor::board::Row;
use crate::supervisor::server::{account, inputs};

/// The longest context with which the built-in profile serves a model, in tokens.
const CONTEXT: u32 = 8192;

impl Api {
    /// What servers need, as far as is known.
    pub(super) async fn needs(&self, definitions: &[Definition]) -> Vec<Demand> {
        let memory = &self.context.memory;
        memory.needs(definitions.iter().map(inputs).collect()).await
    }

    /// What models need as the built-in profile would serve them.
    pub(super) async fn needs_of_models(&self, models: &[&Model]) -> Vec<Demand> {
        let engine = self.reload.status().engine;
        let inputs = models.iter().map(|model| {
            let context = model.facts.context_length.unwrap_or(CONTEXT).min(CONTEXT);
            Inputs {
                engine: engine.clone(),
                model: model.files.clone(),
                facts: Some(model.facts.clone()),
                projector: model.mmproj.clone(),
                arguments: vec!["--ctx-size".to_owned(), context.to_string()],
                env: BTreeMap::new(),
            }
        });
        self.context.memory.needs(inputs.collect()).await
    }
}

/// Adds to servers what is reserved for them, or would be.
pub(super) fn add_needs(servers: &mut [v1::Server], rows: &[Arc<Row>], memory: &Snapshot) {
    for (server, row) in servers.iter_mut().zip(rows) {
        if let Some(need) = need(memory, row) {
            server.memory_needed = Some(need.ram);
            convert::source(need.source).clone_into(&mut server.memory_source);
        }
    }
}

/// Adds to the explanation of a server what it needs, and what there is.
pub(super) fn explain(answer: &mut v1::ExplainServerResponse, row: &Arc<Row>, memory: &Snapshot) {
    answer.memory_budget = memory.budget.ram;
    answer.memory_reserved = all_reserved(memory);
    if let Some(need) = need(memory, row) {
        answer.device_memory = need.devices.clone().into_iter().collect();
    }
    if let Some(server) = &mut answer.server {
        add_needs(
            std::slice::from_mut(server),
            std::slice::from_ref(row),
            memory,
        );
    }
}

/// What is reserved for a server, or would be.
fn need<'a>(memory: &'a Snapshot, row: &'a Row) -> Option<&'a Demand> {
    reserved(memory, row).or(row.definition.need.as_ref())
}

/// What is reserved for a server, or asked for.
fn reserved<'a>(memory: &'a Snapshot, row: &Row) -> Option<&'a Demand> {
    let account = account(&row.seat);
    let reserved = memory.rows.iter().find(|other| other.account == account);
    reserved.map(|row| &row.demand)
}

/// What all have reserved of main memory, in bytes.
fn all_reserved(memory: &Snapshot) -> u64 {
    let granted = memory.rows.iter().filter(|row| match row.decision {
        crate::memory::Decision::Granted => true,
        crate::memory::Decision::Waiting(_) | crate::memory::Decision::Never(_) => false,
    });
    granted
        .map(|row| row.demand.ram)
        .fold(0, u64::saturating_add)
}

/// Adds to a plan what it does to memory: by what is reserved before it, and what servers need after it.
pub(super) fn weigh_plan(answer: &mut v1::ReloadResponse, verdict: &Verdict, before: &Weighed) {
    answer.memory_before = before.reserved;
    answer.memory_budget = before.budget;
    let mut after = before.reserved;
    for (step, planned) in answer.steps.iter_mut().zip(&verdict.steps) {
        let had = before.by_server.get(planned.server.as_str()).copied();
        let has = verdict.needs.get(&planned.server).copied();
        let (was, is) = match planned.action {
            StepAction::Keep | StepAction::Live => (had, had),
            StepAction::Replace => (had, has),
            StepAction::Start => (None, has),
            StepAction::Stop => (had, None),
            StepAction::Define => (None, None),
        };
        after = after
            .saturating_sub(was.unwrap_or(0))
            .saturating_add(is.unwrap_or(0));
        (step.memory_before, step.memory_after) = (was, is);
    }
    answer.memory_after = after;
}

/// What was reserved at one moment, in bytes of main memory.
pub(super) struct Weighed {
    budget: u64,
    reserved: u64,
    by_server: BTreeMap<String, u64>,
}

impl Weighed {
    /// What is reserved now.
    pub(super) fn now(memory: &Snapshot, rows: impl Iterator<Item = Arc<Row>>) -> Self {
        let by_server = rows.filter_map(|row| {
            let reserved = reserved(memory, &row)?.ram;
            Some((row.definition.name.to_string(), reserved))
        });
        Self {
            budget: memory.budget.ram,
            reserved: all_reserved(memory),
            by_server: by_server.collect(),
        }
    }
}
