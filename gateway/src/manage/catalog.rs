//! The list of models in one answer for all who ask: clients of OpenAI and of llama.cpp read `data`, those
//! of llama.cpp and Ollama `models`, and those of the model manager `models` and `count`.
//!
//! `data` has what can be asked for: each server, under its name and under each alias. It comes from the
//! table, and so is there without magid. `models` has what the registry knows.

use axum::Extension;
use axum::extract::State;
use http::{HeaderName, StatusCode, header};
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, read, soon};
use super::input::{Json, Name};
use super::problem::{Problem, ProblemDetails};
use super::view::{self, Model, timestamp};
use crate::access::Caller;
use crate::table::{Server, Table};

type Answer<T> = Result<axum::Json<T>, Problem>;

/// The models.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Catalog {
    /// `list`.
    object: &'static str,
    /// What can be asked for.
    data: Vec<Entry>,
    /// What the registry knows, and models of servers that are not in it.
    models: Vec<Record>,
    /// How many `models` there are.
    count: usize,
}

/// A name that a request can ask for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    /// The name: that of a server, or an alias.
    id: String,
    /// `model`.
    object: &'static str,
    /// When the model was first seen, in seconds of the epoch.
    created: i64,
    /// `magi`.
    owned_by: &'static str,
    /// The server.
    server: String,
    /// All other names of it.
    aliases: Vec<String>,
    /// The model that it serves.
    model: Option<String>,
    /// Its state.
    state: view::State,
    /// The same in llama.cpp's words.
    status: Loaded,
    /// What it can be used for: `completion`, `embedding`, `rerank`, `multimodal`, `thinking`.
    capabilities: Vec<&'static str>,
    /// The tokens that one request can use.
    context_length: Option<u32>,
    /// The same, as vLLM calls it.
    max_model_len: Option<u32>,
    /// What llama.cpp tells of a model.
    meta: Meta,
}

/// The state of a server in the words of llama.cpp.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Loaded {
    /// `loaded`, `loading`, `unloaded` or `failed`.
    value: &'static str,
}

/// What llama.cpp tells of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Meta {
    n_ctx_train: Option<u32>,
    n_params: Option<u64>,
    size: Option<u64>,
}

/// A model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Record {
    /// Its id in the registry, or the name of the server whose model is not in it.
    id: String,
    /// The same, as llama.cpp has it.
    name: String,
    /// The same, as Ollama has it.
    model: String,
    /// When it was last found.
    modified_at: String,
    /// The bytes of its files.
    size: u64,
    /// Empty.
    digest: &'static str,
    /// `model`.
    r#type: &'static str,
    description: String,
    tags: Vec<String>,
    capabilities: Vec<&'static str>,
    /// Empty.
    parameters: &'static str,
    details: Details,
    /// `loaded` if a server has it ready, else `available`, or `missing` if its files are not there.
    status: &'static str,
    /// The servers that serve it.
    servers: Vec<String>,
}

/// What Ollama tells of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Details {
    /// Empty.
    parent_model: &'static str,
    /// `gguf`.
    format: &'static str,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: String,
}

/// A model by its id, for all who ask: what can be asked for, and what the registry knows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Found {
    /// A name that a request can ask for.
    Entry(Entry),
    /// A model of the registry that no server serves.
    Model(Model),
}

/// A model to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewModel {
    /// A file inside a scan path.
    path: String,
    /// The id that it is to have. Absent: made from the name of the file.
    name: Option<String>,
}

/// The models, for clients of OpenAI and llama.cpp, and for the model manager's.
#[utoipa::path(
    get, path = "/v1/models", tag = "inference",
    responses((status = 200, body = Catalog))
)]
pub(super) async fn list(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
) -> axum::Json<Catalog> {
    let registry = match caller.may_read() {
        true => registry(&context).await,
        false => Vec::new(),
    };
    axum::Json(catalog(&context.table.load(), registry, &caller))
}

/// One model, by the name of a server, an alias, or its id.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "inference",
    params(("id" = String, Path, description = "A server, an alias, or the id of a model")),
    responses((status = 200, body = Found), (status = 404, body = ProblemDetails))
)]
pub(super) async fn get(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Name(id): Name,
) -> Answer<Found> {
    let may_use = |server: &Server| caller.may_use(server);
    let refusal = match context.table.load().resolve(Some(&id), "", may_use) {
        Ok(server) => return Ok(axum::Json(Found::Entry(entry(server, id)))),
        Err(refusal) => refusal,
    };
    // What it is not for, the registry does not tell it either.
    if !caller.may_read() {
        return Err(refusal.into());
    }
    let request = read(v1::GetModelRequest { model: id });
    match context.models().get_model(request).await {
        Ok(answer) => {
            let model = answer.into_inner().model;
            let model = model.ok_or_else(Problem::incomplete)?;
            Ok(axum::Json(Found::Model(model.into())))
        }
        // What the table says of the name has near ones.
        Err(_) => Err(refusal.into()),
    }
}

/// The same as `/v1/models`.
#[utoipa::path(get, path = "/models", tag = "models", responses((status = 200, body = Catalog)))]
pub(super) async fn list_too(
    context: State<Context>,
    caller: Extension<Caller>,
) -> axum::Json<Catalog> {
    list(context, caller).await
}

/// The same as `/v1/models/{id}`.
#[utoipa::path(
    get, path = "/models/{id}", tag = "models",
    params(("id" = String, Path, description = "A server, an alias, or the id of a model")),
    responses((status = 200, body = Found), (status = 404, body = ProblemDetails))
)]
pub(super) async fn get_too(
    context: State<Context>,
    caller: Extension<Caller>,
    id: Name,
) -> Answer<Found> {
    get(context, caller, id).await
}

/// Adds a file to the registry.
#[utoipa::path(
    post, path = "/models", tag = "models", request_body = NewModel,
    responses(
        (status = 201, body = Model), (status = 400, body = ProblemDetails),
        (status = 409, body = ProblemDetails),
    )
)]
pub(super) async fn create(
    State(context): State<Context>,
    Json(new): Json<NewModel>,
) -> Result<(StatusCode, [(HeaderName, String); 1], axum::Json<Model>), Problem> {
    let request = v1::CreateModelRequest {
        path: new.path,
        name: new.name,
    };
    let answer = context.models().create_model(request).await?.into_inner();
    let model = Model::from(answer.model.ok_or_else(Problem::incomplete)?);
    let location = format!("/models/{}", model.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(model),
    ))
}

/// What the registry knows. Without magid the servers are known still.
async fn registry(context: &Context) -> Vec<v1::Model> {
    let request = soon(v1::ListModelsRequest::default());
    let answer = context.models().list_models(request).await;
    answer.map_or_else(|_| Vec::new(), |answer| answer.into_inner().models)
}

/// What `caller` may use, and what the registry knows, which is told only to those who may look at it.
fn catalog(table: &Table, registry: Vec<v1::Model>, caller: &Caller) -> Catalog {
    let servers = table.servers.values();
    let servers = servers.filter(|server| caller.may_use(server) || caller.may_read());
    let mut models: Vec<Record> = registry.into_iter().map(Record::known).collect();
    let mut data = Vec::new();
    for server in servers {
        let route = &server.route;
        let names = std::iter::once(&route.server).chain(&route.aliases);
        data.extend(names.map(|name| entry(server, name.clone())));
        let id = route.model_id.as_ref().unwrap_or(&route.server);
        let record = match models.iter_mut().find(|record| record.id == *id) {
            Some(record) => record,
            None => {
                models.push(Record::served(server, id.clone()));
                models.last_mut().expect("it was just pushed")
            }
        };
        record.is_served_by(server);
    }
    Catalog {
        object: "list",
        data,
        count: models.len(),
        models,
    }
}

/// A server under one of its names.
fn entry(server: &Server, id: String) -> Entry {
    let route = &server.route;
    let names = std::iter::once(&route.server).chain(&route.aliases);
    let state = view::State::from_wire(route.state);
    let created = timestamp(route.first_seen).map_or(0, |at| at.as_second());
    Entry {
        aliases: names.filter(|name| **name != id).cloned().collect(),
        id,
        object: "model",
        created,
        owned_by: "magi",
        server: route.server.clone(),
        model: route.model_id.clone(),
        state,
        status: Loaded {
            value: loaded(state),
        },
        capabilities: capabilities(&route.kind, route.thinking),
        context_length: route.context_length,
        max_model_len: route.context_length,
        meta: Meta {
            n_ctx_train: route.trained_context_length,
            n_params: route.parameters,
            size: route.model_size,
        },
    }
}

fn loaded(state: view::State) -> &'static str {
    match state {
        view::State::Ready | view::State::Draining => "loaded",
        view::State::Starting | view::State::Backoff => "loading",
        view::State::Stopped | view::State::Stopping | view::State::Unknown => "unloaded",
        view::State::Failed => "failed",
    }
}

/// What a model of this kind can be used for, in llama.cpp's words. An unknown kind most probably chats.
fn capabilities(kind: &str, thinking: bool) -> Vec<&'static str> {
    let mut capabilities = match kind {
        "embedding" => vec!["embedding"],
        "rerank" => vec!["rerank"],
        "vision" => vec!["completion", "multimodal"],
        _ => vec!["completion"],
    };
    if thinking {
        capabilities.push("thinking");
    }
    capabilities
}

impl Record {
    /// A model of the registry.
    fn known(model: v1::Model) -> Self {
        let model = magi_view::Model::from(model);
        Self {
            name: model.id.clone(),
            model: model.id.clone(),
            id: model.id,
            modified_at: model
                .last_seen
                .map_or_else(String::new, |at| at.to_string()),
            size: model.size_bytes,
            digest: "",
            r#type: "model",
            description: model.name.unwrap_or_default(),
            tags: Vec::new(),
            capabilities: capabilities(model.kind.word(), model.thinking),
            parameters: "",
            details: Details {
                parent_model: "",
                format: "gguf",
                families: vec![model.architecture.clone()],
                family: model.architecture,
                parameter_size: parameter_size(model.parameters),
                quantization_level: model.quantization,
            },
            status: if model.available {
                "available"
            } else {
                "missing"
            },
            servers: Vec::new(),
        }
    }

    /// The model of a server, which the registry does not know, or which it was not asked for.
    fn served(server: &Server, id: String) -> Self {
        let route = &server.route;
        Self {
            name: id.clone(),
            model: id.clone(),
            id,
            modified_at: String::new(),
            size: route.model_size.unwrap_or_default(),
            digest: "",
            r#type: "model",
            description: String::new(),
            tags: Vec::new(),
            capabilities: capabilities(&route.kind, route.thinking),
            parameters: "",
            details: Details {
                parent_model: "",
                format: "gguf",
                family: String::new(),
                families: Vec::new(),
                parameter_size: route.parameters.map_or_else(String::new, parameter_size),
                quantization_level: String::new(),
            },
            status: "available",
            servers: Vec::new(),
        }
    }

    fn is_served_by(&mut self, server: &Server) {
        self.servers.push(server.route.server.clone());
        if server.current.is_some() {
            self.status = "loaded";
        }
    }
}

/// As Ollama writes it, for example `7.6B`.
fn parameter_size(parameters: u64) -> String {
    match parameters {
        0..1_000_000 => format!("{:.1}K", parameters as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", parameters as f64 / 1e6),
        1_000_000_000.. => format!("{:.1}B", parameters as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::table::Link;

    fn table() -> Table {
        let route = v1::Route {
            server: "alpha".to_owned(),
            aliases: vec!["gpt-4o-mini".to_owned()],
            model_id: Some("qwen".to_owned()),
            state: v1::ServerState::Ready.into(),
            kind: "vision".to_owned(),
            context_length: Some(4096),
            ..Default::default()
        };
        let server = Server {
            route,
            current: None,
            traffic: Arc::default(),
        };
        let servers = BTreeMap::from([("alpha".to_owned(), Arc::new(server))]);
        Table::new(Link::Up, servers)
    }

    #[test]
    fn ids_and_aliases_are_each_listed() {
        let catalog =
            serde_json::to_value(catalog(&table(), Vec::new(), &Caller::default())).unwrap();
        assert_eq!(catalog["object"], "list");
        assert_eq!(catalog["data"][0]["id"], "alpha");
        assert_eq!(catalog["data"][0]["aliases"], json!(["gpt-4o-mini"]));
        assert_eq!(catalog["data"][1]["id"], "gpt-4o-mini");
        assert_eq!(catalog["data"][1]["object"], "model");
        assert_eq!(catalog["data"][1]["context_length"], 4096);
        assert_eq!(catalog["data"][1]["status"]["value"], "loaded");
    }

    #[test]
    fn without_the_registry_there_are_the_models_of_servers() {
        let catalog =
            serde_json::to_value(catalog(&table(), Vec::new(), &Caller::default())).unwrap();
        assert_eq!(catalog["count"], 1);
        assert_eq!(catalog["models"][0]["name"], "qwen");
        assert_eq!(catalog["models"][0]["servers"], json!(["alpha"]));
        let capabilities = &catalog["models"][0]["capabilities"];
        assert_eq!(capabilities, &json!(["completion", "multimodal"]));
    }

    #[test]
    fn models_that_no_server_serves_are_listed_as_models_only() {
        let model = v1::Model {
            id: "idle".to_owned(),
            parameters: 7_615_616_512,
            ..Default::default()
        };
        let catalog =
            serde_json::to_value(catalog(&table(), vec![model], &Caller::default())).unwrap();
        assert_eq!(catalog["count"], 2);
        assert_eq!(catalog["models"][0]["details"]["parameter_size"], "7.6B");
        assert_eq!(catalog["models"][0]["status"], "missing");
        assert_eq!(catalog["data"].as_array().unwrap().len(), 2);
    }
}
