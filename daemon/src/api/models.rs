//! `ModelService`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use magi_proto::v1;
use magi_proto::v1::model_service_server::ModelService;
use tonic::{Code, Request, Response, Status};

use super::{Api, convert, errors, peer};
use crate::gguf::{Kind, Tier};
use crate::memory::Demand;
use crate::registry::{
    Availability, Change, Found, Model, ModelId, NotFound, OverridesChange, RegistryError,
    ScanReport, Snapshot,
};
use crate::supervisor::board::Fleet;

#[tonic::async_trait]
impl ModelService for Api {
    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let request = request.into_inner();
        let tier = tier_asked(request.tier)?;
        let snapshot = self.registry.snapshot();
        let is_meant = |model: &&Arc<Model>| {
            tier.is_none_or(|tier| model.tier() == tier)
                && (!request.only_enabled || model.enabled())
        };
        let models = snapshot.models.values().filter(is_meant);
        let models: Vec<&Model> = models.map(|model| &**model).collect();
        let needs = self.needs_of_models(&models).await;
        let fleet = self.context.board.read();
        let users = Users::of(&fleet);
        let models = models.iter().zip(&needs);
        Ok(Response::new(v1::ListModelsResponse {
            models: models
                .map(|(model, need)| told(model, snapshot.last_seen(model), need, &users))
                .collect(),
            scanned_at: snapshot.scanned_at.map(convert::timestamp),
            problems: snapshot.problems.clone(),
        }))
    }

    async fn get_model(
        &self,
        request: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        let model = known(&self.registry.snapshot(), &request.get_ref().model)?;
        Ok(Response::new(v1::GetModelResponse {
            model: Some(self.model(&model).await),
        }))
    }

    async fn rescan_models(
        &self,
        _: Request<v1::RescanModelsRequest>,
    ) -> Result<Response<v1::RescanModelsResponse>, Status> {
        let report = self.registry.rescan().await.map_err(error)?;
        Ok(Response::new((&*report).into()))
    }

    async fn set_model(
        &self,
        request: Request<v1::SetModelRequest>,
    ) -> Result<Response<v1::SetModelResponse>, Status> {
        peer::log(&request, "a change of what is said of a model");
        let request = request.into_inner();
        let change = change(&request)?;
        let model = self.registry.set(&request.model, change).await;
        let model = model.map_err(error)?;
        Ok(Response::new(v1::SetModelResponse {
            model: Some(self.model(&model).await),
            unwritten: self.registry.unwritten(),
        }))
    }

    async fn create_model(
        &self,
        request: Request<v1::CreateModelRequest>,
    ) -> Result<Response<v1::CreateModelResponse>, Status> {
        peer::log(&request, "a new model");
        let request = request.into_inner();
        let path = Path::new(&request.path);
        if !path.is_absolute() {
            return Err(errors::invalid(format!(
                "cannot add {}: write the path from / on",
                path.display()
            )));
        }
        let model = self.registry.create(path, request.name.as_deref()).await;
        let model = model.map_err(error)?;
        Ok(Response::new(v1::CreateModelResponse {
            model: Some(self.model(&model).await),
            unwritten: self.registry.unwritten(),
        }))
    }

    async fn delete_model(
        &self,
        request: Request<v1::DeleteModelRequest>,
    ) -> Result<Response<v1::DeleteModelResponse>, Status> {
        peer::log(&request, "a model to be forgotten");
        let name = request.into_inner().model;
        let model = known(&self.registry.snapshot(), &name)?;
        let servers = Users::of(&self.context.board.read()).of_model(&model);
        if !servers.is_empty() {
            return Err(errors::status(
                Code::FailedPrecondition,
                "model-in-use",
                format!(
                    "cannot forget {0}: it is the model of {1}; take it out of the profile first, or out \
                     of every [[select]] by `magictl models set {0} --enabled=false`",
                    model.id,
                    servers.join(", ")
                ),
            ));
        }
        self.registry
            .delete(model.id.as_str())
            .await
            .map_err(error)?;
        Ok(Response::new(v1::DeleteModelResponse {
            unwritten: self.registry.unwritten(),
        }))
    }
}

impl Api {
    async fn model(&self, model: &Model) -> v1::Model {
        let needs = self.needs_of_models(&[model]).await;
        let last_seen = self.registry.snapshot().last_seen(model);
        let fleet = self.context.board.read();
        let users = Users::of(&fleet);
        needs.first().map_or_else(v1::Model::default, |need| {
            told(model, last_seen, need, &users)
        })
    }
}

fn told(
    model: &Model,
    last_seen: Option<Timestamp>,
    need: &Demand,
    users: &Users<'_>,
) -> v1::Model {
    let facts = &model.facts;
    let unavailable_because = match &model.availability {
        Availability::Available => String::new(),
        Availability::Unavailable(why) => why.clone(),
    };
    v1::Model {
        id: model.id.to_string(),
        path: model.path.display().to_string(),
        files: model
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        mmproj: model.mmproj.as_ref().map(|file| file.display().to_string()),
        size_bytes: model.size_bytes,
        tier: tier(model.tier()).into(),
        quantization: facts.quantization.value.clone(),
        bits_per_weight: f64::from(facts.milli_bits) / 1000.0,
        parameters: facts.parameters,
        kind: kind(facts.kind.value).into(),
        thinking: model.thinking(),
        enabled: model.enabled(),
        architecture: facts.architecture.clone(),
        context_length: facts.context_length,
        name: facts.name.clone(),
        memory_bytes: need.ram,
        memory_source: convert::source(need.source).to_owned(),
        guesses: guesses(model),
        overridden: overridden(model),
        first_seen: Some(convert::timestamp(model.first_seen)),
        last_seen: last_seen.map(convert::timestamp),
        available: model.is_available(),
        unavailable_because,
        servers: users.of_model(model),
    }
}

fn guesses(model: &Model) -> Vec<String> {
    let facts = &model.facts;
    let said = &model.overrides;
    let guesses = [
        ("quantization", facts.quantization.basis.is_guess()),
        ("kind", facts.kind.basis.is_guess()),
        (
            "thinking",
            facts.thinking.basis.is_guess() && said.thinking.is_none(),
        ),
    ];
    let guesses = guesses.into_iter().filter(|(_, is_guess)| *is_guess);
    guesses.map(|(fact, _)| fact.to_owned()).collect()
}

fn overridden(model: &Model) -> Vec<String> {
    let said = &model.overrides;
    let said = [
        ("tier", said.tier.is_some()),
        ("thinking", said.thinking.is_some()),
        ("enabled", said.enabled.is_some()),
    ];
    let said = said.into_iter().filter(|(_, is_said)| *is_said);
    said.map(|(fact, _)| fact.to_owned()).collect()
}

/// The servers of the active profile by their models: there may be many of both.
struct Users<'a> {
    by_id: HashMap<&'a str, Vec<&'a str>>,
    by_file: HashMap<&'a OsStr, Vec<&'a str>>,
}

impl<'a> Users<'a> {
    fn of(fleet: &'a Fleet) -> Self {
        let (mut by_id, mut by_file) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (_, row) in fleet.rows.values() {
            let (server, meant) = (row.definition.name.as_str(), &row.definition.launch.model);
            if let Some(id) = &meant.id {
                by_id.entry(id.as_str()).or_default().push(server);
            }
            if let Ok(file) = &meant.file {
                by_file.entry(file.as_os_str()).or_default().push(server);
            }
        }
        Self { by_id, by_file }
    }

    /// The servers that are defined with a model.
    fn of_model(&self, model: &Model) -> Vec<String> {
        let by_id = self.by_id.get(model.id.as_str()).into_iter();
        let files = model.files.iter();
        let by_file = files.filter_map(|file| self.by_file.get(file.as_os_str()));
        let servers: BTreeSet<_> = by_id.chain(by_file).flatten().collect();
        servers.into_iter().map(ToString::to_string).collect()
    }
}

/// The model of the registry that somebody means.
fn known(snapshot: &Snapshot, written: &str) -> Result<Arc<Model>, Status> {
    match snapshot.find(written, Path::new("/")) {
        Ok(Found::Model(model)) => Ok(model),
        Ok(Found::Path(path)) => Err(errors::status(
            Code::NotFound,
            "no-such-model",
            format!("cannot find a model at {}", path.display()),
        )),
        Err(why) => Err(error(why.into())),
    }
}

impl From<&ScanReport> for v1::RescanModelsResponse {
    fn from(report: &ScanReport) -> Self {
        let ids = |ids: &[ModelId]| ids.iter().map(ToString::to_string).collect();
        Self {
            total: u32::try_from(report.total).unwrap_or(u32::MAX),
            added: ids(&report.added),
            removed: ids(&report.removed),
            changed: ids(&report.changed),
            problems: report.problems.clone(),
        }
    }
}

fn change(request: &v1::SetModelRequest) -> Result<OverridesChange, Status> {
    let mut change = OverridesChange::default();
    if let Some(asked) = request.tier {
        let tier = tier_asked(asked)?.ok_or_else(|| errors::invalid("the tier is missing"))?;
        change.tier = Change::Set(tier);
    }
    if let Some(thinking) = request.thinking {
        change.thinking = Change::Set(thinking);
    }
    if let Some(enabled) = request.enabled {
        change.enabled = Change::Set(enabled);
    }
    for fact in &request.reset {
        match fact.as_str() {
            "tier" => change.tier = Change::Reset,
            "thinking" => change.thinking = Change::Reset,
            "enabled" => change.enabled = Change::Reset,
            other => {
                return Err(errors::invalid(format!(
                    "cannot reset {other:?}: write tier, thinking or enabled"
                )));
            }
        }
    }
    Ok(change)
}

fn tier_asked(asked: i32) -> Result<Option<Tier>, Status> {
    match v1::ModelTier::try_from(asked) {
        Ok(v1::ModelTier::Unspecified) => Ok(None),
        Ok(v1::ModelTier::Fast) => Ok(Some(Tier::Fast)),
        Ok(v1::ModelTier::Balanced) => Ok(Some(Tier::Balanced)),
        Ok(v1::ModelTier::Powerful) => Ok(Some(Tier::Powerful)),
        Err(_) => Err(errors::invalid(format!(
            "there is no tier of number {asked}"
        ))),
    }
}

fn tier(tier: Tier) -> v1::ModelTier {
    match tier {
        Tier::Fast => v1::ModelTier::Fast,
        Tier::Balanced => v1::ModelTier::Balanced,
        Tier::Powerful => v1::ModelTier::Powerful,
    }
}

fn kind(kind: Kind) -> v1::ModelKind {
    match kind {
        Kind::Chat => v1::ModelKind::Chat,
        Kind::Embedding => v1::ModelKind::Embedding,
        Kind::Rerank => v1::ModelKind::Rerank,
        Kind::Vision => v1::ModelKind::Vision,
    }
}

fn error(error: RegistryError) -> Status {
    let (code, reason) = match &error {
        RegistryError::NotFound(NotFound::NoSuchModel { .. }) => (Code::NotFound, "no-such-model"),
        RegistryError::NotFound(NotFound::Ambiguous { .. }) => {
            (Code::FailedPrecondition, "ambiguous-model")
        }
        RegistryError::Exists { .. } => (Code::AlreadyExists, "model-exists"),
        RegistryError::BadName(_) => (Code::InvalidArgument, "invalid-argument"),
        RegistryError::NotAModel { .. } => (Code::InvalidArgument, "not-a-model"),
        RegistryError::OutsideScanPaths { .. } => (Code::InvalidArgument, "outside-scan-paths"),
        RegistryError::Busy => (Code::ResourceExhausted, "busy"),
        RegistryError::ShuttingDown => (Code::Unavailable, "shutting-down"),
    };
    errors::status(code, reason, error.to_string())
}
