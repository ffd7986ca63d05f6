//! What is written down of a change, before it and after.

use std::path::PathBuf;

use jiff::Timestamp;

use super::attempt::Attempt;
use super::change::{Begun, InFlight, Undo};
use super::owner::Reloader;
use super::read::Read;
use super::{ReloadError, Target, Told, Verdict};
use crate::blocking::blocking;
use crate::config::{self, Diagnostic, MAX_FILE_SIZE};
use crate::files::{self, ReadError, RewriteError};
use crate::generations::{Cause, Content, Digest, Pending, Store, StoredFile, Veto, WriteError};
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

    /// Forgets a change that an earlier magid was applying when it was killed. The files say what is to
    /// be, and are applied as a whole.
    pub(super) async fn forget_interrupted(&mut self) {
        let forgotten = self.with_store(|store| {
            let Some(change) = store.interrupted() else {
                return Ok(());
            };
            let number = change.generation().number;
            tracing::info!(
                "generation {number} was being applied when magid ended: the files are applied anew"
            );
            store.abandon(change)
        });
        if let Ok(Err(error)) = forgotten.await {
            tracing::warn!("cannot forget a change that nothing came of: {error}");
        }
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
            begun = self.bring_back(read).await?;
        }
        let content = read.content.files.clone();
        let cause = self.cause(read, attempt);
        let pending = self.with_store(move |store| begin(store, content, cause, &summary));
        match pending.await? {
            Ok(pending) => {
                begun.pending = pending;
                Ok(begun)
            }
            Err(error) => {
                self.call_off(begun).await;
                Err(error.into())
            }
        }
    }

    /// Writes the profile of a former generation back to its file.
    async fn bring_back(&mut self, read: &Read) -> Result<Begun, ReloadError> {
        let profile = read.content.files.profile.as_ref();
        let Some(file) = profile.and_then(|profile| profile.file.clone()) else {
            return Ok(Begun::default());
        };
        self.with_store(move |store| bring_back(store, file))
            .await?
    }

    /// Undoes what was written down of a change that nothing came of.
    pub(super) async fn call_off(&mut self, begun: Begun) {
        self.memory.configure(self.applied.memory.clone());
        self.undo(begun.undo).await;
        let Some(pending) = begun.pending else {
            return;
        };
        let abandoned = self.with_store(move |store| store.abandon(pending));
        if let Ok(Err(error)) = abandoned.await {
            tracing::warn!("cannot forget a change that nothing came of: {error}");
        }
    }

    /// Gives a file back what it had before a rollback, unless somebody has edited it since.
    pub(super) async fn undo(&mut self, undo: Option<Undo>) {
        let Some(undo) = undo else {
            return;
        };
        let shown = undo.path.display().to_string();
        let undone = blocking(move || take_back(&undo)).await;
        if let Ok(Err(error)) = undone {
            tracing::warn!("cannot give {shown} back what it had: {error}");
        }
    }

    /// Makes a change that holds a generation.
    pub(super) async fn record(&mut self, change: &mut InFlight, summary: String) {
        let content = change.content.files.clone();
        let (cause, pending) = (change.cause, change.pending.take());
        let activation = change.activation.clone();
        let wanted = activation.clone();
        let recorded = self.with_store(move |store| -> Result<(), WriteError> {
            if let Some(activation) = wanted {
                store.activate(activation)?;
            }
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
            if let Err(error) = store.prune(false) {
                tracing::warn!("cannot remove old generations: {error}");
            }
            Ok(())
        });
        let recorded = recorded.await;
        self.unstored = None;
        if let Ok(Err(error)) = recorded {
            // It is in force all the same, and tried to be recorded with the next look.
            self.unstored = activation;
            self.tried = None;
            self.status
                .send_if_modified(|status| status.warn_once(unrecorded(&error)));
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
            if let Some(veto) = first.filter(|_| is_of_files) {
                store.veto(Veto {
                    digest,
                    by: Some(veto.server.to_string()),
                    why: format!("{}: {}", veto.reason, veto.detail),
                    at: Timestamp::now(),
                })?;
            }
            match pending {
                Some(pending) => store.abandon(pending),
                None => Ok(()),
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
        let file = self.config_file();
        let keys = self.with_store(move |store| {
            let then = store.get(number).ok();
            let then = then.and_then(|generation| Some(generation.content.daemon?.text));
            let now = files::read_stable(&file, MAX_FILE_SIZE as u64);
            config::differing_keys(&then.unwrap_or_default(), &now.unwrap_or_default())
        });
        keys.await.unwrap_or_default()
    }

    fn config_file(&self) -> PathBuf {
        self.status.borrow().config_file.clone()
    }
}

/// Writes a change down. Nothing, if its texts are those of the generation in force.
fn begin(
    store: &mut Store,
    content: Content,
    cause: Cause,
    summary: &str,
) -> Result<Option<Pending>, WriteError> {
    let digest = Digest::of(&content);
    // Somebody asks, or what it stands on was mended: it is tried again.
    store.forget(&digest)?;
    let current = store.current();
    if current.is_none_or(|current| current.digest != digest) {
        return store
            .begin(content, cause, summary, Timestamp::now())
            .map(Some);
    }
    // The change that this one takes over from comes to nothing.
    match store.interrupted() {
        Some(displaced) => store.abandon(displaced).map(|()| None),
        None => Ok(None),
    }
}

fn bring_back(store: &Store, file: StoredFile) -> Result<Begun, ReloadError> {
    let unread = |error: ReadError| ReloadError::Unrecorded(error.to_string());
    let former = match files::read_stable_bytes(&file.path, MAX_FILE_SIZE as u64) {
        Ok(former) => Some(former),
        Err(ReadError::Missing(_)) => None,
        Err(error) => return Err(unread(error)),
    };
    if former.as_deref() == Some(file.text.as_bytes()) {
        return Ok(Begun::default());
    }
    let unwritten = |error: String| ReloadError::Unrecorded(error);
    let kept = store.keep_replaced(&file.path, Timestamp::now());
    let kept = kept.map_err(|error| unwritten(error.to_string()))?;
    files::rewrite(&file.path, &file.text).map_err(|error| unwritten(error.to_string()))?;
    Ok(Begun {
        pending: None,
        undo: Some(Undo {
            path: file.path,
            written: file.text,
            former,
        }),
        kept,
    })
}

fn take_back(undo: &Undo) -> Result<(), RewriteError> {
    let now = files::read_stable_bytes(&undo.path, MAX_FILE_SIZE as u64);
    if !now.is_ok_and(|now| now == undo.written.as_bytes()) {
        return Ok(());
    }
    match &undo.former {
        Some(former) => files::rewrite(&undo.path, former),
        None => std::fs::remove_file(&undo.path).map_err(|reason| RewriteError::Failed {
            path: undo.path.clone(),
            reason,
        }),
    }
}

/// How a change is told of that is in force, and could not be recorded.
fn unrecorded(error: &WriteError) -> Told {
    let message = format!("what is in force is not recorded: {error}");
    let help = "free some space or mend the permissions: it is tried again once a minute";
    Told::new(&Diagnostic::warning(message, help), &[])
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

/// A use of the store that did not come to an end is the end of it.
fn lost() -> AskError {
    AskError::ShuttingDown
}
