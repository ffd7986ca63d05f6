//! Noticing that what made a failure permanent has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Report, Server, effect, end};
use crate::files::{Fingerprint, Watch, any_changed};
use crate::lifecycle::{Event, ExitClass};
use crate::plan::Definition;

/// How long to wait for a hint before looking all the same: hints can be lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// How long a file must be left alone before it is believed to be complete.
const SETTLE: Duration = Duration::from_millis(250);

/// The files that an incarnation stands on, as they were before it was started.
pub(super) type Evidence = BTreeMap<PathBuf, Option<Fingerprint>>;

impl Server {
    /// Watches the files that the failure may be due to, and reports when one of them is another than
    /// it was before the start that failed.
    pub(super) fn await_healing(&mut self) {
        let before = self.evidence.clone();
        let does_not_fit = self.state.view().reason == ExitClass::DoesNotFit.code();
        let hints = self.context.hints.clone();
        let reports = self.reports.clone();
        let mut budget = self.budget.clone();
        self.effects.heal = effect(async move {
            let folders = before.keys().filter_map(|path| path.parent());
            let mut watches: Vec<Watch> = folders.map(|folder| hints.watch(folder)).collect();
            while !settled(&before).await {
                // All arms are cancel-safe: each only waits for something that stays true.
                tokio::select! {
                    () = any_changed(&mut watches) => {}
                    // There may be memory for it now.
                    Ok(()) = budget.changed(), if does_not_fit => break,
                    () = tokio::time::sleep(LOOK_ANYWAY) => {}
                }
            }
            let _ = reports.send(Report::Event(Event::Healed)).await;
        });
    }
}

/// The files that an incarnation of `definition` stands on, as they are now.
pub(super) async fn gather(definition: &Definition) -> Evidence {
    let launch = &definition.launch;
    let models = launch.model_files();
    look(std::iter::once(&launch.engine).chain(&models)).await
}

/// Whether the files differ from `before`, and have stopped changing.
async fn settled(before: &Evidence) -> bool {
    let mut now = look(before.keys()).await;
    while now != *before {
        tokio::time::sleep(SETTLE).await;
        let later = look(before.keys()).await;
        if later == now {
            return true;
        }
        now = later;
    }
    false
}

async fn look(paths: impl Iterator<Item = &PathBuf>) -> Evidence {
    let paths: Vec<PathBuf> = paths.cloned().collect();
    let look = |path: &Path| Fingerprint::of(path).ok().flatten();
    let seen = move || {
        let each = paths.into_iter().map(|path| (path.clone(), look(&path)));
        Ok(each.collect())
    };
    end::blocking(seen).await.unwrap_or_default()
}
