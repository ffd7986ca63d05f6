//! What Prometheus reads.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use magi_proto::v1;

use super::context::{Context, soon};
use super::problem::Problem;

/// What the text is: OpenMetrics, which Prometheus asks for.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted, for Prometheus. A scrape loads nothing, wakes nothing, and keeps nothing
/// alive: what a server counts itself is read when requests went there.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, content_type = "application/openmetrics-text", body = String))
)]
pub(super) async fn scrape(State(context): State<Context>) -> Result<Response, Problem> {
    let request = soon(v1::ListServersRequest { names: Vec::new() });
    let servers = context.servers().list_servers(request).await;
    let servers = servers.map_or_else(|_| Vec::new(), |answer| answer.into_inner().servers);
    let metrics = context.metrics.clone();
    let text = metrics.scrape(context.table.load_full(), servers).await;
    let text = text.map_err(|_| {
        let detail = "the metrics cannot be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, FORMAT)], text).into_response())
}
