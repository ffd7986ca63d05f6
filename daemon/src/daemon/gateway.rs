//! `magid --gateway`: the gateway as one more child, for a terminal or a container.
//!
//! It is held as servers are: it outlives a magid that is killed, and the next one takes it over, so no
//! answer breaks off for that. Its output goes where magid's own goes. If it ends by itself it is started
//! again, after a wait that grows. When magid ends, the gateway ends first, while the servers are there to
//! finish what is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::config::Environment;
use crate::files;
use crate::files::state::{self, NewerVersion};
use crate::lifecycle::ExitStatus;
use crate::process::{
    Process, Scanner, Scope, Signal, SpawnRequest, Token, Tree, find_survivors, spawn,
};
use crate::reload::lookup;

/// The name of the program.
const PROGRAM: &str = "magi-gateway";

/// The name of the file that leads to the gateway that runs.
const RECORD: &str = "gateway.json";

const VERSION: u32 = 1;

/// The largest record, in bytes.
const LIMIT: u64 = 4096;

/// The wait before the first restart, which doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The longest wait.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// After this long without an end, waits begin anew.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// How long it may take to end. It gives requests in flight 30 s itself.
const GRACE: Duration = Duration::from_secs(35);

/// What to run.
#[derive(Debug)]
pub(super) struct Order {
    program: PathBuf,
    arguments: Vec<OsString>,
    env: BTreeMap<String, String>,
    state_dir: PathBuf,
}

/// There is no such program.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot run the gateway: there is no {PROGRAM} beside magid in {}, nor in PATH; install it, or leave out --gateway",
    .beside.display()
)]
pub struct NoGateway {
    /// The folder of magid.
    beside: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// What is in its environment.
    token: Token,
}

impl Order {
    /// Finds the program: beside magid, else in `PATH`.
    pub(super) fn new(
        environment: &Environment,
        socket: &Path,
        config: &Path,
        state_dir: &Path,
    ) -> Result<Self, NoGateway> {
        let magid = std::env::current_exe().unwrap_or_default();
        let beside = magid.parent().unwrap_or(Path::new("/"));
        let own = beside.join(PROGRAM);
        let program = match own.is_file() {
            true => own,
            false => lookup::program(Path::new(PROGRAM), environment.get("PATH")),
        };
        if !program.is_absolute() {
            let beside = beside.to_path_buf();
            return Err(NoGateway { beside });
        }
        // What is meant for magid is kept from its children; these are meant for the gateway as well.
        let meant = std::env::vars().filter(|(name, _)| name.starts_with("MAGI_"));
        Ok(Self {
            program,
            arguments: [
                "--socket".into(),
                socket.into(),
                "--config".into(),
                config.into(),
            ]
            .into(),
            env: meant.collect(),
            state_dir: state_dir.to_path_buf(),
        })
    }

    async fn start(&self) -> io::Result<Running> {
        let token = Token::random()?;
        // Before the spawn: so it is found whatever becomes of this magid.
        self.remember(&token).await?;
        let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let process = spawn(SpawnRequest {
            program: self.program.clone(),
            args: self.arguments.clone(),
            env: self.env.clone(),
            token: token.clone(),
            output,
            current_dir: None,
        })
        .await
        .map_err(io::Error::other)?;
        let main = process.identity().clone();
        Ok(Running {
            process,
            tree: Tree { token, main },
            scope: Scope::Owned,
        })
    }

    async fn remember(&self, token: &Token) -> io::Result<()> {
        let record = Record {
            version: VERSION,
            token: token.clone(),
        };
        let path = self.state_dir.join(RECORD);
        blocking(move || files::replace(&path, serde_json::to_string(&record)?.as_bytes())).await?
    }
}

/// A gateway that runs.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    tree: Tree,
    scope: Scope,
}

impl Running {
    /// The one that an earlier magid left behind. Blocks.
    ///
    /// # Errors
    ///
    /// A later magid wrote the record.
    pub(super) fn find(state_dir: &Path) -> Result<Option<Self>, NewerVersion> {
        let parse = |text: &str| state::parse::<Record>(text, VERSION);
        let record = state::read(&state_dir.join(RECORD), LIMIT, VERSION, parse)?;
        Ok(record.and_then(|record| Self::with(record.token)))
    }

    fn with(token: Token) -> Option<Self> {
        let trees = find_survivors(&BTreeSet::from([token])).ok()?;
        let tree = trees.into_values().next()?;
        let process = Process::adopt(&tree.main).ok()??;
        Some(Self {
            process,
            tree,
            scope: Scope::Recovery,
        })
    }

    /// Has it end, and waits until nothing is left of it.
    pub(super) async fn end(&self, scanner: &Scanner, hurry: &CancellationToken) {
        if let Err(error) = self.process.signal(Signal::TERM) {
            tracing::warn!("cannot end the gateway: {error}");
        }
        // Both arms are cancel-safe: they only wait.
        tokio::select! {
            _ = timeout(GRACE, self.process.exited()) => {}
            () = hurry.cancelled() => {}
        }
        self.clear_away(scanner).await;
    }

    /// Kills what is left of it.
    async fn clear_away(&self, scanner: &Scanner) {
        let tell = |obstacle| tracing::warn!("cannot end the gateway: {obstacle}");
        self.tree.kill(scanner, self.scope, tell).await;
    }
}

/// A gateway that is kept running.
#[derive(Debug)]
pub(super) struct Kept {
    stop: CancellationToken,
    hurry: CancellationToken,
    task: JoinHandle<()>,
}

impl Kept {
    /// Keeps a gateway running: at first the one that runs already, if there is one.
    pub(super) fn start(order: Order, running: Option<Running>, scanner: Scanner) -> Self {
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let keeper = Keeper {
            order,
            scanner,
            stop: stop.clone(),
            hurry: hurry.clone(),
        };
        let task = tokio::spawn(keeper.run(running));
        Self { stop, hurry, task }
    }

    /// Has it end, and waits until it is gone; each time that `impatient` is ready, with less grace.
    pub(super) async fn end(self, impatient: impl Future<Output = ()>) {
        self.stop.cancel();
        let mut task = self.task;
        // Both arms are cancel-safe: the task goes on, and a signal stays where it is.
        tokio::select! {
            _ = &mut task => return,
            () = impatient => self.hurry.cancel(),
        }
        let _ = task.await;
    }
}

struct Keeper {
    order: Order,
    scanner: Scanner,
    stop: CancellationToken,
    hurry: CancellationToken,
}

impl Keeper {
    async fn run(self, mut running: Option<Running>) {
        let mut delay = FIRST_DELAY;
        loop {
            let began = Instant::now();
            let started = match running.take() {
                Some(running) => Ok(running),
                None => self.order.start().await,
            };
            let why = match started {
                Ok(running) => match self.watch(&running).await {
                    Some(status) => ended(status),
                    None => return,
                },
                Err(error) => error.to_string(),
            };
            if began.elapsed() >= RESET_AFTER {
                delay = FIRST_DELAY;
            }
            let seconds = delay.as_secs_f64();
            tracing::warn!("the gateway {why}; it is started again in {seconds} s");
            // Both arms are cancel-safe: they only wait.
            tokio::select! {
                () = sleep(delay) => {}
                () = self.stop.cancelled() => return,
            }
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// Waits for its end. None: it was asked to end.
    async fn watch(&self, running: &Running) -> Option<ExitStatus> {
        tracing::info!("the gateway runs (pid {})", running.process.pid());
        // Both arms are cancel-safe: they only wait.
        let status = tokio::select! {
            status = running.process.exited() => Some(status),
            () = self.stop.cancelled() => None,
        };
        match status {
            Some(_) => running.clear_away(&self.scanner).await,
            None => running.end(&self.scanner, &self.hurry).await,
        }
        status
    }
}

fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with status {code}"),
        ExitStatus::Signal(number) => format!("was ended by signal {number}"),
        ExitStatus::Unknown => "ended".to_owned(),
    }
}
