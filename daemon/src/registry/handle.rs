//! What others ask the registry.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::find::NotFound;
use super::look::Place;
use super::model::{Model, ModelId, OverridesChange, ScanReport, Snapshot};
use super::owner;
use super::scan::ReadFacts;
use super::writer::Written;
use crate::blocking::blocking;
use crate::config::ScanPath;
use crate::files::Hints;
use crate::gguf::TierRule;
use crate::name::NameError;

/// Requests that may wait.
pub(super) const QUEUE: usize = 64;

/// What the registry is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Where models are looked for.
    pub scan_paths: Vec<ScanPath>,
    /// Where what is known of them is kept.
    pub file: PathBuf,
    /// What makes a tier.
    pub tiers: TierRule,
}

/// Why the registry did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It is not clear which model is meant.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The file is a model already, or a model has that id.
    #[error("cannot add {what}: the registry has it as {id}")]
    Exists {
        /// What was to be added.
        what: String,
        /// The model that there is.
        id: ModelId,
    },
    /// An id cannot be this.
    #[error("the id of a model {0}")]
    BadName(#[from] NameError),
    /// The file is no model.
    #[error("cannot add {}: {why}", .path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// Why it is none.
        why: String,
    },
    /// The file is not where models are looked for.
    #[error("cannot add {}: it is in no scan path; add its folder to [models] scan_paths, or name its path in a profile", .path.display())]
    OutsideScanPaths {
        /// The file.
        path: PathBuf,
    },
    /// Too much is asked at once.
    #[error("too many requests wait for the registry: try again")]
    Busy,
    /// magid ends.
    #[error("magid is shutting down")]
    ShuttingDown,
}

/// The answer to a request.
pub(super) type Reply<T> = oneshot::Sender<Result<T, RegistryError>>;

/// A request.
#[derive(Debug)]
pub(super) enum Request {
    /// What a scan has to answer.
    Scan(Wanted),
    /// A change of what the user says. The number of the state that has it is answered with it.
    Set(String, OverridesChange, Reply<(Arc<Model>, u64)>),
    /// A model is to be forgotten.
    Delete(String, Reply<u64>),
}

/// What is wanted of a scan.
#[derive(Debug)]
pub(super) enum Wanted {
    /// What it brought. The number of the state that has it is answered with it.
    Report(Reply<(Arc<ScanReport>, u64)>),
    /// That a file becomes a model.
    Model(WantedModel, Reply<(Arc<Model>, u64)>),
}

impl Wanted {
    /// Answers that there is too much to do.
    pub(super) fn refuse(self) {
        match self {
            // Nobody may have waited for the answers.
            Self::Report(reply) => drop(reply.send(Err(RegistryError::Busy))),
            Self::Model(_, reply) => drop(reply.send(Err(RegistryError::Busy))),
        }
    }
}

/// A file that is to be a model.
#[derive(Clone, Debug)]
pub(super) struct WantedModel {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) id: Option<ModelId>,
}

/// A handle on the registry.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) config: Arc<watch::Sender<RegistryConfig>>,
    pub(super) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(super) scans: watch::Receiver<u64>,
    pub(super) written: watch::Receiver<Written>,
}

impl RegistryHandle {
    /// Starts the owner of the registry: what its file says is there at once, and a scan begins.
    pub async fn spawn(config: RegistryConfig, hints: Hints) -> Self {
        Self::spawn_with(config, hints, Arc::new(super::header::read)).await
    }

    /// The same with another way to read files.
    pub(super) async fn spawn_with(
        config: RegistryConfig,
        hints: Hints,
        read: Arc<ReadFacts>,
    ) -> Self {
        owner::spawn(config, hints, read).await
    }

    /// The registry as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Follows the registry: tells of every change but the times at which models were last seen.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Waits for the end of the first scan, or of magid.
    pub async fn scanned(&self) {
        let mut scans = self.scans.clone();
        let _ = scans.wait_for(|scans| *scans > 0).await;
    }

    /// Looks for models, and answers when a look that began after this call has ended.
    ///
    /// # Errors
    ///
    /// Too many requests wait, or magid ends.
    pub async fn rescan(&self) -> Result<Arc<ScanReport>, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.ask(Request::Scan(Wanted::Report(reply)), answer);
        let (report, _) = asked.await?;
        Ok(report)
    }

    /// The same, and waits until what it brought is on disk, or cannot be written.
    ///
    /// # Errors
    ///
    /// As [`RegistryHandle::rescan`].
    pub async fn rescan_to_disk(&self) -> Result<(), RegistryError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.ask(Request::Scan(Wanted::Report(reply)), answer);
        let (_, number) = asked.await?;
        self.on_disk(number).await;
        Ok(())
    }

    /// Changes what is said of a model, which is named by its id, its file name or its path. Returns
    /// when that is on disk, or cannot be written.
    ///
    /// # Errors
    ///
    /// It is not clear which model is meant.
    pub async fn set(
        &self,
        model: &str,
        change: OverridesChange,
    ) -> Result<Arc<Model>, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Set(model.to_owned(), change, reply);
        let (model, number) = self.ask(request, answer).await?;
        self.on_disk(number).await;
        Ok(model)
    }

    /// Makes a file inside a scan path a model, also one that was deleted here before. It gets the id
    /// `name`, or one made of the name of the file.
    ///
    /// # Errors
    ///
    /// It is one already, no model, or outside.
    pub async fn create(
        &self,
        path: &Path,
        name: Option<&str>,
    ) -> Result<Arc<Model>, RegistryError> {
        let id = name.map(ModelId::new).transpose()?;
        let wanted = WantedModel {
            place: place(path).await?,
            path: path.to_path_buf(),
            id,
        };
        let (reply, answer) = oneshot::channel();
        let request = Request::Scan(Wanted::Model(wanted, reply));
        let (model, number) = self.ask(request, answer).await?;
        self.on_disk(number).await;
        Ok(model)
    }

    /// Forgets a model and what was said of it. Its file stays, and is no model until
    /// [`RegistryHandle::create`] names it.
    ///
    /// # Errors
    ///
    /// It is not clear which model is meant.
    pub async fn delete(&self, model: &str) -> Result<(), RegistryError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Delete(model.to_owned(), reply);
        let number = self.ask(request, answer).await?;
        self.on_disk(number).await;
        Ok(())
    }

    /// Why the file is not up to date, if it is not.
    pub fn unwritten(&self) -> Option<String> {
        self.written.borrow().problem.clone()
    }

    /// Says where models are looked for and what makes a tier from now on; a scan begins. The file
    /// stays what it was at the start.
    pub fn configure(&self, config: RegistryConfig) {
        self.config.send_if_modified(|known| {
            let differs = *known != config;
            *known = config;
            differs
        });
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => RegistryError::Busy,
                mpsc::error::TrySendError::Closed(_) => RegistryError::ShuttingDown,
            })?;
        answer.await.unwrap_or(Err(RegistryError::ShuttingDown))
    }

    /// Waits until a state is on disk, or it is known that it cannot be.
    async fn on_disk(&self, number: u64) {
        let mut written = self.written.clone();
        let _ = written.wait_for(|written| written.number >= number).await;
    }
}

/// Which file a path is.
async fn place(path: &Path) -> Result<Place, RegistryError> {
    let file = path.to_path_buf();
    let meta = blocking(move || std::fs::metadata(file)).await;
    match meta.and_then(|meta| meta) {
        Ok(meta) => Ok(Place {
            device: meta.dev(),
            inode: meta.ino(),
        }),
        Err(error) => Err(RegistryError::NotAModel {
            path: path.to_path_buf(),
            why: error.to_string(),
        }),
    }
}
