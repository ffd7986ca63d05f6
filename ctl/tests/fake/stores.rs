//! The services of models, profiles and generations.

use magi_proto::v1::generation_service_server::GenerationService;
use magi_proto::v1::model_service_server::ModelService;
use magi_proto::v1::profile_service_server::ProfileService;
use magi_proto::v1::*;
use tonic::Request;

use super::{Answer, Script};

/// What the registry, the profiles and the history answer.
#[derive(Clone, Default)]
pub(crate) struct Stores {
    pub(crate) models: ListModelsResponse,
    pub(crate) scan: RescanModelsResponse,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) text: String,
    pub(crate) generations: Vec<Generation>,
    pub(crate) diff: String,
    pub(crate) broken: Vec<BrokenGeneration>,
    pub(crate) pruned: PruneGenerationsResponse,
    pub(crate) restored: RestoreFilesResponse,
    pub(crate) daemon_keys_that_differ: Vec<String>,
}

impl Stores {
    fn model(&self) -> Option<Model> {
        self.models.models.first().cloned()
    }

    fn profile(&self) -> Option<Profile> {
        self.profiles.first().cloned()
    }
}

#[tonic::async_trait]
impl ModelService for Script {
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Answer<ListModelsResponse> {
        self.answer(request, self.stores.models.clone())
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Answer<GetModelResponse> {
        let model = self.stores.model();
        self.answer(request, GetModelResponse { model })
    }

    async fn rescan_models(
        &self,
        request: Request<RescanModelsRequest>,
    ) -> Answer<RescanModelsResponse> {
        self.answer(request, self.stores.scan.clone())
    }

    async fn set_model(&self, request: Request<SetModelRequest>) -> Answer<SetModelResponse> {
        let model = self.stores.model();
        self.answer(
            request,
            SetModelResponse {
                model,
                unwritten: None,
            },
        )
    }

    async fn create_model(
        &self,
        request: Request<CreateModelRequest>,
    ) -> Answer<CreateModelResponse> {
        let model = self.stores.model();
        self.answer(
            request,
            CreateModelResponse {
                model,
                unwritten: None,
            },
        )
    }

    async fn delete_model(
        &self,
        request: Request<DeleteModelRequest>,
    ) -> Answer<DeleteModelResponse> {
        self.answer(request, DeleteModelResponse { unwritten: None })
    }
}

#[tonic::async_trait]
impl ProfileService for Script {
    async fn list_profiles(
        &self,
        request: Request<ListProfilesRequest>,
    ) -> Answer<ListProfilesResponse> {
        let profiles = self.stores.profiles.clone();
        self.answer(request, ListProfilesResponse { profiles })
    }

    async fn get_profile(&self, request: Request<GetProfileRequest>) -> Answer<GetProfileResponse> {
        let profile = self.stores.profile();
        let text = self.stores.text.clone();
        self.answer(request, GetProfileResponse { profile, text })
    }

    async fn create_profile(
        &self,
        request: Request<CreateProfileRequest>,
    ) -> Answer<CreateProfileResponse> {
        let profile = self.stores.profile();
        self.answer(request, CreateProfileResponse { profile })
    }

    async fn delete_profile(
        &self,
        request: Request<DeleteProfileRequest>,
    ) -> Answer<DeleteProfileResponse> {
        self.answer(request, DeleteProfileResponse {})
    }

    async fn activate_profile(
        &self,
        request: Request<ActivateProfileRequest>,
    ) -> Answer<ActivateProfileResponse> {
        let reload = Some(self.reload.clone());
        self.answer(request, ActivateProfileResponse { reload })
    }
}

#[tonic::async_trait]
impl GenerationService for Script {
    async fn list_generations(
        &self,
        request: Request<ListGenerationsRequest>,
    ) -> Answer<ListGenerationsResponse> {
        let generations = self.stores.generations.clone();
        self.answer(request, ListGenerationsResponse { generations })
    }

    async fn get_generation(
        &self,
        request: Request<GetGenerationRequest>,
    ) -> Answer<GetGenerationResponse> {
        let generation = self.stores.generations.first().cloned();
        self.answer(request, GetGenerationResponse { generation })
    }

    async fn diff_generations(
        &self,
        request: Request<DiffGenerationsRequest>,
    ) -> Answer<DiffGenerationsResponse> {
        let diff = self.stores.diff.clone();
        self.answer(request, DiffGenerationsResponse { diff })
    }

    async fn verify_generations(
        &self,
        request: Request<VerifyGenerationsRequest>,
    ) -> Answer<VerifyGenerationsResponse> {
        let generations = self.stores.generations.iter();
        let answer = VerifyGenerationsResponse {
            verified: generations.map(|generation| generation.number).collect(),
            broken: self.stores.broken.clone(),
        };
        self.answer(request, answer)
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<RollbackResponse> {
        let answer = RollbackResponse {
            reload: Some(self.reload.clone()),
            daemon_keys_that_differ: self.stores.daemon_keys_that_differ.clone(),
        };
        self.answer(request, answer)
    }

    async fn restore_files(
        &self,
        request: Request<RestoreFilesRequest>,
    ) -> Answer<RestoreFilesResponse> {
        self.answer(request, self.stores.restored.clone())
    }

    async fn prune_generations(
        &self,
        request: Request<PruneGenerationsRequest>,
    ) -> Answer<PruneGenerationsResponse> {
        self.answer(request, self.stores.pruned.clone())
    }
}
