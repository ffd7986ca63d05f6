//! The way to each server, as a gateway is told of it.

use std::collections::BTreeMap;

use magi_proto::v1;

use super::convert;
use crate::gguf::{Facts, Kind};
use crate::lifecycle::PublicState;
use crate::memory::ModelUse;
use crate::name::ServerName;
use crate::registry::{Model, Snapshot};
use crate::supervisor::board::{Fleet, Row};

/// What a gateway knows.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The number of the last message. 0 before the first.
    revision: u64,
    /// The revision of the registry that the routes were made with.
    models: u64,
    /// Each route, and the revision of the row that it was made of.
    known: BTreeMap<ServerName, (u64, v1::Route)>,
}

impl Routes {
    /// What is to be told, if anything is: at first everything.
    pub(super) fn change(&mut self, fleet: &Fleet, models: &Snapshot) -> Option<v1::Routes> {
        let snapshot = self.revision == 0;
        let same_models = self.models == models.revision;
        self.models = models.revision;
        let mut routes = Vec::new();
        for (name, (revision, row)) in &fleet.rows {
            let known = self.known.get(name);
            if same_models && known.is_some_and(|(known, _)| known == revision) {
                continue;
            }
            let route = route(row, models);
            if known.is_none_or(|(_, known)| *known != route) {
                routes.push(route.clone());
            }
            self.known.insert(name.clone(), (*revision, route));
        }
        let mut removed = Vec::new();
        self.known.retain(|name, _| {
            let is_there = fleet.rows.contains_key(name);
            if !is_there {
                removed.push(name.to_string());
            }
            is_there
        });
        if !snapshot && routes.is_empty() && removed.is_empty() {
            return None;
        }
        self.revision += 1;
        Some(v1::Routes {
            revision: self.revision,
            snapshot,
            routes,
            removed,
        })
    }
}

fn route(row: &Row, models: &Snapshot) -> v1::Route {
    let definition = &row.definition;
    let (launch, traffic) = (&definition.launch, &definition.traffic);
    let id = launch.model.id.as_deref();
    let model = id.and_then(|id| models.models.get(id));
    let facts = launch.model.facts.as_deref();
    let model_use = ModelUse::from_arguments(&launch.arguments);
    let serves = match row.view.state {
        PublicState::Ready | PublicState::Draining => true,
        PublicState::Stopped
        | PublicState::Starting
        | PublicState::Stopping
        | PublicState::Backoff
        | PublicState::Failed => false,
    };
    let endpoint = row.endpoint.filter(|_| serves);
    v1::Route {
        server: definition.name.to_string(),
        aliases: definition.aliases.iter().map(ToString::to_string).collect(),
        model_id: launch.model.id.clone(),
        state: convert::state(row.view.state).into(),
        reason: row.view.reason.to_owned(),
        detail: row.view.detail.clone(),
        load_percent: row.load_percent.map(u32::from),
        incarnation: row.incarnation,
        endpoint: endpoint.map(|endpoint| format!("http://{endpoint}")),
        api_key: serves.then(|| key_of(row)).flatten(),
        held: row.is_held,
        max_in_flight: traffic.max_in_flight.unwrap_or_else(|| model_use.slots()),
        max_queue: traffic.max_queue,
        max_wait: Some(convert::duration(traffic.max_wait)),
        kind: facts.map_or("", |facts| kind(facts.kind.value)).to_owned(),
        thinking: thinking(model.map(AsRef::as_ref), facts),
        context_length: context(&model_use, facts),
        trained_context_length: facts.and_then(|facts| facts.context_length),
        model_size: model.map(|model| model.size_bytes),
        parameters: facts.map(|facts| facts.parameters),
        first_seen: model.map(|model| convert::timestamp(model.first_seen)),
    }
}

fn key_of(row: &Row) -> Option<String> {
    row.api_key.as_ref().map(|key| key.as_str().to_owned())
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Chat => "chat",
        Kind::Embedding => "embedding",
        Kind::Rerank => "rerank",
        Kind::Vision => "vision",
    }
}

/// What the user says of the model comes first.
fn thinking(model: Option<&Model>, facts: Option<&Facts>) -> bool {
    let found = facts.is_some_and(|facts| facts.thinking.value);
    model.map_or(found, Model::thinking)
}

/// The context that one request can use: slots share it, or each has its part. llama-server gives none
/// more than its model was trained for.
fn context(model_use: &ModelUse, facts: Option<&Facts>) -> Option<u32> {
    let trained = facts.and_then(|facts| facts.context_length);
    let one = match (model_use.ctx_size, model_use.ctx_per_slot) {
        (Some(all), _) if model_use.is_unified() => Some(all),
        (Some(all), _) => Some(all / model_use.slots()),
        (None, Some(one)) => Some(one),
        (None, None) if model_use.is_unified() => trained,
        (None, None) => trained.map(|all| all / model_use.slots()),
    };
    one.into_iter().chain(trained).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::board::{Board, testing};

    fn served(arguments: &[&str]) -> ModelUse {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        ModelUse::from_arguments(&arguments)
    }

    #[test]
    fn only_what_changed_is_told_after_the_first_time() {
        let (board, models) = (Board::new(), Snapshot::default());
        board.publish(testing::row("a", 1));
        board.publish(testing::row("b", 1));
        let mut routes = Routes::default();
        let first = routes.change(&board.read(), &models).unwrap();
        assert!(first.snapshot);
        assert_eq!(first.routes.len(), 2);
        assert_eq!(routes.change(&board.read(), &models), None);
        // Published anew, and the same: nothing that a gateway would see.
        board.publish(testing::row("a", 1));
        assert_eq!(routes.change(&board.read(), &models), None);
        board.publish(testing::row("a", 2));
        board.remove(&ServerName::new("b").unwrap());
        let second = routes.change(&board.read(), &models).unwrap();
        assert!(second.revision > first.revision && !second.snapshot);
        assert_eq!(second.routes[0].incarnation, Some(2));
        assert_eq!(second.removed, ["b"]);
    }

    #[test]
    fn an_empty_fleet_is_told_at_first() {
        let mut routes = Routes::default();
        let first = routes.change(&Fleet::default(), &Snapshot::default());
        assert!(first.is_some_and(|first| first.snapshot && first.routes.is_empty()));
    }

    #[test]
    fn slots_that_share_a_context_can_each_use_all_of_it() {
        let context = |arguments: &[&str]| context(&served(arguments), None);
        assert_eq!(context(&["--ctx-size", "8192"]), Some(8192));
        assert_eq!(context(&["--ctx-size", "8192", "-np", "4"]), Some(2048));
        assert_eq!(context(&["-c", "8192", "-np", "4", "-kvu"]), Some(8192));
        assert_eq!(context(&[]), None);
    }
}
