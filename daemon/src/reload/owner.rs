//! The task: what makes it look, and what it does about what it sees.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::attempt::{Attempt, Origin};
use super::change::{Applied, InFlight};
use super::read::{self, Content, Instead, Read};
use super::{
    Answer, ConfigStatus, Decision, Order, QUEUE, ReloadHandle, Request, Surroundings, Target,
    Verdict,
};
use crate::config::{DaemonConfig, Environment, Locations};
use crate::files::{Hints, Watch, any_changed, take_over};
use crate::generations::{Activation, Digest, Store, Veto};
use crate::memory::MemoryHandle;
use crate::registry::{RegistryHandle, Snapshot};
use crate::supervisor::context::Rules;
use crate::supervisor::events::{EventLog, Happening, Kind};
use crate::supervisor::fleet::{AskError, FleetHandle};

/// How long files must be left alone before they are read.
const QUIET: Duration = Duration::from_millis(100);

/// How long they are waited for at the most.
const LATEST: Duration = Duration::from_secs(1);

/// How often to look at files of which no event told.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// How long magid's start waits for the first scan, if it is not enough what was known of the models when an
/// earlier one ended. What is found later is an event.
const FIRST_SCAN: Duration = Duration::from_secs(10);

pub(super) struct Reloader {
    pub(super) locations: Locations,
    pub(super) environment: Environment,
    pub(super) scan_paths: Vec<PathBuf>,
    pub(super) at_start: DaemonConfig,
    hints: Hints,
    pub(super) fleet: FleetHandle,
    pub(super) rules: watch::Sender<Rules>,
    pub(super) events: EventLog,
    pub(super) registry: RegistryHandle,
    pub(super) memory: MemoryHandle,
    /// Absent while it is used, and after a use of it that did not come to an end.
    pub(super) store: Option<Store>,
    pub(super) status: watch::Sender<ConfigStatus>,
    /// magid.toml as it is applied.
    pub(super) applied: DaemonConfig,
    /// The change that has yet to prove itself.
    pub(super) in_flight: Option<InFlight>,
    /// What is gone back to if it does not.
    pub(super) proven: Option<Applied>,
    /// What was last tried on account of a change: it is not tried again until it differs.
    pub(super) tried: Option<Content>,
    /// What was last vetoed.
    pub(super) vetoed: Option<Content>,
    /// What was activated, and could not be written down.
    pub(super) unstored: Option<Activation>,
    models: watch::Receiver<Arc<Snapshot>>,
    /// Folders outside the scan paths in which a model that is missing may turn up.
    awaited: Vec<PathBuf>,
    watches: Vec<Watch>,
}

/// Starts the owner: applies what the files say once, and then follows them.
pub async fn spawn(around: Surroundings) -> ReloadHandle {
    let (requests, inbox) = mpsc::channel(QUEUE);
    let (status, published) = watch::channel(ConfigStatus::before_the_first(&around.locations));
    let mut reloader = Reloader {
        applied: around.at_start.clone(),
        models: around.registry.subscribe(),
        locations: around.locations,
        environment: around.environment,
        scan_paths: around.scan_paths,
        at_start: around.at_start,
        hints: around.hints,
        fleet: around.fleet,
        rules: around.rules,
        events: around.events,
        registry: around.registry,
        memory: around.memory,
        store: Some(around.store),
        status,
        in_flight: None,
        proven: None,
        tried: None,
        vetoed: None,
        unstored: None,
        awaited: Vec::new(),
        watches: Vec::new(),
    };
    reloader.watch_folders();
    reloader.start().await;
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
                () = hint(&mut self.watches, &mut self.models) => {
                    let now = Instant::now();
                    let latest = *first_hint.get_or_insert(now) + LATEST;
                    next_look = (now + QUIET).min(latest);
                }
                () = settled => self.conclude().await,
                () = tokio::time::sleep_until(next_look) => {
                    self.look().await;
                    first_hint = None;
                    next_look = Instant::now() + LOOK_ANYWAY;
                }
            }
        }
    }

    async fn serve(&mut self, request: Request, inbox: &mut mpsc::Receiver<Request>) {
        match request {
            Request::Apply(order, reply) => {
                // Those that wait for the same are answered by one attempt.
                let mut replies = vec![reply];
                let mut next = None;
                while let Ok(more) = inbox.try_recv() {
                    match more {
                        Request::Apply(same, reply) if same == order => replies.push(reply),
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                let answer = self.order(order).await;
                for reply in replies {
                    let _ = reply.send(answer.clone());
                }
                if let Some(next) = next {
                    Box::pin(self.serve(next, inbox)).await;
                }
            }
            Request::Store(work) => {
                let _ = self.with_store(work).await;
            }
            Request::Profiles(request) => self.profiles(request).await,
        }
    }

    async fn order(&mut self, order: Order) -> Answer {
        let current = self.generation();
        if let Some(expected) = order.expected_generation
            && Some(expected) != current
        {
            return Err(AskError::GenerationChanged { expected, current }.into());
        }
        let attempt = Attempt {
            target: order.target,
            origin: match order.dry_run {
                true => Origin::DryRun,
                false => Origin::Request,
            },
        };
        self.attempt(&attempt).await
    }

    /// What an event is a reason for.
    async fn look(&mut self) {
        // What comes of it is in the status.
        let _ = self.attempt(&Attempt::of_files(Origin::Event)).await;
    }

    fn watch_folders(&mut self) {
        let config = &self.locations.config_file;
        let mut folders: Vec<PathBuf> = Vec::new();
        folders.extend(config.parent().map(PathBuf::from));
        folders.push(self.applied.profiles_dir.clone());
        folders.extend(self.awaited.iter().cloned());
        // An edit behind a symlink happens in the folder that it points to.
        let profile = self.profile_name();
        for file in [config.clone(), read::profile_path(&self.applied, &profile)] {
            let target = std::fs::canonicalize(file).ok();
            folders.extend(target.and_then(|file| file.parent().map(PathBuf::from)));
        }
        folders.sort();
        folders.dedup();
        let watches = folders.iter().map(|f| self.hints.watch(f)).collect();
        let former = std::mem::replace(&mut self.watches, watches);
        take_over(&mut self.watches, &former);
    }

    /// Where programs are looked for.
    pub(super) fn search_path(&self) -> Option<&str> {
        self.environment.get("PATH")
    }

    fn profile_name(&self) -> String {
        match self.activation() {
            Some(activation) => activation.profile,
            None => self.applied.active_profile.name.clone(),
        }
    }

    /// Which profile is active, or is about to be.
    pub(super) fn activation(&self) -> Option<Activation> {
        let in_flight = self.in_flight.as_ref();
        let in_flight = in_flight.and_then(|change| change.activation.clone());
        let stored = || self.store.as_ref()?.activation().cloned();
        let newest = in_flight.or_else(|| self.unstored.clone());
        newest.or_else(stored)
    }

    /// The first attempt. If the files are of no use, what was in force when magid ended is in force
    /// again.
    async fn start(&mut self) {
        self.forget_interrupted().await;
        let files = Attempt::of_files(Origin::Start);
        // Asked before the read: a scan that ends in the middle of it is not in what was read.
        let is_unscanned = self.registry.snapshot().scanned_at.is_none();
        let mut read = self.read(&files.target, None).await;
        let veto = self.stored_veto(&read);
        let is_of_use = read.errors.is_empty() && veto.is_none();
        // What an earlier magid knew of the models may not be enough for what is applied now, whichever that is.
        if is_unscanned || !is_of_use || read.misses_a_model() {
            let _ = tokio::time::timeout(FIRST_SCAN, self.registry.scanned()).await;
            read = self.read(&files.target, None).await;
        }
        let veto = self.stored_veto(&read);
        let is_of_use = read.errors.is_empty() && veto.is_none();
        let former = match is_of_use {
            true => None,
            false => self.former(veto.is_some()).await,
        };
        let Some(former) = former else {
            let _ = self.decide(read, &files).await;
            return;
        };
        let _ = self.decide(former, &files).await;
        match veto {
            Some(veto) => {
                self.vetoed = Some(read.content.clone());
                let _ = self.leave_vetoed(read, &veto);
            }
            None => {
                self.tried = Some(read.content.clone());
                self.tell_refused(&Verdict::about(&read, Decision::Refused));
            }
        }
    }

    /// Whether an earlier magid had this content vetoed.
    fn stored_veto(&self, read: &Read) -> Option<Veto> {
        let digest = Digest::of(&read.content.files);
        self.store.as_ref()?.vetoed(&digest).cloned()
    }

    /// What was in force last when an earlier magid ended, of that which can be used.
    async fn former(&mut self, with_daemon: bool) -> Option<Read> {
        let numbers = self.with_store(|store| {
            let numbers = store.list().map(|header| header.number);
            numbers.collect::<Vec<_>>()
        });
        for number in numbers.await.ok()? {
            let generation = self.with_store(move |store| store.get(number)).await.ok()?;
            let Ok(generation) = generation else {
                continue;
            };
            let instead = Instead {
                content: generation.content,
                with_daemon,
            };
            let mut read = self.read(&Target::Files, Some(instead)).await;
            if read.errors.is_empty() {
                // It serves in place of what was chosen, which stays chosen.
                read.activation = None;
                return Some(read);
            }
        }
        None
    }

    /// Why content that is news to us is not to be tried by itself. What it stands on, binaries and models,
    /// may have changed since it was vetoed: then it is.
    pub(super) fn remembered_veto(&self, content: &Content) -> Option<Veto> {
        let veto = self.store.as_ref()?.vetoed(&Digest::of(&content.files))?;
        let vetoed = self.vetoed.as_ref();
        let same = vetoed.filter(|vetoed| vetoed.files == content.files);
        let is_mended = same.is_some_and(|vetoed| !vetoed.stands_on_the_same_as(content));
        (!is_mended).then(|| veto.clone())
    }

    /// Leaves what is in force as it is, although the files say something else.
    pub(super) fn leave_vetoed(&mut self, read: Read, veto: &Veto) -> Verdict {
        let verdict = Verdict::about(&read, Decision::Unchanged);
        self.tried = Some(read.content);
        self.await_models(read.awaited);
        self.status
            .send_modify(|status| status.vetoed_before(veto, &verdict));
        verdict
    }

    pub(super) fn tell_refused(&mut self, verdict: &Verdict) {
        self.status.send_modify(|status| status.refused(verdict));
        let count = verdict.errors.len();
        let first = verdict.errors.first().map_or("", |error| &error.message);
        let message = format!(
            "configuration refused with {count} {}, nothing was changed: {first}",
            if count == 1 { "error" } else { "errors" }
        );
        let event = Happening::of_daemon(Kind::ConfigRefused, "invalid-configuration", message);
        self.events.record(event);
    }

    pub(super) fn await_models(&mut self, folders: Vec<PathBuf>) {
        self.awaited = folders;
        self.watch_folders();
    }
}

/// Waits for something that is a reason to look. Cancel-safe.
async fn hint(watches: &mut [Watch], models: &mut watch::Receiver<Arc<Snapshot>>) {
    tokio::select! {
        () = any_changed(watches) => {}
        Ok(()) = models.changed() => {}
    }
}
