//! The registry of models, and what the user says of them.

use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use magi_proto::v1;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::context::{Context, read};
use super::input::{Json, Name};
use super::problem::{Problem, ProblemDetails};
use super::view::{Model, Scan, Tier, all, timestamp};

type Answer<T> = Result<axum::Json<T>, Problem>;

/// All models.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registry {
    /// Sorted by id.
    models: Vec<Model>,
    /// How many there are.
    total: usize,
    /// When the last scan ended.
    updated_at: Option<Timestamp>,
    /// The same as `updatedAt`.
    #[serde(rename = "updated_at")]
    updated_at_too: Option<Timestamp>,
    /// What could not be looked at, and files that are no models.
    problems: Vec<String>,
}

/// The models of one tier.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OfTier {
    tier: Tier,
    /// Sorted by id.
    models: Vec<Model>,
    /// How many there are.
    total: usize,
}

/// A model as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Said {
    #[serde(flatten)]
    model: Model,
    /// Why this is not on disk: it would be lost if magid ended now.
    unwritten: Option<String>,
}

/// The tier that a model is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetTier {
    /// `null`: as it was found.
    #[serde(deserialize_with = "required")]
    tier: Option<Tier>,
}

/// Whether a model thinks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetThinking {
    /// `null`: as it was found.
    #[serde(deserialize_with = "required")]
    thinking: Option<bool>,
}

/// Whether a profile may take a model by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetEnabled {
    /// `null`: as it was found.
    #[serde(deserialize_with = "required")]
    enabled: Option<bool>,
}

/// A member that must be there, and may be `null`.
fn required<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// All models. 503 before the first scan.
#[utoipa::path(
    get, path = "/api/models/registry", tag = "models",
    responses((status = 200, body = Registry), (status = 503, body = ProblemDetails))
)]
pub(super) async fn registry(State(context): State<Context>) -> Answer<Registry> {
    let answer = fetch(&context, v1::ModelTier::Unspecified).await?;
    let updated_at = Some(scanned(&answer)?);
    Ok(axum::Json(Registry {
        total: answer.models.len(),
        models: all(answer.models),
        updated_at,
        updated_at_too: updated_at,
        problems: answer.problems,
    }))
}

/// The models of a tier: `fast`, `balanced` or `powerful`. 503 before the first scan.
#[utoipa::path(
    get, path = "/api/models/tiers/{tier}", tag = "models",
    params(("tier" = String, Path, description = "`fast`, `balanced` or `powerful`")),
    responses(
        (status = 200, body = OfTier),
        (status = 400, body = ProblemDetails), (status = 503, body = ProblemDetails),
    )
)]
pub(super) async fn of_tier(State(context): State<Context>, Name(name): Name) -> Answer<OfTier> {
    let tier = Tier::named(&name).ok_or_else(|| {
        let detail = format!("there is no tier {name:?}: there are fast, balanced and powerful");
        Problem::new(StatusCode::BAD_REQUEST, "no-such-tier", detail)
    })?;
    let answer = fetch(&context, tier.to_wire()).await?;
    scanned(&answer)?;
    Ok(axum::Json(OfTier {
        tier,
        total: answer.models.len(),
        models: all(answer.models),
    }))
}

/// Looks for models now.
#[utoipa::path(
    post, path = "/api/models/rescan", tag = "models",
    responses((status = 200, body = Scan), (status = 503, body = ProblemDetails))
)]
pub(super) async fn rescan(State(context): State<Context>) -> Answer<Scan> {
    let request = v1::RescanModelsRequest {};
    let answer = context.models().rescan_models(request).await?;
    Ok(axum::Json(answer.into_inner().into()))
}

/// Says what tier a model has. Survives scans.
#[utoipa::path(
    put, path = "/api/models/{id}/tier", tag = "models", request_body = SetTier,
    params(("id" = String, Path, description = "The id of a model, its file name, or its path")),
    responses(
        (status = 200, body = Said),
        (status = 400, body = ProblemDetails), (status = 404, body = ProblemDetails),
    )
)]
pub(super) async fn set_tier(
    State(context): State<Context>,
    Name(model): Name,
    Json(said): Json<SetTier>,
) -> Answer<Said> {
    let change = v1::SetModelRequest {
        model,
        tier: said.tier.map(|tier| tier.to_wire().into()),
        ..Default::default()
    };
    set(&context, "tier", change).await
}

/// Says whether a model thinks before it answers. Survives scans.
#[utoipa::path(
    put, path = "/api/models/{id}/thinking", tag = "models", request_body = SetThinking,
    params(("id" = String, Path, description = "The id of a model, its file name, or its path")),
    responses(
        (status = 200, body = Said),
        (status = 400, body = ProblemDetails), (status = 404, body = ProblemDetails),
    )
)]
pub(super) async fn set_thinking(
    State(context): State<Context>,
    Name(model): Name,
    Json(said): Json<SetThinking>,
) -> Answer<Said> {
    let change = v1::SetModelRequest {
        model,
        thinking: said.thinking,
        ..Default::default()
    };
    set(&context, "thinking", change).await
}

/// Says whether a profile may take a model by itself. Survives scans.
#[utoipa::path(
    put, path = "/api/models/{id}/enabled", tag = "models", request_body = SetEnabled,
    params(("id" = String, Path, description = "The id of a model, its file name, or its path")),
    responses(
        (status = 200, body = Said),
        (status = 400, body = ProblemDetails), (status = 404, body = ProblemDetails),
    )
)]
pub(super) async fn set_enabled(
    State(context): State<Context>,
    Name(model): Name,
    Json(said): Json<SetEnabled>,
) -> Answer<Said> {
    let change = v1::SetModelRequest {
        model,
        enabled: said.enabled,
        ..Default::default()
    };
    set(&context, "enabled", change).await
}

/// The models as magid knows them.
pub(super) async fn fetch(
    context: &Context,
    tier: v1::ModelTier,
) -> Result<v1::ListModelsResponse, Problem> {
    let request = read(v1::ListModelsRequest {
        tier: tier.into(),
        only_enabled: false,
    });
    Ok(context.models().list_models(request).await?.into_inner())
}

/// When the last scan ended.
fn scanned(answer: &v1::ListModelsResponse) -> Result<Timestamp, Problem> {
    timestamp(answer.scanned_at).ok_or_else(|| {
        let detail = "no scan for models has ended yet; POST /api/models/rescan waits for one";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-scanned", detail);
        problem.retry_after(std::time::Duration::from_secs(2))
    })
}

/// Says one fact of a model. If nothing is said of it, it is as it was found.
async fn set(context: &Context, fact: &str, mut change: v1::SetModelRequest) -> Answer<Said> {
    if (change.tier, change.thinking, change.enabled) == (None, None, None) {
        change.reset.push(fact.to_owned());
    }
    let answer = context.models().set_model(change).await?.into_inner();
    let model = answer.model.ok_or_else(Problem::incomplete)?;
    Ok(axum::Json(Said {
        model: model.into(),
        unwritten: answer.unwritten,
    }))
}
