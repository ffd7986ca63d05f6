//! Servers: what runs, and the commands that an operator gives.

use axum::extract::State;
use http::StatusCode;
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::context::{Context, read};
use super::input::{Name, Query, Wait};
use super::problem::{Problem, ProblemDetails};
use super::view::{self, Explanation, Server, all};

type Answer<T> = Result<(StatusCode, axum::Json<T>), Problem>;

/// All servers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Servers {
    servers: Vec<Server>,
    /// How many there are.
    total: usize,
    /// The same as `total`.
    total_servers: usize,
    /// How many are ready.
    ready_servers: usize,
}

impl From<Vec<Server>> for Servers {
    fn from(servers: Vec<Server>) -> Self {
        Self {
            total: servers.len(),
            total_servers: servers.len(),
            ready_servers: servers.iter().filter(|server| is_ready(server)).count(),
            servers,
        }
    }
}

/// What became of servers that were to start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    /// The names of those that are ready or, without waiting, on their way.
    started: Vec<String>,
    /// The names of the others.
    failed: Vec<String>,
    /// All of them as they are now.
    servers: Vec<Server>,
}

/// What became of servers that were to stop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped {
    /// Their names.
    stopped: Vec<String>,
    /// All of them as they are now.
    servers: Vec<Server>,
}

/// What became of one server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changed {
    /// Its name.
    name: String,
    /// Its port.
    port: Option<u32>,
    /// Its state in the words of the earlier systems: `running`, `stopped`, ….
    status: view::Status,
    /// Its state.
    state: view::State,
    /// Why it is in that state: a stable code.
    reason: String,
    /// The same for people.
    detail: Option<String>,
    /// Where it listens.
    endpoint: Option<String>,
}

impl From<Server> for Changed {
    fn from(server: Server) -> Self {
        let server = server.printed;
        Self {
            name: server.name,
            port: server.port,
            status: server.state.into(),
            state: server.state,
            reason: server.reason,
            detail: server.detail,
            endpoint: server.endpoint,
        }
    }
}

/// How to stop.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    /// Answer when each server is stopped. Else at once, with 202.
    wait: Option<bool>,
    /// Refuse requests for it, reason `held`, until a start.
    #[serde(default)]
    hold: bool,
}

impl Stop {
    fn wait(self) -> Wait {
        Wait {
            wait: self.wait.unwrap_or(true),
        }
    }
}

/// All servers of the active profile.
#[utoipa::path(
    get, path = "/api/models/servers", tag = "servers",
    responses((status = 200, body = Servers), (status = 503, body = ProblemDetails))
)]
pub(super) async fn list(State(context): State<Context>) -> Answer<Servers> {
    let servers = fetch(&context, Vec::new()).await?;
    Ok((StatusCode::OK, axum::Json(servers.into())))
}

/// One server, by its name, an alias, or its model.
#[utoipa::path(
    get, path = "/api/models/servers/{name}", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model")),
    responses((status = 200, body = Server), (status = 404, body = ProblemDetails))
)]
pub(super) async fn get(State(context): State<Context>, Name(name): Name) -> Answer<Server> {
    let name = resolve(&context, name);
    let servers = fetch(&context, vec![name.clone()]).await?;
    Ok((StatusCode::OK, axum::Json(only(servers, &name)?)))
}

/// Why a server is as it is: its command line, memory, failures, and what was decided about it.
#[utoipa::path(
    get, path = "/api/models/servers/{name}/explain", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model")),
    responses((status = 200, body = Explanation), (status = 404, body = ProblemDetails))
)]
pub(super) async fn explain(
    State(context): State<Context>,
    Name(name): Name,
) -> Answer<Explanation> {
    let name = resolve(&context, name);
    let request = read(v1::ExplainServerRequest { name });
    let answer = context.servers().explain_server(request).await?;
    let explanation = Explanation::from_wire(answer.into_inner());
    let explanation = explanation.ok_or_else(Problem::incomplete)?;
    Ok((StatusCode::OK, axum::Json(explanation)))
}

/// Starts all servers.
#[utoipa::path(
    post, path = "/api/models/start", tag = "servers", params(Wait),
    responses((status = 200, body = Started), (status = 202, body = Started))
)]
pub(super) async fn start_all(
    State(context): State<Context>,
    Query(wait): Query<Wait>,
) -> Answer<Started> {
    let servers = start(&context, None, wait).await?;
    let is_good = |server: &Server| is_ready(server) || !wait.wait && !is_failed(server);
    let named = |good: bool| {
        let servers = servers.iter().filter(|server| is_good(server) == good);
        servers.map(|server| server.name.clone()).collect()
    };
    let body = Started {
        started: named(true),
        failed: named(false),
        servers: servers.clone(),
    };
    Ok((wait.status(), axum::Json(body)))
}

/// Stops all servers.
#[utoipa::path(
    post, path = "/api/models/stop", tag = "servers", params(Stop),
    responses((status = 200, body = Stopped), (status = 202, body = Stopped))
)]
pub(super) async fn stop_all(
    State(context): State<Context>,
    Query(how): Query<Stop>,
) -> Answer<Stopped> {
    let servers = stop(&context, None, how).await?;
    let body = Stopped {
        stopped: servers.iter().map(|server| server.name.clone()).collect(),
        servers,
    };
    Ok((how.wait().status(), axum::Json(body)))
}

/// Starts a server. If it does not get ready the answer is 503, with the reason.
#[utoipa::path(
    post, path = "/api/models/{name}/start", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model"), Wait),
    responses(
        (status = 200, body = Changed), (status = 202, body = Changed),
        (status = 404, body = ProblemDetails), (status = 503, body = ProblemDetails),
    )
)]
pub(super) async fn start_one(
    State(context): State<Context>,
    Name(name): Name,
    Query(wait): Query<Wait>,
) -> Answer<Changed> {
    let name = resolve(&context, name);
    let server = only(start(&context, Some(name.clone()), wait).await?, &name)?;
    changed(server, wait)
}

/// Stops a server.
#[utoipa::path(
    post, path = "/api/models/{name}/stop", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model"), Stop),
    responses(
        (status = 200, body = Changed), (status = 202, body = Changed),
        (status = 404, body = ProblemDetails),
    )
)]
pub(super) async fn stop_one(
    State(context): State<Context>,
    Name(name): Name,
    Query(how): Query<Stop>,
) -> Answer<Changed> {
    let name = resolve(&context, name);
    let server = only(stop(&context, Some(name.clone()), how).await?, &name)?;
    Ok((how.wait().status(), axum::Json(server.into())))
}

/// Restarts a server. If it does not get ready the answer is 503, with the reason.
#[utoipa::path(
    post, path = "/api/models/{name}/restart", tag = "servers",
    params(("name" = String, Path, description = "A server, an alias, or the id of a model"), Wait),
    responses(
        (status = 200, body = Changed), (status = 202, body = Changed),
        (status = 404, body = ProblemDetails), (status = 503, body = ProblemDetails),
    )
)]
pub(super) async fn restart_one(
    State(context): State<Context>,
    Name(name): Name,
    Query(wait): Query<Wait>,
) -> Answer<Changed> {
    let name = resolve(&context, name);
    let request = v1::RestartServersRequest {
        names: vec![name.clone()],
        all: false,
        wait: wait.wait,
        expected_generation: None,
    };
    let answer = context.servers().restart_servers(request).await?;
    let server = only(all(answer.into_inner().servers), &name)?;
    changed(server, wait)
}

/// The servers of these names, or all.
pub(super) async fn fetch(context: &Context, names: Vec<String>) -> Result<Vec<Server>, Problem> {
    let request = read(v1::ListServersRequest { names });
    let answer = context.servers().list_servers(request).await?;
    Ok(all(answer.into_inner().servers))
}

/// The server that is meant, if the table knows it. magid knows only names and aliases, and tells of near
/// ones.
pub(super) fn resolve(context: &Context, name: String) -> String {
    let table = context.table.load();
    let server = table.find(&name);
    server.map_or(name, |server| server.route.server.clone())
}

/// Whether it answers.
pub(super) fn is_ready(server: &Server) -> bool {
    server.state == view::State::Ready
}

fn is_failed(server: &Server) -> bool {
    server.state == view::State::Failed
}

async fn start(
    context: &Context,
    name: Option<String>,
    wait: Wait,
) -> Result<Vec<Server>, Problem> {
    let request = v1::StartServersRequest {
        all: name.is_none(),
        names: name.into_iter().collect(),
        wait: wait.wait,
        expected_generation: None,
    };
    let answer = context.servers().start_servers(request).await?;
    Ok(all(answer.into_inner().servers))
}

async fn stop(context: &Context, name: Option<String>, how: Stop) -> Result<Vec<Server>, Problem> {
    let request = v1::StopServersRequest {
        all: name.is_none(),
        names: name.into_iter().collect(),
        wait: how.wait().wait,
        expected_generation: None,
        hold: how.hold,
    };
    let answer = context.servers().stop_servers(request).await?;
    Ok(all(answer.into_inner().servers))
}

/// What is answered of a server that was to get ready.
fn changed(server: Server, wait: Wait) -> Answer<Changed> {
    if is_ready(&server) || !wait.wait {
        return Ok((wait.status(), axum::Json(server.into())));
    }
    let detail = server.detail.clone().unwrap_or_default();
    let detail = format!("{} is not ready: {detail}", server.name);
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, &server.reason, detail);
    Err(problem.with("server", server))
}

/// The one server that was asked for.
fn only(servers: Vec<Server>, name: &str) -> Result<Server, Problem> {
    let server = servers.into_iter().next();
    server.ok_or_else(|| {
        let detail = format!("there is no server {name}");
        Problem::new(StatusCode::NOT_FOUND, "no-such-server", detail)
    })
}
