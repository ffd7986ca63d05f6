//! From a reason to look to what is applied: the one way in which a configuration takes effect.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::watch;

use super::change::{Begun, registry_config};
use super::history::summary;
use super::owner::Reloader;
use super::read::{self, Choice, Inputs, Instead, Read};
use super::{Answer, Conclusion, Decision, ReloadError, Target, Told, Verdict};
use crate::blocking::blocking;
use crate::generations::Cause;
use crate::name::ServerName;
use crate::notify;
use crate::plan::Definition;
use crate::supervisor::fleet::{AskError, Mode, Stops};
use crate::supervisor::server::inputs;

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
    pub(super) fn of_files(origin: Origin) -> Self {
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

impl Reloader {
    /// The one way in which a configuration takes effect.
    pub(super) async fn attempt(&mut self, attempt: &Attempt) -> Answer {
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
        let is_elsewhere = self.look_ahead(&read);
        if (asked || is_elsewhere) && read.misses_a_model() && self.registry.rescan().await.is_ok()
        {
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

    /// Has models looked for also where magid.toml says by now: it may not be applied without those that are
    /// there. Gives whether that is anywhere else.
    fn look_ahead(&self, read: &Read) -> bool {
        // The folders of the command line stay what they are.
        let Some(daemon) = read.daemon.as_ref().filter(|_| self.scan_paths.is_empty()) else {
            return false;
        };
        let mut config = registry_config(&self.applied);
        let new = daemon.scan_paths.iter();
        let new = new.filter(|path| !self.applied.scan_paths.contains(path));
        config.scan_paths.extend(new.cloned());
        let is_elsewhere = config.scan_paths.len() > self.applied.scan_paths.len();
        self.registry.configure(config);
        is_elsewhere
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

    pub(super) async fn read(&self, target: &Target, instead: Option<Instead>) -> Read {
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

    pub(super) async fn decide(&mut self, mut read: Read, attempt: &Attempt) -> Answer {
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
        // A server that magid started without its model is told of as often as somebody asks.
        let still_missing = read.missing_models(&read.models_that_are_missing());
        verdict.warnings.extend(still_missing);
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

    fn needs_restart(&self, read: &Read) -> Vec<String> {
        let now = read.daemon.as_ref();
        now.map_or_else(Vec::new, |now| {
            crate::config::restart_only_differences(&self.at_start, now)
        })
    }

    /// Says which variable may undo an activation.
    fn warning_of_variable(&self, read: &Read, attempt: &Attempt) -> Option<Told> {
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
        Some(Told::new(&warning, &[]))
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

fn needs(read: &Read) -> BTreeMap<ServerName, u64> {
    let needs = read.definitions.iter();
    needs
        .filter_map(|(name, definition)| Some((name.clone(), definition.need.as_ref()?.ram)))
        .collect()
}

/// How it is told where something is that was only in a file.
fn kept(path: &Path) -> Told {
    let message = format!(
        "what was in the file is in no generation; it is kept in {}",
        path.display()
    );
    let help = "take from it what is still wanted; the newest 20 such files are kept";
    Told::new(&crate::config::Diagnostic::warning(message, help), &[])
}

/// How a change is told of that could not be written down.
fn unrecorded(error: &ReloadError) -> Told {
    let help = "free some space or mend the permissions; then `magictl reload`";
    let warning = crate::config::Diagnostic::warning(error.to_string(), help);
    Told::new(&warning, &[])
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
