//! `GenerationService`.

use jiff::Timestamp;
use magi_proto::v1;
use magi_proto::v1::generation_service_server::GenerationService;
use tonic::{Code, Request, Response, Status};

use super::{Api, convert, errors, peer};
use crate::config::MAX_FILE_SIZE;
use crate::files::{RewriteError, read_stable};
use crate::generations::{
    ActiveProfile, Content, GetError, Header, NoSuchGeneration, RestoreError, Side, Store,
    StoredFile, WriteError, diff,
};
use crate::reload::{Order, Target};

#[tonic::async_trait]
impl GenerationService for Api {
    async fn list_generations(
        &self,
        _: Request<v1::ListGenerationsRequest>,
    ) -> Result<Response<v1::ListGenerationsResponse>, Status> {
        let generations = self
            .with_store(|store| {
                let current = store.current().map(|header| header.number);
                let generation = |header: &Header| generation(header, current);
                Ok(store.list().map(generation).collect())
            })
            .await?;
        Ok(Response::new(v1::ListGenerationsResponse { generations }))
    }

    async fn get_generation(
        &self,
        request: Request<v1::GetGenerationRequest>,
    ) -> Result<Response<v1::GetGenerationResponse>, Status> {
        let number = request.into_inner().number;
        let generation = self
            .with_store(move |store| {
                let current = store.current().map(|header| header.number);
                let found = store.get(number.or(current).unwrap_or_default());
                let found = found.map_err(get)?;
                let mut told = generation(&found.header(), current);
                for (told, file) in told.files.iter_mut().zip(found.content.files()) {
                    told.text = Some(file.text.clone());
                }
                Ok(told)
            })
            .await?;
        Ok(Response::new(v1::GetGenerationResponse {
            generation: Some(generation),
        }))
    }

    async fn diff_generations(
        &self,
        request: Request<v1::DiffGenerationsRequest>,
    ) -> Result<Response<v1::DiffGenerationsResponse>, Status> {
        let request = request.into_inner();
        if request.with_files && request.since.is_some() {
            return Err(errors::invalid(
                "cannot compare with the files and with since: leave one out",
            ));
        }
        let diff = self
            .with_store(move |store| compare(store, &request))
            .await?;
        Ok(Response::new(v1::DiffGenerationsResponse { diff }))
    }

    async fn verify_generations(
        &self,
        request: Request<v1::VerifyGenerationsRequest>,
    ) -> Result<Response<v1::VerifyGenerationsResponse>, Status> {
        let number = request.into_inner().number;
        let verified = self
            .with_store(move |store| store.verify(number).map_err(no_such))
            .await?;
        let broken = verified.iter().filter_map(|(number, result)| {
            Some(v1::BrokenGeneration {
                number: *number,
                reason: result.as_ref().err()?.to_string(),
            })
        });
        Ok(Response::new(v1::VerifyGenerationsResponse {
            broken: broken.collect(),
            verified: verified.iter().map(|(number, _)| *number).collect(),
        }))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        if !request.get_ref().dry_run {
            peer::log(&request, "a rollback");
        }
        let request = request.into_inner();
        let order = Order {
            target: Target::Generation(request.number),
            dry_run: request.dry_run,
            expected_generation: request.expected_generation,
        };
        let (reload, daemon_keys_that_differ) =
            self.apply_with_differing_keys(order, request.wait).await?;
        Ok(Response::new(v1::RollbackResponse {
            reload: Some(reload),
            daemon_keys_that_differ,
        }))
    }

    async fn restore_files(
        &self,
        request: Request<v1::RestoreFilesRequest>,
    ) -> Result<Response<v1::RestoreFilesResponse>, Status> {
        if !request.get_ref().dry_run {
            peer::log(&request, "files of a generation");
        }
        let request = request.into_inner();
        let restored = self
            .with_store(move |store| {
                let which = request.file.as_deref();
                let now = Timestamp::now();
                let restored = store.restore(request.number, which, request.dry_run, now);
                restored.map_err(restore)
            })
            .await?;
        let paths = |paths: &[std::path::PathBuf]| {
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        Ok(Response::new(v1::RestoreFilesResponse {
            written: paths(&restored.written),
            unchanged: paths(&restored.unchanged),
            kept: paths(&restored.kept),
        }))
    }

    async fn prune_generations(
        &self,
        request: Request<v1::PruneGenerationsRequest>,
    ) -> Result<Response<v1::PruneGenerationsResponse>, Status> {
        let dry_run = request.get_ref().dry_run;
        let pruned = self
            .with_store(move |store| store.prune(dry_run).map_err(write))
            .await?;
        Ok(Response::new(v1::PruneGenerationsResponse {
            removed: pruned.removed,
            kept: pruned.kept,
        }))
    }
}

impl Api {
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.reload.with_store(work).await.map_err(errors::ask)?
    }
}

fn generation(header: &Header, current: Option<u64>) -> v1::Generation {
    let file = |file: &crate::generations::FileSize| v1::GenerationFile {
        path: file.path.display().to_string(),
        size_bytes: file.size,
        text: None,
    };
    v1::Generation {
        number: header.number,
        digest: header.digest.to_string(),
        profile: header.profile.clone(),
        applied_at: Some(convert::timestamp(header.applied_at)),
        cause: header.cause.code().to_owned(),
        summary: header.summary.clone(),
        current: current == Some(header.number),
        files: header.files.iter().map(file).collect(),
    }
}

fn compare(store: &Store, request: &v1::DiffGenerationsRequest) -> Result<String, Status> {
    let current = store.current().map_or(0, |header| header.number);
    let number = request.number.unwrap_or(current);
    let newer = store.get(number).map_err(get)?;
    let label = format!("generation {number}");
    let side = Side {
        label: &label,
        content: &newer.content,
    };
    if request.with_files {
        let files = on_disk(&newer.content);
        let files = Side {
            label: "the files now",
            content: &files,
        };
        return Ok(diff(side, files));
    }
    let before = || {
        store
            .list()
            .map(|header| header.number)
            .find(|n| *n < number)
    };
    let Some(since) = request.since.or_else(before) else {
        let nothing = Side {
            label: "nothing",
            content: &Content::default(),
        };
        return Ok(diff(nothing, side));
    };
    let older = store.get(since).map_err(get)?;
    let older_label = format!("generation {since}");
    let older = Side {
        label: &older_label,
        content: &older.content,
    };
    Ok(diff(older, side))
}

/// The files of a generation as they are now.
fn on_disk(then: &Content) -> Content {
    let now = |file: &StoredFile| {
        let text = read_stable(&file.path, MAX_FILE_SIZE as u64).ok()?;
        Some(StoredFile {
            path: file.path.clone(),
            text,
        })
    };
    Content {
        daemon: then.daemon.as_ref().and_then(now),
        profile: then.profile.as_ref().map(|profile| ActiveProfile {
            name: profile.name.clone(),
            file: profile.file.as_ref().and_then(now),
        }),
    }
}

fn no_such(error: NoSuchGeneration) -> Status {
    errors::status(Code::NotFound, "no-such-generation", error.to_string())
}

fn get(error: GetError) -> Status {
    match error {
        GetError::NoSuch(error) => no_such(error),
        GetError::Broken(error) => {
            errors::status(Code::DataLoss, "broken-generation", error.to_string())
        }
    }
}

fn write(error: WriteError) -> Status {
    errors::status(Code::Internal, "unwritten", error.to_string())
}

fn restore(error: RestoreError) -> Status {
    let message = error.to_string();
    match error {
        RestoreError::Generation(error) => get(error),
        RestoreError::NoSuchFile { .. } => errors::status(Code::NotFound, "no-such-file", message),
        RestoreError::Kept(_) => errors::status(Code::Internal, "unwritten", message),
        RestoreError::Unwritten { reason, .. } => match reason {
            RewriteError::ReadOnly { what, .. } => {
                let command = format!("sudo chmod g+w {}", what.display());
                errors::with_command("profiles-read-only", message, command)
            }
            RewriteError::NotOurs { path, .. } => {
                let command = format!("sudo chown \"$(id -u)\" {}", path.display());
                errors::with_command("profiles-read-only", message, command)
            }
            RewriteError::Failed { .. } => errors::status(Code::Internal, "unwritten", message),
        },
    }
}
