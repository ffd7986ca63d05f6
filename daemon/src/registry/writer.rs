//! Writing the registry to its file, beside the owner.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::store::{self, Stored};
use crate::blocking::blocking;

/// Writes the newest state; those that come while one is written are folded into the last.
#[derive(Debug)]
pub(super) struct Writer {
    newest: watch::Sender<(u64, Arc<Stored>)>,
    written: watch::Receiver<Written>,
}

/// How far the file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The number of the last state that was written, or could not be.
    pub(super) number: u64,
    /// Why the file is not up to date.
    pub(super) problem: Option<String>,
}

impl Writer {
    /// Starts to write to `path`. With a reason not to, everything is kept in memory only.
    pub(super) fn spawn(path: PathBuf, refusal: Option<String>) -> Self {
        let (newest, inbox) = watch::channel((0, Arc::default()));
        let (progress, written) = watch::channel(Written {
            number: 0,
            problem: refusal,
        });
        tokio::spawn(run(path, inbox, progress));
        Self { newest, written }
    }

    /// Has a state written, and says its number.
    pub(super) fn write(&self, stored: Stored) -> u64 {
        self.newest
            .send_modify(|newest| *newest = (newest.0 + 1, Arc::new(stored)));
        self.newest()
    }

    /// The number of the newest state.
    pub(super) fn newest(&self) -> u64 {
        self.newest.borrow().0
    }

    /// How far the file is.
    pub(super) fn written(&self) -> watch::Receiver<Written> {
        self.written.clone()
    }
}

async fn run(
    path: PathBuf,
    mut inbox: watch::Receiver<(u64, Arc<Stored>)>,
    progress: watch::Sender<Written>,
) {
    let is_refused = progress.borrow().problem.is_some();
    while inbox.changed().await.is_ok() {
        let (number, stored) = inbox.borrow_and_update().clone();
        if is_refused {
            progress.send_modify(|written| written.number = number);
            continue;
        }
        let file = path.clone();
        let done = blocking(move || store::write(&file, &stored)).await;
        let error = done.and_then(|written| written).err();
        let problem = error.map(|error| {
            format!(
                "cannot write {}: {error}; what is new of the models is kept in memory until it can be written",
                path.display()
            )
        });
        let former = progress.borrow().problem.clone();
        match (&former, &problem) {
            (None, Some(problem)) => tracing::warn!("{problem}"),
            (Some(_), None) => tracing::info!("{} is written again", path.display()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        progress.send_replace(Written { number, problem });
    }
}
