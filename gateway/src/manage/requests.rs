//! Requests: those under way here, and those that ended at any gateway.

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::context::{Context, read};
use super::input::{Name, Query};
use super::problem::{Problem, ProblemDetails};
use super::view::FinishedRequest;
use crate::activity::{self, Phase};

type Answer<T> = Result<axum::Json<T>, Problem>;

/// Which requests.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// Only those of this server.
    server: String,
}

/// Requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Requests {
    /// Those that are under way at this gateway, the oldest first.
    active: Vec<ActiveRequest>,
    /// The last ones that ended, in the order of their ends. `null` while magid, who keeps them, is away.
    finished: Option<Vec<FinishedRequest>>,
}

/// A request that is under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActiveRequest {
    /// As in the reply's `x-request-id`.
    id: String,
    /// When it came.
    at: Timestamp,
    /// The model that it asks for.
    model: Option<String>,
    /// The server that it goes to.
    server: Option<String>,
    /// The incarnation that has it.
    incarnation: Option<u64>,
    /// Its path.
    path: String,
    /// The name of the key that it carries.
    key: Option<String>,
    /// `queued`, `loading`, `forwarded` or `answering`.
    phase: &'static str,
}

/// One request: one of the two.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OneRequest {
    /// If it is under way at this gateway.
    active: Option<ActiveRequest>,
    /// If it has ended, at any.
    finished: Option<FinishedRequest>,
}

/// The request that is cancelled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    /// Its id.
    cancelled: String,
}

/// Requests that are under way at this gateway, and the last that ended at any.
#[utoipa::path(
    get, path = "/api/requests", tag = "activity", params(Which),
    responses((status = 200, body = Requests))
)]
pub(super) async fn list(
    State(context): State<Context>,
    Query(which): Query<Which>,
) -> Answer<Requests> {
    let (active, finished) = tokio::join!(
        activity::list(&context.workers),
        finished(&context, which.server.clone()),
    );
    let active = active.into_iter().map(ActiveRequest::from);
    let of_server = |request: &ActiveRequest| {
        which.server.is_empty() || request.server.as_ref() == Some(&which.server)
    };
    Ok(axum::Json(Requests {
        active: active.filter(of_server).collect(),
        finished: finished.ok(),
    }))
}

/// A request that is under way at this gateway, or one of the last that ended at any.
#[utoipa::path(
    get, path = "/api/requests/{id}", tag = "activity",
    params(("id" = String, Path, description = "As in the reply's `x-request-id`")),
    responses((status = 200, body = OneRequest), (status = 404, body = ProblemDetails))
)]
pub(super) async fn get(State(context): State<Context>, Name(id): Name) -> Answer<OneRequest> {
    let active = activity::list(&context.workers).await.into_iter();
    let active = active.map(ActiveRequest::from).find(|one| one.id == id);
    // In this order, so that one that ends meanwhile is not missed.
    let finished = match active {
        Some(_) => None,
        None => {
            let mut finished = finished(&context, String::new()).await?.into_iter();
            finished.find(|one| one.id == id)
        }
    };
    if active.is_none() && finished.is_none() {
        return Err(no_such_request(
            "no request of this id is under way at this gateway, or one of the last that ended",
        ));
    }
    Ok(axum::Json(OneRequest { active, finished }))
}

fn no_such_request(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-request", detail)
}

/// Cancels a request that is under way: it leaves its queue, or its server stops answering.
#[utoipa::path(
    delete, path = "/api/requests/{id}", tag = "activity",
    params(("id" = String, Path, description = "As in the reply's `x-request-id`")),
    responses((status = 200, body = Cancelled), (status = 404, body = ProblemDetails))
)]
pub(super) async fn cancel(State(context): State<Context>, Name(id): Name) -> Answer<Cancelled> {
    if activity::cancel(&context.workers, &id).await {
        return Ok(axum::Json(Cancelled { cancelled: id }));
    }
    Err(no_such_request(
        "no request of this id is under way at this gateway",
    ))
}

async fn finished(context: &Context, server: String) -> Result<Vec<FinishedRequest>, Problem> {
    let request = read(v1::WatchRequestsRequest {
        follow: false,
        server,
    });
    let mut stream = context
        .gateways()
        .watch_requests(request)
        .await?
        .into_inner();
    let mut requests = Vec::new();
    while let Some(message) = stream.message().await? {
        requests.extend(message.requests.into_iter().map(FinishedRequest::from));
    }
    Ok(requests)
}

impl From<activity::Request> for ActiveRequest {
    fn from(request: activity::Request) -> Self {
        let non_empty = super::view::non_empty;
        Self {
            id: request.id.to_string(),
            at: request.at,
            model: non_empty(request.model),
            server: request.server.map(|server| server.route.server.clone()),
            incarnation: request.incarnation,
            path: request.path.into_owned(),
            key: non_empty(request.key),
            phase: match request.phase {
                Phase::Queued => "queued",
                Phase::Loading => "loading",
                Phase::Forwarded => "forwarded",
                Phase::Answering => "answering",
            },
        }
    }
}
