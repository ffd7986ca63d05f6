//! Everything that is not carried to a server: the REST API, the lists of models, health, metrics, docs.
//!
//! [`serve`](crate::serve) makes one [`router`] for each worker, and hands [`answer`] every request whose
//! path is not one of the data path's. Each resource calls magid; none decides anything itself. What is
//! refused is a problem of RFC 9457 with magid's own reason.
//!
//! No GET changes anything, and none wakes a server.

mod catalog;
mod context;
mod events;
mod feed;
mod input;
mod logs;
mod metrics;
mod models;
mod openapi;
mod problem;
mod profiles;
mod requests;
mod servers;
mod status;
mod view;
mod workers;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request};
use tower::ServiceExt;

use crate::refusal::{Reason, Refusal};

pub use context::Context;
use problem::Problem;

/// The whole API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/", get(status::root))
        .route("/health", get(status::health))
        .route("/v1/health", get(status::health))
        .route("/health/ready", get(status::readiness))
        .route("/v1/models", get(catalog::list))
        .route("/v1/models/{*id}", get(catalog::get))
        .route("/models", get(catalog::list_too).post(catalog::create))
        .route("/models/{*id}", get(catalog::get_too))
        .route("/workers", get(workers::list))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::describe))
        .route("/docs", get(openapi::docs_page))
        .route("/api/models/status", get(status::overview))
        .route("/api/models/servers", get(servers::list))
        .route("/api/models/servers/{name}", get(servers::get))
        .route("/api/models/servers/{name}/explain", get(servers::explain))
        .route("/api/models/servers/{name}/logs", get(logs::tail))
        .route("/api/events", get(events::watch))
        .route("/api/requests", get(requests::list))
        .route(
            "/api/requests/{id}",
            get(requests::get).delete(requests::cancel),
        )
        .route("/api/models/registry", get(models::registry))
        .route("/api/models/rescan", post(models::rescan))
        .route("/api/models/tiers/{tier}", get(models::of_tier))
        .route("/api/models/{id}/tier", put(models::set_tier))
        .route("/api/models/{id}/thinking", put(models::set_thinking))
        .route("/api/models/{id}/enabled", put(models::set_enabled))
        .route(
            "/api/models/profiles",
            get(profiles::list).post(profiles::create),
        )
        .route(
            "/api/models/profiles/{name}",
            get(profiles::get).delete(profiles::delete),
        )
        .route("/api/models/profile/activate", post(profiles::activate))
        .route("/api/models/start", post(servers::start_all))
        .route("/api/models/stop", post(servers::stop_all))
        .route("/api/models/{name}/start", post(servers::start_one))
        .route("/api/models/{name}/stop", post(servers::stop_one))
        .route("/api/models/{name}/restart", post(servers::restart_one))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_path)
        .with_state(context)
}

/// Answers one request. A slash at the end of its path makes no difference.
pub async fn answer<B>(router: &Router, mut request: Request<B>) -> Response
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    if let Some(uri) = without_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let path = request.uri().path().to_owned();
    let mut response = match router.clone().oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem.write(&path),
        None => response,
    }
}

/// The same without a slash at the end of the path. None: there is none.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.len() == path.len() || trimmed.is_empty() {
        return None;
    }
    let shorter = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(shorter).ok()?);
    Uri::from_parts(parts).ok()
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::no_such_path(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not know {method}; see /docs", uri.path());
    Refusal::new(Reason::MethodNotAllowed, detail).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::table::Table;

    /// The API of a gateway whose magid is away.
    pub(super) fn router() -> Router {
        let socket = std::path::Path::new("/nonexistent/magid.sock");
        super::router(Context {
            magid: magi_proto::connect_lazily(Some(socket)),
            table: Arc::new(ArcSwap::from_pointee(Table::empty())),
            metrics: Arc::default(),
            workers: Arc::default(),
            addresses: Arc::default(),
            ending: CancellationToken::new(),
        })
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        let trimmed =
            |uri: &'static str| without_slash(&Uri::from_static(uri)).map(|uri| uri.to_string());
        assert_eq!(trimmed("/models/?a=/").as_deref(), Some("/models?a=/"));
        assert_eq!(trimmed("/models//").as_deref(), Some("/models"));
        assert_eq!(trimmed("/models"), None);
        assert_eq!(trimmed("/"), None);
    }
}
