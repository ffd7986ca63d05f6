//! The task: what makes it look, and what it does about what it sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::change::{Applied, Begun, InFlight};
use super::history::summary;
use super::read::{self, Choice, Content, Inputs, Instead, Read};
use super::{
    Answer, Conclusion, ConfigStatus, Decision, Order, QUEUE, ReloadError, ReloadHandle, Request,
    Surroundings, Target, Verdict,
};
use crate::blocking::blocking;
use crate::config::{DaemonConfig, Environment, Locations};
use crate::files::{Hints, Watch, any_changed};
use crate::generations::{Activation, Cause, Digest, Store, Veto};
use crate::memory::MemoryHandle;
use crate::name::ServerName;
use crate::notify;
use crate::plan::Definition;
use crate::registry::{RegistryHandle, Snapshot};
use crate::supervisor::context::Rules;
use crate::supervisor::events::{EventLog, Happening, Kind};
use crate::supervisor::fleet::{AskError, FleetHandle, Mode, Stops};
use crate::supervisor::server::inputs;

/// How long files must be left alone before they are read.
const QUIET: Duration = Duration::from_millis(100);

/// How long they are waited for at the most.
const LATEST: Duration = Duration::from_secs(1);

/// How often to look at files of which no event told.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// How long magid's start waits for the first scan, if nothing is known of the models yet. What is found
/// later is an event.
const FIRST_SCAN: Duration = Duration::from_secs(10);

pub(super) struct Reloader {
    locations: Locations,
    environment: Environment,
    scan_paths: Vec<PathBuf>,
    at_start: DaemonConfig,
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

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// magid starts.
    Start,
    /// Somebody asked.
    Request,
    /// Somebody wants to know.
    DryRun,
    /// The files or the models may have changed.
    Event,
}

/// What is attempted, and why.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) target: Target,
    pub(super) origin: Origin,
}

impl Attempt {
    fn of_files(origin: Origin) -> Self {
        Self {
            target: Target::Files,
            origin,
        }
    }

    fn stops(&self) -> Stops {
        match self.target {
            Target::Profile(_) => Stops::Forgotten,
            Target::Files | Target::Generation(_) => Stops::Kept,
        }
    }

    /// What a generation that comes of it says it was made for.
    pub(super) fn cause(&self) -> Cause {
        match (&self.target, self.origin) {
            (Target::Profile(_), _) => Cause::Activate,
            (Target::Generation(to), _) => Cause::Rollback { to: *to },
            (Target::Files, Origin::Start) => Cause::Start,
            (Target::Files, Origin::Event) => Cause::Edit,
            (Target::Files, Origin::Request | Origin::DryRun) => Cause::Reload,
        }
    }
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
        self.watches = folders.iter().map(|f| self.hints.watch(f)).collect();
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
    fn activation(&self) -> Option<Activation> {
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
        if self.registry.snapshot().scanned_at.is_none() {
            let _ = tokio::time::timeout(FIRST_SCAN, self.registry.scanned()).await;
        }
        let files = Attempt::of_files(Origin::Start);
        let read = self.read(&files.target, None).await;
        let digest = Digest::of(&read.content.files);
        let store = self.store.as_ref();
        let veto = store.and_then(|store| store.vetoed(&digest)).cloned();
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
    fn remembered_veto(&self, content: &Content) -> Option<Veto> {
        let veto = self.store.as_ref()?.vetoed(&Digest::of(&content.files))?;
        let vetoed = self.vetoed.as_ref();
        let same = vetoed.filter(|vetoed| vetoed.files == content.files);
        let is_mended = same.is_some_and(|vetoed| !vetoed.stands_on_the_same_as(content));
        (!is_mended).then(|| veto.clone())
    }

    /// Leaves what is in force as it is, although the files say something else.
    fn leave_vetoed(&mut self, read: Read, veto: &Veto) -> Verdict {
        let verdict = Verdict::about(&read, Decision::Unchanged);
        self.tried = Some(read.content);
        self.await_models(read.awaited);
        self.status
            .send_modify(|status| status.vetoed_before(veto, &verdict));
        verdict
    }

    /// The one way in which a configuration takes effect.
    async fn attempt(&mut self, attempt: &Attempt) -> Answer {
        let is_request = attempt.origin == Origin::Request;
        if is_request {
            notify::reloading();
        }
        let answer = self.read_and_decide(attempt).await;
        if is_request {
            notify::ready();
        }
        answer
    }

    async fn read_and_decide(&mut self, attempt: &Attempt) -> Answer {
        check_name(&attempt.target)?;
        let instead = self.instead(&attempt.target).await?;
        let mut read = self.read(&attempt.target, instead.clone()).await;
        let asked = match attempt.origin {
            Origin::Request | Origin::DryRun => true,
            Origin::Start | Origin::Event => false,
        };
        if let Target::Profile(name) = &attempt.target
            && read.content.files.profile.is_none()
            && read.errors.is_empty()
        {
            let name = name.clone();
            return Err(ReloadError::NoSuchProfile { name });
        }
        if asked && read.misses_a_model() && self.registry.rescan().await.is_ok() {
            read = self.read(&attempt.target, instead).await;
        }
        if attempt.origin == Origin::Event {
            let is_old = self.tried.as_ref() == Some(&read.content);
            let is_withheld = read.errors.is_empty() && !read.content.may_be_applied_by_an_event();
            if is_old || is_withheld {
                return Ok(self.nothing_new(&read));
            }
            if read.errors.is_empty()
                && let Some(veto) = self.remembered_veto(&read.content)
            {
                return Ok(self.leave_vetoed(read, &veto));
            }
            notify::reloading();
        }
        let answer = self.decide(read, attempt).await;
        if attempt.origin == Origin::Event {
            notify::ready();
        }
        answer
    }

    /// The texts of a former generation, if they are what is to be applied.
    async fn instead(&mut self, target: &Target) -> Result<Option<Instead>, ReloadError> {
        let number = match target {
            Target::Files | Target::Profile(_) => return Ok(None),
            Target::Generation(number) => *number,
        };
        let generation = self.with_store(move |store| store.get(number)).await??;
        if generation.content.profile.is_none() {
            return Err(ReloadError::Generation {
                is_broken: false,
                message: format!(
                    "cannot go back to generation {number}: no profile was active then"
                ),
            });
        }
        Ok(Some(Instead {
            content: generation.content,
            with_daemon: false,
        }))
    }

    async fn read(&self, target: &Target, instead: Option<Instead>) -> Read {
        let choice = match target {
            Target::Files | Target::Generation(_) => Choice::Active(self.activation()),
            Target::Profile(name) => Choice::Activate(name.clone()),
        };
        let inputs = self.inputs(choice, instead);
        let read = blocking(move || read::read(&inputs));
        read.await
            .unwrap_or_else(|error| Read::failed(&error.to_string()))
    }

    /// What reading starts from.
    pub(super) fn inputs(&self, choice: Choice, instead: Option<Instead>) -> Inputs {
        Inputs {
            locations: self.locations.clone(),
            environment: self.environment.clone(),
            scan_paths: self.scan_paths.clone(),
            last_good: self.applied.clone(),
            models: self.registry.snapshot(),
            choice,
            instead,
        }
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

    async fn decide(&mut self, mut read: Read, attempt: &Attempt) -> Answer {
        if !read.errors.is_empty() {
            let verdict = Verdict::about(&read, Decision::Refused);
            return Ok(self.refuse(read, verdict, attempt));
        }
        self.leave_out_what_is_away(&mut read, attempt).await?;
        if let Some(verdict) = self.join(&read, attempt) {
            return Ok(verdict);
        }
        let mut verdict = Verdict::about(&read, Decision::Planned);
        verdict.needs_restart = self.needs_restart(&read);
        verdict
            .warnings
            .extend(self.warning_of_variable(&read, attempt));
        verdict.differing_keys = self.differing_keys(attempt).await;
        self.weigh(&mut read.definitions).await;
        verdict.needs = needs(&read);
        let definitions = read.definitions.clone();
        if attempt.origin == Origin::Start {
            let outcome = self
                .fleet
                .apply(definitions, Mode::Start, Stops::Kept)
                .await?;
            verdict
                .warnings
                .extend(read.missing_models(&outcome.missing));
            verdict.steps = outcome.steps;
            let begun = Begun::default();
            return Ok(self
                .begin(read, verdict, outcome.pending, attempt, begun)
                .await);
        }
        let stops = attempt.stops();
        let plan = self
            .fleet
            .apply(definitions.clone(), Mode::Plan, stops)
            .await?;
        let missing = read.missing_models(&plan.missing);
        if !missing.is_empty() {
            verdict.decision = Decision::Refused;
            verdict.errors = missing;
            return Ok(self.refuse(read, verdict, attempt));
        }
        verdict.steps = plan.steps;
        if attempt.origin == Origin::DryRun {
            return Ok(verdict);
        }
        let begun = match self.write_down(&read, attempt, summary(&verdict)).await {
            Ok(begun) => begun,
            Err(error) => {
                self.status
                    .send_if_modified(|status| status.warn_once(unrecorded(&error)));
                return Err(error);
            }
        };
        if let Some(daemon) = &read.daemon {
            // What is started next is told by the new budget whether it fits.
            self.memory.configure(daemon.memory.clone());
        }
        verdict.warnings.extend(begun.kept.as_deref().map(kept));
        let outcome = match self.fleet.apply(definitions, Mode::Reload, stops).await {
            Ok(outcome) if outcome.missing.is_empty() => outcome,
            Ok(outcome) => {
                self.call_off(begun).await;
                verdict.decision = Decision::Refused;
                verdict.errors = read.missing_models(&outcome.missing);
                return Ok(self.refuse(read, verdict, attempt));
            }
            Err(error) => {
                self.call_off(begun).await;
                return Err(error.into());
            }
        };
        verdict.steps = outcome.steps;
        Ok(self
            .begin(read, verdict, outcome.pending, attempt, begun)
            .await)
    }

    /// Takes the servers out that a `[[select]]` would make of models whose disk is not mounted, but for
    /// those that there are: whoever activates a profile cannot do anything about the others.
    async fn leave_out_what_is_away(
        &self,
        read: &mut Read,
        attempt: &Attempt,
    ) -> Result<(), AskError> {
        if attempt.origin == Origin::Start || !read.selects_what_is_away() {
            return Ok(());
        }
        let definitions = read.definitions.clone();
        let plan = self
            .fleet
            .apply(definitions, Mode::Plan, Stops::Kept)
            .await?;
        for (server, _) in plan.missing {
            if read.selected.contains(&server) {
                read.definitions.remove(&server);
            }
        }
        Ok(())
    }

    /// Adds to each definition what it needs of memory, as far as that can be told at once.
    async fn weigh(&self, definitions: &mut BTreeMap<ServerName, Definition>) {
        let inputs = definitions.values().map(inputs).collect();
        let needs = self.memory.needs(inputs).await;
        for (definition, need) in definitions.values_mut().zip(needs) {
            definition.need = Some(need);
        }
    }

    /// The verdict on the change that is in flight, for somebody who asks for the same.
    fn join(&self, read: &Read, attempt: &Attempt) -> Option<Verdict> {
        let change = self.in_flight.as_ref()?;
        let asks = match attempt.origin {
            Origin::Request => true,
            Origin::Start | Origin::DryRun | Origin::Event => false,
        };
        (asks && change.is_same_as(read)).then(|| change.verdict.clone())
    }

    fn refuse(&mut self, read: Read, mut verdict: Verdict, attempt: &Attempt) -> Verdict {
        verdict.steps.clear();
        // What was not in force and will not be changes nothing about the files.
        if attempt.origin == Origin::DryRun || attempt.target != Target::Files {
            return verdict;
        }
        self.tried = Some(read.content);
        self.await_models(read.awaited);
        self.tell_refused(&verdict);
        verdict
    }

    fn tell_refused(&mut self, verdict: &Verdict) {
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

    fn needs_restart(&self, read: &Read) -> Vec<String> {
        let now = read.daemon.as_ref();
        now.map_or_else(Vec::new, |now| {
            crate::config::restart_only_differences(&self.at_start, now)
        })
    }

    /// Says which variable may undo an activation.
    fn warning_of_variable(&self, read: &Read, attempt: &Attempt) -> Option<super::Told> {
        use crate::config::{ChosenBy, Diagnostic};
        let asked = &read.daemon.as_ref().unwrap_or(&self.applied).active_profile;
        let ChosenBy::Variable(variable) = asked.chosen_by else {
            return None;
        };
        let active = read.profile.as_ref()?;
        if attempt.target == Target::Files || *active == asked.name {
            return None;
        }
        let message = format!("the variable {variable} says {}, not {active}", asked.name);
        let help = format!(
            "{active} stays active until {variable} says something else again; unset it, so that it cannot"
        );
        let warning = Diagnostic::warning(message, help);
        Some(super::Told::new(&warning, &[]))
    }
}

/// What is no name leads to no file, wherever it points.
fn check_name(target: &Target) -> Result<(), ReloadError> {
    match target {
        Target::Profile(name) if ServerName::new(name).is_err() => {
            let name = name.clone();
            Err(ReloadError::NoSuchProfile { name })
        }
        Target::Files | Target::Profile(_) | Target::Generation(_) => Ok(()),
    }
}

/// Waits for something that is a reason to look. Cancel-safe.
async fn hint(watches: &mut [Watch], models: &mut watch::Receiver<Arc<Snapshot>>) {
    tokio::select! {
        () = any_changed(watches) => {}
        Ok(()) = models.changed() => {}
    }
}

fn needs(read: &Read) -> BTreeMap<ServerName, u64> {
    let needs = read.definitions.iter();
    needs
        .filter_map(|(name, definition)| Some((name.clone(), definition.need.as_ref()?.ram)))
        .collect()
}

/// How it is told where something is that was only in a file.
fn kept(path: &Path) -> super::Told {
    let message = format!(
        "what was in the file is in no generation; it is kept in {}",
        path.display()
    );
    let help = "take from it what is still wanted; the newest 20 such files are kept";
    super::Told::new(&crate::config::Diagnostic::warning(message, help), &[])
}

/// How a change is told of that could not be written down.
fn unrecorded(error: &ReloadError) -> super::Told {
    let help = "free some space or mend the permissions; then `magictl reload`";
    let warning = crate::config::Diagnostic::warning(error.to_string(), help);
    super::Told::new(&warning, &[])
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
            needs: BTreeMap::new(),
            profile: read.profile.clone(),
            differing_keys: Vec::new(),
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

/// A use of the store that did not come to an end is the end of it.
pub(super) fn lost() -> AskError {
    AskError::ShuttingDown
}
