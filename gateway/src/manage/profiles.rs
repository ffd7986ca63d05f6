//! Profiles: the files that define servers, and which of them is active.

use axum::extract::State;
use http::{HeaderName, StatusCode, header};
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::{Context, read};
use super::input::{Json, Name, Query, Wait};
use super::problem::{Problem, ProblemDetails};
use super::servers::is_ready;
use super::view::{Action, Diagnostic, Profile, ProfileText, Server, Step, Verdict, Veto, all};

type Answer<T> = Result<(StatusCode, axum::Json<T>), Problem>;

/// All profiles.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profiles {
    /// Sorted by name.
    profiles: Vec<Profile>,
    /// The name of the active one.
    active_profile: Option<String>,
    /// The same as `activeProfile`.
    #[serde(rename = "active_profile")]
    active_profile_too: Option<String>,
}

/// A profile to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewProfile {
    /// Its name.
    name: String,
    /// Its text, in TOML. Absent: an empty profile with comments that say how to go on.
    text: Option<String>,
    /// The profile to copy, with its comments. Not with `text`.
    #[serde(alias = "copy_of")]
    copy_of: Option<String>,
    /// What `description` is to be. Absent: as the text has it.
    description: Option<String>,
}

/// The profile that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// Its name.
    deleted: String,
}

/// The profile to make active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Activate {
    /// Its name. `profile_name` is understood too.
    #[serde(alias = "profile_name")]
    profile_name: String,
    /// Only plan: nothing is changed.
    #[serde(default, alias = "dry_run")]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Activated {
    /// The profile.
    profile: String,
    /// Servers that were started, or replaced, and are ready. Without waiting: that are on their way.
    started: Vec<String>,
    /// Servers that were started, or replaced, and are not ready.
    failed: Vec<String>,
    /// Servers that were stopped.
    stopped: Vec<String>,
    verdict: Verdict,
    /// The number of the configuration that is in force now.
    generation: Option<u64>,
    /// What is done to each server.
    steps: Vec<Step>,
    /// What is accepted, but deserves a look.
    warnings: Vec<Diagnostic>,
    /// Servers that were touched, as they are now.
    servers: Vec<Server>,
}

/// All profiles.
#[utoipa::path(
    get, path = "/api/models/profiles", tag = "profiles",
    responses((status = 200, body = Profiles), (status = 503, body = ProblemDetails))
)]
pub(super) async fn list(State(context): State<Context>) -> Answer<Profiles> {
    let request = read(v1::ListProfilesRequest {});
    let answer = context.profiles().list_profiles(request).await?;
    let profiles: Vec<Profile> = all(answer.into_inner().profiles);
    let active = profiles.iter().find(|profile| profile.active);
    let active = active.map(|profile| profile.name.clone());
    let body = Profiles {
        profiles,
        active_profile: active.clone(),
        active_profile_too: active,
    };
    Ok((StatusCode::OK, axum::Json(body)))
}

/// One profile with its text.
#[utoipa::path(
    get, path = "/api/models/profiles/{name}", tag = "profiles",
    params(("name" = String, Path, description = "The name of a profile")),
    responses((status = 200, body = ProfileText), (status = 404, body = ProblemDetails))
)]
pub(super) async fn get(State(context): State<Context>, Name(name): Name) -> Answer<ProfileText> {
    let request = read(v1::GetProfileRequest { name });
    let answer = context.profiles().get_profile(request).await?.into_inner();
    let profile = ProfileText::from_wire(answer).ok_or_else(Problem::incomplete)?;
    Ok((StatusCode::OK, axum::Json(profile)))
}

/// Writes a new profile.
#[utoipa::path(
    post, path = "/api/models/profiles", tag = "profiles", request_body = NewProfile,
    responses(
        (status = 201, body = Profile), (status = 403, body = ProblemDetails),
        (status = 409, body = ProblemDetails), (status = 422, body = ProblemDetails),
    )
)]
pub(super) async fn create(
    State(context): State<Context>,
    Json(new): Json<NewProfile>,
) -> Result<(StatusCode, [(HeaderName, String); 1], axum::Json<Profile>), Problem> {
    let request = v1::CreateProfileRequest {
        name: new.name,
        text: new.text,
        copy_of: new.copy_of,
        description: new.description,
    };
    let answer = context.profiles().create_profile(request).await?;
    let profile = answer.into_inner().profile;
    let profile = Profile::from(profile.ok_or_else(Problem::incomplete)?);
    // A profile's name is a file's stem of harmless characters.
    let location = format!("/api/models/profiles/{}", profile.name);
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, axum::Json(profile)))
}

/// Deletes a profile that is not active.
#[utoipa::path(
    delete, path = "/api/models/profiles/{name}", tag = "profiles",
    params(("name" = String, Path, description = "The name of a profile")),
    responses(
        (status = 200, body = Deleted), (status = 403, body = ProblemDetails),
        (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails),
    )
)]
pub(super) async fn delete(State(context): State<Context>, Name(name): Name) -> Answer<Deleted> {
    let request = v1::DeleteProfileRequest { name: name.clone() };
    context.profiles().delete_profile(request).await?;
    Ok((StatusCode::OK, axum::Json(Deleted { deleted: name })))
}

/// Makes a profile the active one. Servers that both profiles define alike keep their process.
#[utoipa::path(
    post, path = "/api/models/profile/activate", tag = "profiles", request_body = Activate,
    params(Wait),
    responses(
        (status = 200, body = Activated), (status = 202, body = Activated),
        (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails),
        (status = 422, body = ProblemDetails),
    )
)]
pub(super) async fn activate(
    State(context): State<Context>,
    Query(wait): Query<Wait>,
    Json(which): Json<Activate>,
) -> Answer<Activated> {
    let request = v1::ActivateProfileRequest {
        name: which.profile_name.clone(),
        dry_run: which.dry_run,
        wait: wait.wait,
        expected_generation: None,
    };
    let answer = context.profiles().activate_profile(request).await?;
    let reload = answer.into_inner().reload;
    let reload = reload.ok_or_else(Problem::incomplete)?;
    let verdict = Verdict::from_wire(reload.verdict);
    match verdict {
        Verdict::Refused => Err(refused(&which.profile_name, reload.errors)),
        Verdict::Vetoed => Err(vetoed(&which.profile_name, reload.vetoes)),
        Verdict::Applied | Verdict::Unchanged | Verdict::Planned | Verdict::Unknown => {
            let body = activated(which.profile_name, reload, wait);
            Ok((wait.status(), axum::Json(body)))
        }
    }
}

fn activated(profile: String, reload: v1::ReloadResponse, wait: Wait) -> Activated {
    let steps: Vec<Step> = all(reload.steps);
    let servers: Vec<Server> = all(reload.servers);
    let is_ready = |name: &str| {
        let server = servers.iter().find(|server| server.name == name);
        server.is_some_and(is_ready)
    };
    let of = |actions: &'static [Action]| {
        let steps = steps
            .iter()
            .filter(move |step| actions.contains(&step.action));
        steps.map(|step| step.server.clone())
    };
    let (started, failed) =
        of(&[Action::Start, Action::Replace]).partition(|name| !wait.wait || is_ready(name));
    Activated {
        profile,
        started,
        failed,
        stopped: of(&[Action::Stop]).collect(),
        verdict: Verdict::from_wire(reload.verdict),
        generation: reload.generation,
        warnings: all(reload.warnings),
        steps,
        servers,
    }
}

fn refused(profile: &str, errors: Vec<v1::Diagnostic>) -> Problem {
    let errors: Vec<Diagnostic> = all(errors);
    let detail = format!("the profile {profile} is wrong: nothing was changed");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "invalid-configuration", detail).with("errors", errors)
}

fn vetoed(profile: &str, vetoes: Vec<v1::Veto>) -> Problem {
    let vetoes: Vec<Veto> = all(vetoes);
    let detail = format!(
        "a server did not get ready with the profile {profile}: what was in force before is again"
    );
    Problem::new(StatusCode::CONFLICT, "vetoed", detail).with("vetoes", vetoes)
}
