//! Health, and everything at a glance.

use axum::extract::State;
use http::StatusCode;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, read};
use super::problem::{Problem, ProblemDetails};
use super::servers::is_ready;
use super::view::{self, Config, Gateway, Server, all};
use crate::table::Link;

type Answer<T> = Result<(StatusCode, axum::Json<T>), Problem>;

/// What the gateway is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Root {
    /// `magi`.
    name: &'static str,
    /// The version of the gateway.
    version: &'static str,
    /// The page about this API.
    docs: &'static str,
    /// This API as OpenAPI.
    openapi: &'static str,
    /// Whether it lives.
    health: &'static str,
    /// The models, as OpenAI's clients ask for them.
    models: &'static str,
}

/// That the gateway lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `healthy`.
    status: &'static str,
    /// `up` or `away`: without magid what is ready is still served.
    magid: &'static str,
}

/// Whether every server that should be ready is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Those that should be ready and are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Unready>,
    /// What kept that from being known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A server that should be ready and is not.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unready {
    name: String,
    state: view::State,
    reason: String,
    detail: Option<String>,
}

/// Everything at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    /// The name of this host.
    node: String,
    /// The active profile.
    profile: Option<String>,
    /// The number of the applied configuration.
    generation: Option<u64>,
    /// The files on disk against what is applied.
    config: Option<Config>,
    /// How many servers there are.
    total_servers: usize,
    /// How many are ready.
    ready_servers: usize,
    /// All of them.
    servers: Vec<Server>,
    /// The gateways that are attached.
    gateways: Vec<Gateway>,
}

/// What this is, and where to go on.
#[utoipa::path(get, path = "/", tag = "health", responses((status = 200, body = Root)))]
pub(super) async fn root() -> axum::Json<Root> {
    axum::Json(Root {
        name: "magi",
        version: env!("CARGO_PKG_VERSION"),
        docs: "/docs",
        openapi: "/openapi.json",
        health: "/health",
        models: "/v1/models",
    })
}

/// The gateway lives. It says nothing about servers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(context): State<Context>) -> axum::Json<Health> {
    axum::Json(Health {
        status: "healthy",
        magid: match context.table.load().link {
            Link::Up => "up",
            Link::Lost => "away",
        },
    })
}

/// Every server that should be running now is ready. Those that are stopped, or wait for a first request,
/// do not count.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readiness(
    State(context): State<Context>,
) -> (StatusCode, axum::Json<Readiness>) {
    let (servers, reason) = match unready(&context).await {
        Ok(servers) => (servers, None),
        Err(problem) => (Vec::new(), Some(problem.code().to_owned())),
    };
    let (status, word) = match servers.is_empty() && reason.is_none() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let body = Readiness {
        status: word,
        servers,
        reason,
    };
    (status, axum::Json(body))
}

/// The servers that should be ready and are not.
async fn unready(context: &Context) -> Result<Vec<Unready>, Problem> {
    let mut unready = Vec::new();
    for server in super::servers::fetch(context, Vec::new()).await? {
        if may_be_missed(&server) && should_run(context, &server.name).await? {
            let server = server.printed;
            unready.push(Unready {
                name: server.name,
                state: server.state,
                reason: server.reason,
                detail: server.detail,
            });
        }
    }
    Ok(unready)
}

/// Whether it can be that it should run and does not. Most servers are ready or stopped: of those magid
/// need not be asked.
fn may_be_missed(server: &Server) -> bool {
    match server.state {
        view::State::Ready => false,
        view::State::Stopped => server.waits_for_memory(),
        view::State::Starting
        | view::State::Draining
        | view::State::Stopping
        | view::State::Backoff
        | view::State::Failed
        | view::State::Unknown => true,
    }
}

/// Whether its profile or an operator wants it to run, not only a request.
async fn should_run(context: &Context, name: &str) -> Result<bool, Problem> {
    let request = read(v1::ExplainServerRequest {
        name: name.to_owned(),
    });
    let answer = context
        .servers()
        .explain_server(request)
        .await?
        .into_inner();
    Ok(answer.should_run && ["profile", "operator"].contains(&answer.should_run_because.as_str()))
}

/// Everything at a glance: the configuration, the servers, the gateways.
#[utoipa::path(
    get, path = "/api/models/status", tag = "servers",
    responses((status = 200, body = Overview), (status = 503, body = ProblemDetails))
)]
pub(super) async fn overview(State(context): State<Context>) -> Answer<Overview> {
    let request = read(v1::GetStatusRequest {});
    let answer = context.daemon().get_status(request).await?.into_inner();
    let servers: Vec<Server> = all(answer.servers);
    let body = Overview {
        node: answer.node,
        profile: answer.profile,
        generation: answer.generation,
        config: answer.config.map(Config::from),
        total_servers: servers.len(),
        ready_servers: servers.iter().filter(|server| is_ready(server)).count(),
        servers,
        gateways: all(answer.gateways),
    };
    Ok((StatusCode::OK, axum::Json(body)))
}
