//! One look at the models, for those who have no magid.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::handle::{RegistryConfig, RegistryError, RegistryHandle};
use super::merge::Models;
use super::model::{Model, ModelId, ScanReport, Snapshot};
use super::store;
use crate::files::Hints;

/// How long files that may still be written are waited for: an incomplete one is told of after 5 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// Looks for models, waits for those that may still be written, and answers when what was found is in the
/// file: with what is new since the file was written, and with why it could not be written if so.
///
/// # Errors
///
/// None is to be expected: nobody else asks.
pub async fn look_alone(
    config: RegistryConfig,
) -> Result<(ScanReport, Option<String>), RegistryError> {
    let former = store::peek(&config.file, &config.tiers).unwrap_or_default();
    let registry = RegistryHandle::spawn(config, Hints::start()).await;
    registry.scanned().await;
    let mut news = registry.subscribe();
    let settled = news.wait_for(|snapshot| snapshot.unsettled.is_empty());
    // One that is written for longer is told of as such.
    let _ = timeout(PATIENCE, settled).await;
    registry.rescan_to_disk().await?;
    let now = registry.snapshot();
    Ok((difference(&former.models, &now), registry.unwritten()))
}

fn difference(former: &Models, now: &Snapshot) -> ScanReport {
    let was = |id: &ModelId| former.get(id).filter(|model| model.is_available());
    let is = |id: &ModelId| now.models.get(id).filter(|model| model.is_available());
    let ids = |of: &Models, chosen: &dyn Fn(&ModelId) -> bool| {
        of.keys().filter(|id| chosen(id)).cloned().collect()
    };
    ScanReport {
        total: now.models.len(),
        added: ids(&now.models, &|id| is(id).is_some() && was(id).is_none()),
        removed: ids(former, &|id| was(id).is_some() && is(id).is_none()),
        changed: ids(&now.models, &|id| {
            was(id)
                .zip(is(id))
                .is_some_and(|(was, is)| differs(was, is))
        }),
        problems: now.problems.clone(),
    }
}

fn differs(was: &Arc<Model>, is: &Arc<Model>) -> bool {
    let files = |model: &Model| (model.files.clone(), model.size_bytes, model.modified);
    files(was) != files(is)
}
