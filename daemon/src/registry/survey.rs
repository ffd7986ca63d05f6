//! The models, for those who only look.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use tokio::time::Instant;

use super::choose::choose;
use super::handle::RegistryConfig;
use super::merge::{Input, merge};
use super::model::Snapshot;
use super::problems::problems;
use super::scan::{Earlier, Now, look};
use super::{header, store};

/// The models as they are now, without a task that follows them: what the registry's file says of them
/// is read, and nothing is written. Blocks.
pub fn survey(config: &RegistryConfig) -> Snapshot {
    let stored = store::peek(&config.file, &config.tiers).unwrap_or_default();
    let earlier = Earlier {
        known: stored.files,
        settling: HashMap::new(),
    };
    let now = Now {
        wall: Timestamp::now(),
        instant: Instant::now(),
    };
    let progress = AtomicU64::new(0);
    let roots = config.scan_paths.iter();
    let (looks, settling): (Vec<_>, Vec<_>) = roots
        .map(|root| look(root, &earlier, now, &header::read, &progress))
        .unzip();
    let paths: HashSet<&Path> = stored.models.values().map(|model| &*model.path).collect();
    let sighting = choose(&looks, |path| paths.contains(path));
    let left = sighting.left.clone();
    let merged = merge(Input {
        known: &stored.models,
        looks: &looks,
        sighting,
        device: &|path| earlier.known.get(path).map(|file| file.device),
        excluded: &stored.excluded,
        chosen: &BTreeMap::new(),
        tiers: &config.tiers,
        scanned_at: stored.scanned_at,
        now: now.wall,
    });
    Snapshot {
        revision: 1,
        scanned_at: Some(now.wall),
        problems: problems(&looks, &merged.held, &left),
        models: merged.models,
        scan_paths: config
            .scan_paths
            .iter()
            .map(|scan| scan.path.clone())
            .collect(),
        unsettled: settling.into_iter().flat_map(HashMap::into_keys).collect(),
        names: OnceLock::new(),
    }
}
