//! The registry against real folders.

mod disks;
mod merging;
mod owner;
mod seen;
mod speed;
mod stored;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::scan::ReadFacts;
use super::testing::{scan_path, write};
use super::*;
use crate::files::Hints;
use crate::gguf::TierRule;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of models and a registry of it.
struct World {
    folder: TempDir,
    registry: RegistryHandle,
}

impl World {
    /// A registry of a folder with these files, whose first scan is done.
    async fn with(files: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        for (number, file) in files.iter().enumerate() {
            let path = folder.path().join("models").join(file);
            write(&path, 100 + number as u64);
        }
        let registry = start(folder.path()).await;
        registry.scanned().await;
        Self { folder, registry }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("models").join(file)
    }

    /// The path of the registry's own file.
    fn file(&self) -> PathBuf {
        self.folder.path().join("state/registry.json")
    }

    fn ids(&self) -> Vec<String> {
        ids(&self.registry)
    }

    fn model(&self, id: &str) -> Arc<Model> {
        self.registry.snapshot().models[id].clone()
    }

    /// Waits until the registry is like this.
    async fn until(&self, what: impl FnMut(&Arc<Snapshot>) -> bool) {
        let mut snapshots = self.registry.subscribe();
        let waited = tokio::time::timeout(PATIENCE, snapshots.wait_for(what)).await;
        assert!(waited.is_ok(), "{:?}", self.registry.snapshot());
    }

    async fn rescan(&self) -> Arc<ScanReport> {
        self.registry.rescan().await.unwrap()
    }

    /// Waits until everything is on disk.
    async fn on_disk(&self) {
        let known = self.ids();
        let nothing = OverridesChange::default();
        self.registry.set(&known[0], nothing).await.unwrap();
    }

    /// Ends the registry and starts another one.
    async fn restart(&mut self) {
        self.registry = start(self.folder.path()).await;
    }
}

fn ids(registry: &RegistryHandle) -> Vec<String> {
    let snapshot = registry.snapshot();
    snapshot.models.keys().map(ToString::to_string).collect()
}

fn config(folder: &Path) -> RegistryConfig {
    RegistryConfig {
        scan_paths: vec![scan_path(&folder.join("models"))],
        file: folder.join("state/registry.json"),
        tiers: TierRule::default(),
    }
}

async fn start(folder: &Path) -> RegistryHandle {
    RegistryHandle::spawn(config(folder), Hints::start()).await
}

async fn start_with(folder: &Path, read: Arc<ReadFacts>) -> RegistryHandle {
    RegistryHandle::spawn_with(config(folder), Hints::start(), read).await
}

fn unavailable(model: &Model) -> &str {
    match &model.availability {
        Availability::Available => "",
        Availability::Unavailable(why) => why,
    }
}
