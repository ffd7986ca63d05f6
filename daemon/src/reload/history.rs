//! What is written down of a change, before it and after.

use std::path::PathBuf;

use jiff::Timestamp;

use super::change::{Begun, InFlight, Undo};
use super::owner::{Attempt, Reloader, lost};
use super::read::Read;
use super::{ReloadError, Target, Verdict};
use crate::blocking::blocking;
use crate::config;
use crate::files;
use crate::generations::{Digest, Store, Veto, WriteError};
use crate::plan::StepAction;
use crate::supervisor::fleet::{self, AskError};

impl Reloader {
    /// Does something with the store, away from the tasks.
    pub(super) async fn with_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let mut store = self.store.take().ok_or_else(lost)?;
        let used = blocking(move || {
            let result = work(&mut store);
            (store, result)
        });
        let (store, result) = used.await.map_err(|_| lost())?;
        self.store = Some(store);
        Ok(result)
    }

    /// The number of the generation that is in force.
    pub(super) fn generation(&self) -> Option<u64> {
        let current = self.store.as_ref()?.current()?;
        Some(current.number)
    }

    /// Writes a change down before any process is touched: the file that a rollback brings back, and the
    /// generation that the change will be.
    pub(super) async fn write_down(
        &mut self,
        read: &Read,
        attempt: &Attempt,
        summary: String,
    ) -> Result<Begun, ReloadError> {
        let mut begun = Begun::default();
        if let Target::Generation(_) = attempt.target {
            begun.undo = self.bring_back(read).await?;
        }
        let content = read.content.files.clone();
        let digest = Digest::of(&content);
        let cause = attempt.cause();
        let pending = self
            .with_store(move |store| {
                // Somebody asks, or it changed and changed back: it is tried again.
                store.forget(&digest)?;
                if store
                    .current()
                    .is_some_and(|current| current.digest == digest)
                {
                    return Ok(None);
                }
                store
                    .begin(content, cause, &summary, Timestamp::now())
                    .map(Some)
            })
            .await?;
        match pending {
            Ok(pending) => {
                begun.pending = pending;
                Ok(begun)
            }
            Err(error) => {
                self.undo(begun.undo).await;
                Err(error.into())
            }
        }
    }

    /// Writes the profile of a former generation back to its file.
    async fn bring_back(&mut self, read: &Read) -> Result<Option<Undo>, ReloadError> {
        let profile = read.content.files.profile.as_ref();
        let Some(file) = profile.and_then(|profile| profile.file.clone()) else {
            return Ok(None);
        };
        let written = blocking(move || {
            let former = std::fs::read_to_string(&file.path).ok();
            let undo = Undo {
                path: file.path.clone(),
                text: former.clone(),
            };
            if former.as_ref() == Some(&file.text) {
                return Ok(undo);
            }
            files::rewrite(&file.path, &file.text).map(|()| undo)
        });
        match written.await {
            Ok(Ok(undo)) => Ok(Some(undo)),
            Ok(Err(error)) => Err(ReloadError::Unrecorded(error.to_string())),
            Err(_) => Err(lost().into()),
        }
    }

    /// Gives a file the text back that it had before a rollback.
    pub(super) async fn undo(&mut self, undo: Option<Undo>) {
        let Some(Undo {
            path,
            text: Some(text),
        }) = undo
        else {
            return;
        };
        let shown = path.display().to_string();
        let written = blocking(move || files::rewrite(&path, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot give {shown} its former text back: {error}");
        }
    }

    /// Makes a change that holds a generation.
    pub(super) async fn record(&mut self, change: &mut InFlight, summary: String) {
        let content = change.content.files.clone();
        let (cause, pending) = (change.cause, change.pending.take());
        let activation = change.activation.clone();
        let recorded = self.with_store(move |store| -> Result<(), WriteError> {
            let digest = Digest::of(&content);
            let is_current = store
                .current()
                .is_some_and(|current| current.digest == digest);
            match pending {
                Some(pending) => {
                    store.commit(pending)?;
                }
                None if is_current => {}
                None => {
                    store.record(content, cause, &summary, Timestamp::now())?;
                }
            }
            if let Some(activation) = activation {
                store.activate(activation)?;
            }
            store.prune(false).map(drop)
        });
        if let Ok(Err(error)) = recorded.await {
            tracing::warn!("cannot record what was applied: {error}");
        }
        let generation = self.generation();
        self.fleet.set_generation(generation).await;
        self.status
            .send_modify(|status| status.generation = generation);
    }

    /// Remembers which content was vetoed, so that it is not tried again by itself.
    pub(super) async fn forget_change(&mut self, change: &mut InFlight, vetoes: &[fleet::Veto]) {
        let digest = Digest::of(&change.content.files);
        let is_of_files = change.is_of_files;
        let pending = change.pending.take();
        let first = vetoes.first().cloned();
        let forgotten = self.with_store(move |store| -> Result<(), WriteError> {
            if let Some(pending) = pending {
                store.abandon(pending)?;
            }
            match first {
                Some(veto) if is_of_files => store.veto(Veto {
                    digest,
                    by: Some(veto.server.to_string()),
                    why: format!("{}: {}", veto.reason, veto.detail),
                    at: Timestamp::now(),
                }),
                Some(_) | None => Ok(()),
            }
        });
        if let Ok(Err(error)) = forgotten.await {
            tracing::warn!("cannot remember what was vetoed: {error}");
        }
    }

    /// Keys of magid.toml that were different in the generation that is gone back to.
    pub(super) async fn differing_keys(&mut self, attempt: &Attempt) -> Vec<String> {
        let Target::Generation(number) = attempt.target else {
            return Vec::new();
        };
        let then = self
            .with_store(move |store| Some(store.get(number).ok()?.content.daemon?.text))
            .await;
        let now = std::fs::read_to_string(self.config_file()).unwrap_or_default();
        let then = then.ok().flatten().unwrap_or_default();
        config::differing_keys(&then, &now)
    }

    fn config_file(&self) -> PathBuf {
        self.status.borrow().config_file.clone()
    }
}

/// What a change did, in one line.
pub(super) fn summary(verdict: &Verdict) -> String {
    let count = |actions: &[StepAction]| {
        let steps = verdict.steps.iter();
        steps.filter(|step| actions.contains(&step.action)).count()
    };
    let counts = [
        (count(&[StepAction::Start]), "started"),
        (count(&[StepAction::Replace]), "replaced"),
        (count(&[StepAction::Stop]), "stopped"),
        (
            count(&[StepAction::Live, StepAction::Define]),
            "changed in place",
        ),
        (count(&[StepAction::Keep]), "kept"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match told.is_empty() {
        true => "no servers".to_owned(),
        false => told.join(", "),
    }
}
