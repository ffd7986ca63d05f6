//! The machines that serve models: this one.

use axum::extract::State;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, read};
use crate::table::Table;

/// All workers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    /// How many there are.
    total: usize,
    /// How many answer.
    online_count: usize,
}

/// A machine with a magid.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Worker {
    /// The name of the host.
    id: String,
    /// The same.
    name: String,
    /// `online`, or `offline` while its magid is away.
    status: &'static str,
    /// Where its gateway listens.
    addresses: Vec<String>,
    /// The models of its servers.
    models: Vec<String>,
    /// How many servers it has.
    servers: usize,
    /// How many of them are ready.
    ready_servers: usize,
}

/// The machines that serve models. This one is the first.
#[utoipa::path(
    get, path = "/workers", tag = "models",
    responses((status = 200, body = Workers))
)]
pub(super) async fn list(State(context): State<Context>) -> axum::Json<Workers> {
    let request = read(v1::GetStatusRequest {});
    let status = context.daemon().get_status(request).await;
    let node = status.ok().map(|status| status.into_inner().node);
    axum::Json(workers(node, &context))
}

fn workers(node: Option<String>, context: &Context) -> Workers {
    let table = context.table.load();
    let is_online = node.is_some();
    let name = node.unwrap_or_else(|| "localhost".to_owned());
    let servers = table.servers.values();
    let ready = servers.filter(|server| server.current.is_some());
    Workers {
        total: 1,
        online_count: usize::from(is_online),
        workers: vec![Worker {
            id: name.clone(),
            name,
            status: if is_online { "online" } else { "offline" },
            addresses: context.addresses.to_vec(),
            models: models(&table),
            servers: table.servers.len(),
            ready_servers: ready.count(),
        }],
    }
}

fn models(table: &Table) -> Vec<String> {
    let servers = table.servers.values();
    let mut models: Vec<String> = servers
        .filter_map(|server| server.route.model_id.clone())
        .collect();
    models.sort();
    models.dedup();
    models
}
