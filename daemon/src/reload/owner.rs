//! The task: what makes it look, and what it does about what it sees.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::change::{Applied, InFlight};
use super::read::{self, Content, Read};
use super::{
    Conclusion, ConfigStatus, Decision, QUEUE, ReloadHandle, Request, Surroundings, Verdict,
};
use crate::blocking::blocking;
use crate::config::DaemonConfig;
use crate::files::{Watch, any_changed};
use crate::notify;
use crate::supervisor::events::{Happening, Kind};
use crate::supervisor::fleet::{AskError, Mode};

/// How long files must be left alone before they are read.
const QUIET: Duration = Duration::from_millis(100);

/// How long they are waited for at the most.
const LATEST: Duration = Duration::from_secs(1);

/// How often to look at files of which no event told.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

pub(super) struct Reloader {
    pub(super) around: Surroundings,
    pub(super) status: watch::Sender<ConfigStatus>,
    /// magid.toml as it is applied.
    pub(super) applied: DaemonConfig,
    /// The change that has yet to prove itself.
    pub(super) in_flight: Option<InFlight>,
    /// What is gone back to if it does not.
    pub(super) proven: Option<Applied>,
    /// What was last tried on account of a change: it is not tried again until it differs.
    pub(super) tried: Option<Content>,
    /// Folders in which a model that is missing may turn up.
    awaited: Vec<PathBuf>,
    watches: Vec<Watch>,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
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
        in_flight: None,
        proven: None,
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
            let settled = async {
                match &mut self.in_flight {
                    Some(change) => change.settled().await,
                    None => std::future::pending().await,
                }
            };
            // Each arm is cancel-safe: a request or a hint that was not taken is still there, and what
            // has settled stays so.
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
                () = settled => self.conclude().await,
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
            let (now, later): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|request| request.dry_run == dry_run);
            requests = later;
            if now.is_empty() {
                continue;
            }
            let origin = if dry_run {
                Origin::DryRun
            } else {
                Origin::Request
            };
            let verdict = self.attempt(origin).await;
            for request in now {
                let _ = request.reply.send(verdict.clone());
            }
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
        if let Some(verdict) = self.join(&read, origin) {
            return Ok(verdict);
        }
        let mode = match origin {
            Origin::Start => Mode::Start,
            Origin::Request | Origin::Event => Mode::Reload,
            Origin::DryRun => Mode::Plan,
        };
        let definitions = read.definitions.clone();
        let outcome = self.around.fleet.apply(definitions, mode).await?;
        let mut verdict = Verdict::about(&read, Decision::Planned);
        verdict.needs_restart = self.needs_restart(&read);
        let missing = read.missing_models(&outcome.missing);
        if mode == Mode::Start {
            verdict.warnings.extend(missing);
        } else if !missing.is_empty() {
            verdict.decision = Decision::Refused;
            verdict.errors = missing;
            return Ok(self.refuse(read, verdict, origin));
        }
        verdict.steps = outcome.steps;
        if origin == Origin::DryRun {
            return Ok(verdict);
        }
        Ok(self.begin(read, verdict, outcome.pending, origin).await)
    }

    /// The verdict on the change that is in flight, for somebody who asks for the same.
    fn join(&self, read: &Read, origin: Origin) -> Option<Verdict> {
        let change = self.in_flight.as_ref()?;
        let asks = match origin {
            Origin::Request => true,
            Origin::Start | Origin::DryRun | Origin::Event => false,
        };
        (asks && change.content == read.content).then(|| change.verdict.clone())
    }

    fn refuse(&mut self, read: Read, mut verdict: Verdict, origin: Origin) -> Verdict {
        if origin == Origin::DryRun {
            return verdict;
        }
        self.tried = Some(read.content);
        self.await_models(read.awaited);
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

    pub(super) fn await_models(&mut self, folders: Vec<PathBuf>) {
        self.awaited = folders;
        self.watch_folders();
    }

    fn needs_restart(&self, read: &Read) -> Vec<String> {
        let now = read.daemon.as_ref();
        now.map_or_else(Vec::new, |now| {
            crate::config::restart_only_differences(&self.around.at_start, now)
        })
    }
}

impl Verdict {
    pub(super) fn about(read: &Read, decision: Decision) -> Self {
        Self {
            decision,
            steps: Vec::new(),
            errors: read.errors.clone(),
            warnings: read.warnings.clone(),
            overridden: read.overridden.clone(),
            needs_restart: Vec::new(),
            profile: read.profile.clone(),
            conclusion: None,
        }
    }

    /// The same with a place to learn what becomes of it.
    pub(super) fn pending(&self, conclusion: &watch::Sender<Option<Conclusion>>) -> Self {
        Self {
            conclusion: Some(conclusion.subscribe()),
            ..self.clone()
        }
    }
}
