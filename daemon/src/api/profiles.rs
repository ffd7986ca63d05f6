//! `ProfileService`.

use magi_proto::v1;
use magi_proto::v1::profile_service_server::ProfileService;
use tonic::{Code, Request, Response, Status};

use super::{Api, convert, errors, peer};
use crate::config::BUILTIN;
use crate::plan::Definition;
use crate::reload::{NewProfile, Order, ProfileError, ProfileRecord, Target};

#[tonic::async_trait]
impl ProfileService for Api {
    async fn list_profiles(
        &self,
        _: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let profiles = self.reload.profiles().await.map_err(errors::ask)?;
        Ok(Response::new(v1::ListProfilesResponse {
            profiles: self.told(&profiles).await,
        }))
    }

    async fn get_profile(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::GetProfileResponse>, Status> {
        let name = request.into_inner().name;
        let profiles = self.reload.profiles().await.map_err(errors::ask)?;
        let found = profiles.into_iter().find(|profile| profile.name == name);
        let profile = found.ok_or_else(|| error(ProfileError::NoSuchProfile { name }))?;
        Ok(Response::new(v1::GetProfileResponse {
            profile: self.told(std::slice::from_ref(&profile)).await.pop(),
            text: profile.text,
        }))
    }

    async fn create_profile(
        &self,
        request: Request<v1::CreateProfileRequest>,
    ) -> Result<Response<v1::CreateProfileResponse>, Status> {
        peer::log(&request, "a new profile");
        let request = request.into_inner();
        if request.text.is_some() && request.copy_of.is_some() {
            return Err(errors::invalid(
                "cannot take text and copy_of: leave one out",
            ));
        }
        let new = NewProfile {
            name: request.name,
            text: request.text,
            copy_of: request.copy_of,
            description: request.description,
        };
        let made = self.reload.create_profile(new).await.map_err(error)?;
        Ok(Response::new(v1::CreateProfileResponse {
            profile: self.told(std::slice::from_ref(&made)).await.pop(),
        }))
    }

    async fn delete_profile(
        &self,
        request: Request<v1::DeleteProfileRequest>,
    ) -> Result<Response<v1::DeleteProfileResponse>, Status> {
        peer::log(&request, "the end of a profile");
        let name = request.into_inner().name;
        self.reload.delete_profile(name).await.map_err(error)?;
        Ok(Response::new(v1::DeleteProfileResponse {}))
    }

    async fn activate_profile(
        &self,
        request: Request<v1::ActivateProfileRequest>,
    ) -> Result<Response<v1::ActivateProfileResponse>, Status> {
        if !request.get_ref().dry_run {
            peer::log(&request, "an activation");
        }
        let request = request.into_inner();
        let order = Order {
            target: Target::Profile(request.name),
            dry_run: request.dry_run,
            expected_generation: request.expected_generation,
        };
        let reload = self.apply(order, request.wait).await?;
        Ok(Response::new(v1::ActivateProfileResponse {
            reload: Some(reload),
        }))
    }
}

impl Api {
    async fn told(&self, profiles: &[ProfileRecord]) -> Vec<v1::Profile> {
        let mut told = Vec::new();
        for profile in profiles {
            let started = profile.definitions.iter().filter(|server| server.autostart);
            let started: Vec<Definition> = started.cloned().collect();
            let needs = self.needs(&started).await;
            let memory = needs
                .iter()
                .map(|need| need.ram)
                .fold(0, u64::saturating_add);
            told.push(convert_profile(profile, memory));
        }
        told
    }
}

fn convert_profile(profile: &ProfileRecord, memory_bytes: u64) -> v1::Profile {
    let servers = profile.definitions.iter();
    let path = profile.path.as_ref();
    v1::Profile {
        name: profile.name.clone(),
        description: profile.description.clone().unwrap_or_default(),
        path: path.map_or_else(String::new, |path| path.display().to_string()),
        active: profile.is_active,
        built_in: profile.name == BUILTIN && profile.path.is_none(),
        servers: servers.map(|server| server.name.to_string()).collect(),
        memory_bytes,
        errors: convert::diagnostics(&profile.errors),
        modified_at: profile.modified_at.map(convert::timestamp),
    }
}

fn error(error: ProfileError) -> Status {
    let (code, reason) = match &error {
        ProfileError::Ask(ask) => return errors::ask(ask.clone()),
        ProfileError::NoSuchProfile { .. } => (Code::NotFound, "no-such-profile"),
        ProfileError::Exists { .. } => (Code::AlreadyExists, "profile-exists"),
        ProfileError::Active(_) => (Code::FailedPrecondition, "profile-active"),
        ProfileError::BuiltIn => (Code::FailedPrecondition, "profile-built-in"),
        ProfileError::Name(_) | ProfileError::Edit(_) => {
            (Code::InvalidArgument, "invalid-argument")
        }
        ProfileError::Invalid(_) => (Code::InvalidArgument, "invalid-configuration"),
        ProfileError::ReadOnly { folder, .. } => {
            let group = nix::unistd::getegid();
            let command = format!(
                "sudo chgrp {group} {0} && sudo chmod g+w {0}",
                folder.display()
            );
            let message = error.to_string();
            return errors::with_command("profiles-read-only", message, command);
        }
        ProfileError::Unwritten(_) => (Code::Internal, "unwritten"),
    };
    errors::status(code, reason, error.to_string())
}
