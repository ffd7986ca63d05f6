//! The owner of the configuration.
//!
//! A file event, SIGHUP, an RPC and the look that is taken once a minute all end in one function,
//! `attempt`: read everything, validate everything, plan, and only then let the fleet apply it. Any
//! error before that changes nothing. Requests are served one after the other; those that wait
//! together are answered by one attempt, so the newest content wins.

mod lookup;
mod read;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use status::{ConfigState, ConfigStatus, Told};

use crate::blocking::blocking;
use crate::config::{DaemonConfig, Environment, Locations};
use crate::files::{Hints, Watch, any_changed};
use crate::plan::{Step, StepAction};
use crate::supervisor::context::{Rules, Turns};
use crate::supervisor::events::{EventLog, Happening, Kind};
use crate::supervisor::fleet::{AskError, FleetHandle, Mode, Outcome, Pending};
use crate::{logs, notify};

use read::{Content, Read};

/// Reloads that may wait.
const QUEUE: usize = 64;

/// How long files must be left alone before they are read.
const QUIET: Duration = Duration::from_millis(100);

/// How long they are waited for at the most.
const LATEST: Duration = Duration::from_secs(1);

/// How often to look at files of which no event told.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// What a configuration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Applied.
    Applied,
    /// It is what runs already.
    Unchanged,
    /// It is wrong; nothing was changed.
    Refused,
    /// It is right; nothing was changed, as asked.
    Planned,
}

/// The answer to a reload.
#[derive(Debug)]
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
    /// The profile that was read.
    pub profile: Option<String>,
    /// The servers that were touched.
    pub pending: Vec<Pending>,
}

struct Request {
    dry_run: bool,
    reply: oneshot::Sender<Result<Verdict, AskError>>,
}

/// A handle on the owner of the configuration.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<ConfigStatus>,
}

impl ReloadHandle {
    /// Reads all files and applies them, or with `dry_run` only plans.
    ///
    /// # Errors
    ///
    /// If magid ends, or too many reloads wait. Wrong files are a verdict, not an error.
    pub async fn reload(&self, dry_run: bool) -> Result<Verdict, AskError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { dry_run, reply };
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Busy {
                    what: "reloads".to_owned(),
                },
                mpsc::error::TrySendError::Closed(_) => AskError::ShuttingDown,
            })?;
        answer.await.unwrap_or(Err(AskError::ShuttingDown))
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
}

struct Reloader {
    around: Surroundings,
    status: watch::Sender<ConfigStatus>,
    /// magid.toml as it is applied.
    applied: DaemonConfig,
    /// What was last tried on account of a change: it is not tried again until it differs.
    tried: Option<Content>,
    /// Folders in which a model that is missing may turn up.
    awaited: Vec<PathBuf>,
    watches: Vec<Watch>,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// magid starts.
    Start,
    /// Somebody asked.
    Request,
    /// Somebody wants to know.
    DryRun,
    /// The files may have changed.
    Event,
}

/// Starts the owner: applies what the files say once, and then follows them.
pub async fn spawn(around: Surroundings) -> ReloadHandle {
    let (requests, inbox) = mpsc::channel(QUEUE);
    let (status, published) = watch::channel(ConfigStatus::before_the_first(&around.locations));
    let mut reloader = Reloader {
        applied: around.at_start.clone(),
        around,
        status,
        tried: None,
        awaited: Vec::new(),
        watches: Vec::new(),
    };
    reloader.watch_folders();
    // The verdict is in the status.
    let _ = reloader.attempt(Origin::Start).await;
    tokio::spawn(reloader.run(inbox));
    ReloadHandle {
        requests,
        status: published,
    }
}

impl Reloader {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut next_look = Instant::now() + LOOK_ANYWAY;
        let mut first_hint: Option<Instant> = None;
        loop {
            // Each arm is cancel-safe: a request or a hint that was not taken is still there.
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request, &mut inbox).await,
                    None => return,
                },
                () = any_changed(&mut self.watches) => {
                    let now = Instant::now();
                    let latest = *first_hint.get_or_insert(now) + LATEST;
                    next_look = (now + QUIET).min(latest);
                }
                () = tokio::time::sleep_until(next_look) => {
                    let _ = self.attempt(Origin::Event).await;
                    first_hint = None;
                    next_look = Instant::now() + LOOK_ANYWAY;
                }
            }
        }
    }

    /// Answers a request, and all of its kind that wait behind it, by one attempt.
    async fn serve(&mut self, request: Request, inbox: &mut mpsc::Receiver<Request>) {
        let mut requests = vec![request];
        while let Ok(more) = inbox.try_recv() {
            requests.push(more);
        }
        for dry_run in [true, false] {
            let (mut now, later): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|request| request.dry_run == dry_run);
            requests = later;
            let Some(last) = now.pop() else { continue };
            let origin = if dry_run {
                Origin::DryRun
            } else {
                Origin::Request
            };
            let verdict = self.attempt(origin).await;
            for joined in now {
                let shared = match &verdict {
                    Ok(verdict) => Ok(verdict.shared(self.around.fleet.transitions().await)),
                    Err(error) => Err(error.clone()),
                };
                let _ = joined.reply.send(shared);
            }
            let _ = last.reply.send(verdict);
        }
    }

    fn watch_folders(&mut self) {
        let config = &self.around.locations.config_file;
        let mut folders: Vec<PathBuf> = Vec::new();
        folders.extend(config.parent().map(PathBuf::from));
        folders.push(self.applied.profiles_dir.clone());
        folders.extend(self.awaited.iter().cloned());
        // An edit behind a symlink happens in the folder that it points to.
        for file in [config.clone(), self.profile_path()] {
            let target = std::fs::canonicalize(file).ok();
            folders.extend(target.and_then(|file| file.parent().map(PathBuf::from)));
        }
        folders.sort();
        folders.dedup();
        let hints = &self.around.hints;
        self.watches = folders.iter().map(|folder| hints.watch(folder)).collect();
    }

    fn profile_path(&self) -> PathBuf {
        let name = &self.applied.active_profile.name;
        self.applied.profiles_dir.join(format!("{name}.toml"))
    }

    /// The one way in which a configuration takes effect.
    async fn attempt(&mut self, origin: Origin) -> Result<Verdict, AskError> {
        if origin == Origin::Request {
            notify::reloading();
        }
        let read = self.read().await;
        let is_old = self.tried.as_ref() == Some(&read.content);
        if origin == Origin::Event && (is_old || !read.content.may_be_applied_by_an_event()) {
            return Ok(self.nothing_new(&read));
        }
        if origin == Origin::Event {
            notify::reloading();
        }
        let verdict = self.decide(read, origin).await;
        if origin == Origin::Request || origin == Origin::Event {
            notify::ready();
        }
        verdict
    }

    async fn read(&self) -> Read {
        let inputs = read::Inputs {
            locations: self.around.locations.clone(),
            environment: self.around.environment.clone(),
            scan_paths: self.around.scan_paths.clone(),
            last_good: self.applied.clone(),
        };
        let read = blocking(move || read::read(&inputs));
        read.await
            .unwrap_or_else(|error| Read::failed(&error.to_string()))
    }

    /// An event that brings nothing to apply: an active profile that is gone or empty is shown.
    fn nothing_new(&mut self, read: &Read) -> Verdict {
        if let Some(warning) = read.content.withheld() {
            // Whatever comes next is news, even what runs already.
            self.tried = None;
            self.status
                .send_if_modified(|status| status.warn_once(warning));
        }
        Verdict::about(read, Decision::Unchanged)
    }

    async fn decide(&mut self, read: Read, origin: Origin) -> Result<Verdict, AskError> {
        if !read.errors.is_empty() {
            let verdict = Verdict::about(&read, Decision::Refused);
            return Ok(self.refuse(read, verdict, origin));
        }
        let mode = match origin {
            Origin::Start => Mode::Start,
            Origin::Request | Origin::Event => Mode::Reload,
            Origin::DryRun => Mode::Plan,
        };
        let outcome = self
            .around
            .fleet
            .apply(read.definitions.clone(), mode)
            .await?;
        let mut verdict = Verdict::about(&read, Decision::Applied);
        verdict.needs_restart = self.needs_restart(&read);
        let missing = read.missing_models(&outcome.missing);
        if mode == Mode::Start {
            verdict.warnings.extend(missing);
        } else if !missing.is_empty() {
            verdict.decision = Decision::Refused;
            verdict.errors = missing;
            return Ok(self.refuse(read, verdict, origin));
        }
        let verdict = self.decided(verdict, outcome, &read, origin);
        if origin != Origin::DryRun {
            self.accept(read, &verdict);
        }
        Ok(verdict)
    }

    fn decided(
        &self,
        mut verdict: Verdict,
        outcome: Outcome,
        read: &Read,
        origin: Origin,
    ) -> Verdict {
        let fleet_keeps = outcome
            .steps
            .iter()
            .all(|step| step.action == StepAction::Keep);
        let same_rules = read.daemon.as_ref() == Some(&self.applied);
        verdict.steps = outcome.steps;
        verdict.pending = outcome.pending;
        verdict.decision = match origin {
            Origin::DryRun => Decision::Planned,
            Origin::Start => Decision::Applied,
            Origin::Request | Origin::Event if fleet_keeps && same_rules => Decision::Unchanged,
            Origin::Request | Origin::Event => Decision::Applied,
        };
        verdict
    }

    fn refuse(&mut self, read: Read, mut verdict: Verdict, origin: Origin) -> Verdict {
        if origin == Origin::DryRun {
            return verdict;
        }
        self.tried = Some(read.content);
        self.awaited = read.awaited;
        self.watch_folders();
        self.status.send_modify(|status| status.refused(&verdict));
        let count = verdict.errors.len();
        let first = verdict.errors.first().map_or("", |error| &error.message);
        let message = format!(
            "configuration refused with {count} {}, nothing was changed: {first}",
            if count == 1 { "error" } else { "errors" }
        );
        let event = Happening::of_daemon(Kind::ConfigRefused, "invalid-configuration", message);
        self.around.events.record(event);
        verdict.steps.clear();
        verdict
    }

    fn accept(&mut self, read: Read, verdict: &Verdict) {
        self.tried = Some(read.content);
        self.awaited = read.awaited;
        if let Some(daemon) = read.daemon {
            self.around.rules.send_modify(|rules| {
                *rules = rules_of(&daemon, Some((rules, &self.applied)));
            });
            self.applied = daemon;
            self.watch_folders();
        }
        self.status.send_modify(|status| status.applied(verdict));
        if verdict.decision == Decision::Applied {
            let message = summary(verdict);
            let event = Happening::of_daemon(Kind::ConfigApplied, "applied", message);
            self.around.events.record(event);
        }
    }

    fn needs_restart(&self, read: &Read) -> Vec<String> {
        let now = read.daemon.as_ref();
        now.map_or_else(Vec::new, |now| {
            crate::config::restart_only_differences(&self.around.at_start, now)
        })
    }
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
    }
}

fn summary(verdict: &Verdict) -> String {
    let count = |action: StepAction| {
        let steps = verdict.steps.iter();
        steps.filter(|step| step.action == action).count()
    };
    let profile = match &verdict.profile {
        Some(name) => format!("profile {name}"),
        None => "no profile".to_owned(),
    };
    format!(
        "configuration applied, {profile}: {} started, {} replaced, {} stopped, {} changed in place, {} kept",
        count(StepAction::Start),
        count(StepAction::Replace),
        count(StepAction::Stop),
        count(StepAction::Live) + count(StepAction::Define),
        count(StepAction::Keep),
    )
}

impl Verdict {
    fn about(read: &Read, decision: Decision) -> Self {
        Self {
            decision,
            steps: Vec::new(),
            errors: read.errors.clone(),
            warnings: read.warnings.clone(),
            overridden: read.overridden.clone(),
            needs_restart: Vec::new(),
            profile: read.profile.clone(),
            pending: Vec::new(),
        }
    }

    /// The verdict for somebody who joined, with what is under way to wait for.
    fn shared(&self, mut pending: Vec<Pending>) -> Self {
        for pending in &mut pending {
            let mut steps = self
                .steps
                .iter()
                .filter(|step| step.server == pending.server);
            pending.touched = steps.any(|step| step.action.touches_a_process());
        }
        Self {
            decision: self.decision,
            steps: self.steps.clone(),
            errors: self.errors.clone(),
            warnings: self.warnings.clone(),
            overridden: self.overridden.clone(),
            needs_restart: self.needs_restart.clone(),
            profile: self.profile.clone(),
            pending,
        }
    }
}
