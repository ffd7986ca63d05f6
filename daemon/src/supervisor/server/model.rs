//! Noticing that the model of a running incarnation was overwritten.
//!
//! llama-server maps its model: what is written into the file is what it computes with from then on, and
//! a file that gets shorter kills it at the next touch. One that is replaced by another file of the same
//! name is no concern of the incarnation that runs: it goes on with the old one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Incarnation, Report, Server, effect, end};
use crate::files::{Fate, Sample, Watch, any_changed};
use crate::lifecycle::{Event, Exit, ExitClass};

/// How long to wait for a hint before looking all the same: network file systems give none.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// The shortest time between two looks, while something else in the folder is being written.
const PACE: Duration = Duration::from_millis(100);

impl Server {
    /// Watches the files of the model for as long as the incarnation uses them.
    pub(super) fn watch_model(&mut self, live: &Incarnation) {
        let files = self.definition.launch.model_files();
        let hints = self.context.hints.clone();
        let reports = self.reports.clone();
        let incarnation = live.number;
        self.effects.model = effect(async move {
            let folders: Vec<PathBuf> = files.iter().flat_map(|file| folders(file)).collect();
            let mut watches: Vec<Watch> = folders.iter().map(|f| hints.watch(f)).collect();
            let sampled = files.clone();
            let Ok(samples) = end::blocking(move || {
                sampled
                    .iter()
                    .map(|f| Sample::of(f))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await
            else {
                // It cannot be read, or is gone: then nobody can tell whether it was overwritten.
                return;
            };
            let samples = Arc::new(samples);
            loop {
                if let Some(file) = overwritten(&files, &samples).await {
                    let exit = Arc::new(exit(&file));
                    let event = Event::Overwritten { incarnation, exit };
                    let _ = reports.send(Report::Event(event)).await;
                    return;
                }
                tokio::time::sleep(PACE).await;
                let _ = tokio::time::timeout(LOOK_ANYWAY, any_changed(&mut watches)).await;
            }
        });
    }
}

/// The folders in which an event tells of a change of `file`, or of what it is a link to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(file).ok();
    let files = [Some(file.to_path_buf()), real];
    let folders = files.iter().flatten().filter_map(|file| file.parent());
    folders.map(Path::to_path_buf).collect()
}

async fn overwritten(files: &[PathBuf], samples: &Arc<Vec<Sample>>) -> Option<PathBuf> {
    let (files, samples) = (files.to_vec(), samples.clone());
    let look = move || {
        let mut each = files.into_iter().zip(samples.iter());
        let is_overwritten = |(file, sample): &(PathBuf, &Sample)| {
            sample.fate(file).is_ok_and(|fate| match fate {
                Fate::Overwritten => true,
                Fate::Same | Fate::Replaced => false,
            })
        };
        Ok(each.find(is_overwritten).map(|(file, _)| file))
    };
    end::blocking(look).await.ok().flatten()
}

/// How an incarnation ends whose model was overwritten.
pub(super) fn exit(file: &Path) -> Exit {
    Exit::without_process(
        ExitClass::ModelOverwritten,
        format!(
            "{} was overwritten while it was served; it is started again when the file is complete",
            file.display()
        ),
    )
}
