//! The owner of the configuration.
//!
//! A file event, SIGHUP, an RPC and the look that is taken once a minute all end in one function,
//! `attempt`: read everything, validate everything, plan, and only then let the fleet apply it. Any
//! error before that changes nothing. Requests are served one after the other; those that wait
//! together are answered by one attempt, so the newest content wins.
//!
//! What is applied is a change that has yet to prove itself (`change`): when all servers that it
//! touches have settled, the fleet judges it. If one of them did not get ready, what was applied before
//! is applied again. A newer content does not wait for that: it is applied over the change that is in
//! flight, and judged against the same past.

mod attempt;
mod change;
mod define;
mod history;
pub(crate) mod lookup;
mod owner;
mod profiles;
pub(crate) mod read;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

pub use owner::spawn;
pub use profiles::{NewProfile, ProfileError, ProfileRecord};
pub use status::{ConfigState, ConfigStatus, Told};

use crate::config::{DaemonConfig, Environment, Locations};
use crate::files::Hints;
use crate::generations::{GetError, Store, WriteError};
use crate::logs;
use crate::memory::MemoryHandle;
use crate::name::ServerName;
use crate::plan::Step;
use crate::registry::RegistryHandle;
use crate::supervisor::context::{Rules, Turns};
use crate::supervisor::events::EventLog;
use crate::supervisor::fleet::{AskError, FleetHandle, Veto};

/// Reloads that may wait.
const QUEUE: usize = 64;

/// What a configuration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Applied, as far as can be told at once: see [`Verdict::concluded`].
    Applied,
    /// It is what runs already.
    Unchanged,
    /// It is wrong; nothing was changed.
    Refused,
    /// It is right; nothing was changed, as asked.
    Planned,
}

/// What became of a change that was applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    /// It holds.
    Holds,
    /// These servers did not get ready, and it was taken back.
    Vetoed(Vec<Veto>),
}

/// The answer to a reload.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What it came to.
    pub decision: Decision,
    /// What is done to each server.
    pub steps: Vec<Step>,
    /// What is wrong.
    pub errors: Vec<Told>,
    /// What deserves a look.
    pub warnings: Vec<Told>,
    /// Keys that a variable determines.
    pub overridden: Vec<String>,
    /// Keys that need a restart of magid.
    pub needs_restart: Vec<String>,
    /// What each server needs of main memory with it, in bytes.
    pub needs: BTreeMap<ServerName, u64>,
    /// The profile that was read.
    pub profile: Option<String>,
    /// For a rollback: keys of magid.toml that were different then, and stay as they are.
    pub differing_keys: Vec<String>,
    /// What becomes of the change, once it is known. Absent if nothing was changed.
    conclusion: Option<watch::Receiver<Option<Conclusion>>>,
}

impl Verdict {
    /// What became of it, once everything that it touched has settled.
    ///
    /// # Errors
    ///
    /// If magid ends.
    pub async fn concluded(&self) -> Result<Conclusion, AskError> {
        let Some(mut conclusion) = self.conclusion.clone() else {
            return Ok(Conclusion::Holds);
        };
        let concluded = conclusion.wait_for(Option::is_some).await;
        let concluded = concluded.ok().and_then(|conclusion| conclusion.clone());
        concluded.ok_or(AskError::ShuttingDown)
    }
}

/// What is to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The files as they are.
    Files,
    /// The profile of this name, which becomes the active one.
    Profile(String),
    /// The profile of a former generation, which is written back to its file.
    Generation(u64),
}

/// Something to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub target: Target,
    /// Only plan.
    pub dry_run: bool,
    /// The generation that it is meant for.
    pub expected_generation: Option<u64>,
}

/// Why nothing was read or applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReloadError {
    /// magid ends, or is busy.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no profile of this name.
    #[error("cannot find a profile named {name:?}; `magictl profiles list` shows them")]
    NoSuchProfile {
        /// The name.
        name: String,
    },
    /// There is no generation of this number, or it cannot be used.
    #[error("{message}")]
    Generation {
        /// Whether it is broken, rather than not there.
        is_broken: bool,
        /// What is wrong, and what is left.
        message: String,
    },
    /// It cannot be recorded, so it was not applied.
    #[error("{0}; nothing was changed")]
    Unrecorded(String),
}

impl From<GetError> for ReloadError {
    fn from(error: GetError) -> Self {
        Self::Generation {
            is_broken: matches!(error, GetError::Broken(_)),
            message: error.to_string(),
        }
    }
}

impl From<WriteError> for ReloadError {
    fn from(error: WriteError) -> Self {
        Self::Unrecorded(error.to_string())
    }
}

/// The answer to an order.
type Answer = Result<Verdict, ReloadError>;

enum Request {
    Apply(Order, oneshot::Sender<Answer>),
    /// Something to do with the store of generations.
    Store(Box<dyn FnOnce(&mut Store) + Send>),
    /// Something to do with the files of profiles.
    Profiles(profiles::Request),
}

/// A handle on the owner of the configuration.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<ConfigStatus>,
}

impl ReloadHandle {
    /// Reads all files and applies what is ordered, or only plans it.
    ///
    /// # Errors
    ///
    /// If there is nothing to apply, or no way to. Wrong files are a verdict, not an error.
    pub async fn apply(&self, order: Order) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Apply(order, reply))?;
        answer.await.unwrap_or(Err(AskError::ShuttingDown.into()))
    }

    /// Reads all files and applies them.
    ///
    /// # Errors
    ///
    /// As [`ReloadHandle::apply`].
    pub async fn reload(&self) -> Answer {
        self.apply(Order {
            target: Target::Files,
            dry_run: false,
            expected_generation: None,
        })
        .await
    }

    /// Does something with the store of generations. What is done may block.
    ///
    /// # Errors
    ///
    /// If magid ends, or too much waits.
    pub async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        let work = move |store: &mut Store| {
            // Nobody may have waited for it.
            let _ = reply.send(work(store));
        };
        self.send(Request::Store(Box::new(work)))?;
        answer.await.map_err(|_| AskError::ShuttingDown)
    }

    fn send(&self, request: Request) -> Result<(), AskError> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Busy {
                    what: "reloads".to_owned(),
                },
                mpsc::error::TrySendError::Closed(_) => AskError::ShuttingDown,
            })
    }

    /// The files against what is applied.
    pub fn status(&self) -> ConfigStatus {
        self.status.borrow().clone()
    }
}

/// What the owner of the configuration is given.
#[derive(Debug)]
pub struct Surroundings {
    /// Where files are unless magid.toml says otherwise.
    pub locations: Locations,
    /// The environment magid was started with.
    pub environment: Environment,
    /// Scan paths of the command line, which win over all others.
    pub scan_paths: Vec<PathBuf>,
    /// magid.toml as it was at the start.
    pub at_start: DaemonConfig,
    /// The fleet.
    pub fleet: FleetHandle,
    /// Where the common rules are published.
    pub rules: watch::Sender<Rules>,
    /// Where happenings are recorded.
    pub events: EventLog,
    /// Who watches folders.
    pub hints: Hints,
    /// The models that there are.
    pub registry: RegistryHandle,
    /// Who has which memory.
    pub memory: MemoryHandle,
    /// Where what was applied is kept.
    pub store: Store,
}

/// The rules that follow from magid.toml. Whoever waits for a turn goes on waiting in the same line
/// unless the limit changed.
pub fn rules_of(daemon: &DaemonConfig, former: Option<(&Rules, &DaemonConfig)>) -> Rules {
    use crate::config::ConcurrentStarts;
    let starts = daemon.llama_server.concurrent_starts;
    let turns = match (former, starts) {
        (Some((rules, config)), _) if config.llama_server.concurrent_starts == starts => {
            rules.turns.clone()
        }
        (_, ConcurrentStarts::Unlimited) => Turns::Unlimited,
        (_, ConcurrentStarts::Limited(limit)) => Turns::limited(limit.get()),
    };
    Rules {
        liveness: daemon.liveness.clone(),
        readiness_check_interval: daemon.llama_server.readiness_check_interval,
        port_range: daemon.llama_server.port_range.clone(),
        logs: logs::LogStore::new(
            daemon.log_dir.clone(),
            usize::try_from(daemon.logs.keep).unwrap_or(usize::MAX),
        ),
        log_size: daemon.logs.max_size,
        turns,
        gateway: daemon.control,
    }
}
