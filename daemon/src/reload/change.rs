//! A change that was applied and has yet to prove itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use super::attempt::{Attempt, Origin};
use super::history::summary;
use super::owner::Reloader;
use super::read::{Content, Read};
use super::{Conclusion, Decision, Target, Verdict, lookup, rules_of};
use crate::config::{DaemonConfig, OnFailure};
use crate::generations::{self, Activation, Cause};
use crate::name::ServerName;
use crate::plan::{Definition, Difference, Step, StepAction, compare};
use crate::registry::RegistryConfig;
use crate::supervisor::events::{Happening, Kind};
use crate::supervisor::fleet::{self, AskError, Mode, Pending, Stops, Veto};

/// How long until a fleet that is too busy to be taken back is asked again.
const NEXT_TRY: Duration = Duration::from_millis(100);

/// Something to wait for, by whoever comes to it.
type Settled = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A configuration that is, or was, in force.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    daemon: DaemonConfig,
    definitions: BTreeMap<ServerName, Definition>,
    profile: Option<String>,
}

/// What was written down before a change touched any process.
#[derive(Default)]
pub(super) struct Begun {
    /// The generation that it will be. Absent if its texts are those of the one in force.
    pub(super) pending: Option<generations::Pending>,
    /// The file that it wrote.
    pub(super) undo: Option<Undo>,
    /// Where that is kept which was in the file, and in no generation.
    pub(super) kept: Option<PathBuf>,
}

/// A file that a rollback wrote, and what was in it before.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) path: PathBuf,
    pub(super) written: String,
    /// Absent if there was no file.
    pub(super) former: Option<Vec<u8>>,
}

/// A change that has yet to prove itself.
pub(super) struct InFlight {
    pub(super) content: Content,
    pub(super) verdict: Verdict,
    pub(super) cause: Cause,
    /// Whether it is what the files say, rather than what somebody activated or went back to.
    pub(super) is_of_files: bool,
    pub(super) pending: Option<generations::Pending>,
    /// Which profile is active if it holds.
    pub(super) activation: Option<Activation>,
    undo: Option<Undo>,
    applied: Applied,
    /// Ends when all servers that should get ready have settled.
    settled: Settled,
    conclusion: watch::Sender<Option<Conclusion>>,
}

impl InFlight {
    /// Whether it is what was read: the same texts, and nothing that a server would be replaced for.
    pub(super) fn is_same_as(&self, read: &Read) -> bool {
        let mine = &self.applied.definitions;
        self.content.files == read.content.files
            && mine.keys().eq(read.definitions.keys())
            && mine.iter().all(|(name, definition)| {
                let other = read.definitions.get(name);
                other.is_some_and(|other| compare(definition, other, None) == Difference::None)
            })
    }

    /// Waits until all servers that should get ready have settled. Cancel-safe: what has settled is not
    /// waited for again.
    pub(super) async fn settled(&mut self) {
        (&mut self.settled).await;
    }
}

impl Reloader {
    /// Takes a configuration that the fleet has begun to apply, and concludes it at once if there is
    /// nothing to wait for.
    pub(super) async fn begin(
        &mut self,
        read: Read,
        mut verdict: Verdict,
        pending: Vec<Pending>,
        attempt: &Attempt,
        begun: Begun,
    ) -> Verdict {
        verdict.decision = self.decision(&read, &verdict, attempt.origin);
        let cause = self.cause(&read, attempt);
        self.tried = Some(read.content.clone());
        if let Some(daemon) = read.daemon {
            self.take_rules(daemon);
        }
        let applied = Applied {
            daemon: self.applied.clone(),
            definitions: read.definitions,
            profile: verdict.profile.clone(),
        };
        let mut is_of_files = attempt.target == Target::Files;
        let mut undo = begun.undo;
        let mut waits = verdict.steps.iter().any(|step| must_get_ready(step.action));
        let mut settled = all_settled(pending, &verdict);
        let mut conclusion = watch::Sender::new(None);
        if let Some(old) = self.in_flight.take() {
            // Whoever waits for the change that this one takes over from is answered by this one, and
            // what that one touched is waited for. What it would have been was displaced.
            conclusion = old.conclusion;
            settled = both(old.settled, settled);
            waits = true;
            if old.content.files == read.content.files {
                // The same texts, with models that came or changed: what it goes back to is as it was.
                is_of_files &= old.is_of_files;
                undo = undo.or(old.undo);
            }
        }
        let verdict = verdict.pending(&conclusion);
        self.in_flight = Some(InFlight {
            content: read.content,
            verdict: verdict.clone(),
            cause,
            is_of_files,
            pending: begun.pending,
            activation: read.activation,
            undo,
            applied,
            settled,
            conclusion,
        });
        self.await_models(read.awaited);
        self.status.send_modify(|status| status.applied(&verdict));
        if attempt.origin == Origin::Start || !waits {
            self.conclude().await;
        }
        verdict
    }

    /// What a generation that comes of it says it was made for: the same as what is in flight, if that has
    /// the same texts.
    pub(super) fn cause(&self, read: &Read, attempt: &Attempt) -> Cause {
        let in_flight = self.in_flight.as_ref();
        let same = in_flight.filter(|change| change.content.files == read.content.files);
        same.map_or_else(|| attempt.cause(), |change| change.cause)
    }

    fn decision(&self, read: &Read, verdict: &Verdict, origin: Origin) -> Decision {
        let mut steps = verdict.steps.iter();
        let fleet_keeps = steps.all(|step| step.action == StepAction::Keep);
        let same_rules = read.daemon.as_ref() == Some(&self.applied);
        match origin {
            Origin::DryRun => Decision::Planned,
            Origin::Start => Decision::Applied,
            Origin::Request | Origin::Event if fleet_keeps && same_rules => Decision::Unchanged,
            Origin::Request | Origin::Event => Decision::Applied,
        }
    }

    fn take_rules(&mut self, daemon: DaemonConfig) {
        self.rules.send_modify(|rules| {
            *rules = rules_of(&daemon, Some((rules, &self.applied)));
        });
        self.memory.configure(daemon.memory.clone());
        self.registry.configure(registry_config(&daemon));
        let engine = lookup::program(&daemon.llama_server.path, self.search_path());
        self.status.send_modify(|status| status.engine = engine);
        self.applied = daemon;
    }

    /// Judges the change in flight, now that all that it touched has settled.
    pub(super) async fn conclude(&mut self) {
        let may_veto = self.proven.is_some()
            && match self.applied.on_failure {
                OnFailure::Rollback => true,
                OnFailure::Keep => false,
            };
        let judged = self.fleet.conclude(may_veto).await;
        let (Some(mut change), Ok(judged)) = (self.in_flight.take(), judged) else {
            // magid ends: whoever waits is told so.
            return;
        };
        let conclusion = match judged {
            fleet::Conclusion::NotYet(pending) => {
                return self.conclude_after(change, all_done(pending));
            }
            fleet::Conclusion::Holds => {
                self.hold(&mut change).await;
                self.proven = Some(change.applied);
                Conclusion::Holds
            }
            fleet::Conclusion::Vetoed(vetoes) => match self.take_back(&mut change, &vetoes).await {
                Ok(()) => Conclusion::Vetoed(vetoes),
                Err(AskError::Busy { .. }) => {
                    return self.conclude_after(change, tokio::time::sleep(NEXT_TRY));
                }
                Err(
                    AskError::ShuttingDown
                    | AskError::NoSuchServer { .. }
                    | AskError::GenerationChanged { .. },
                ) => return,
            },
        };
        change.conclusion.send_replace(Some(conclusion));
    }

    fn conclude_after(
        &mut self,
        mut change: InFlight,
        settled: impl Future<Output = ()> + Send + Sync + 'static,
    ) {
        change.settled = Box::pin(settled);
        self.in_flight = Some(change);
    }

    async fn hold(&mut self, change: &mut InFlight) {
        let summary = summary(&change.verdict);
        if change.verdict.decision == Decision::Applied {
            let profile = match &change.verdict.profile {
                Some(name) => format!("profile {name}"),
                None => "no profile".to_owned(),
            };
            let message = format!("configuration applied, {profile}: {summary}");
            let event = Happening::of_daemon(Kind::ConfigApplied, "applied", message);
            self.events.record(event);
            change.verdict.steps.iter().for_each(log);
        }
        self.record(change, summary).await;
    }

    /// Goes back to what was in force before: the same way, in the other direction.
    async fn take_back(&mut self, change: &mut InFlight, vetoes: &[Veto]) -> Result<(), AskError> {
        let Some(proven) = self.proven.clone() else {
            return Ok(());
        };
        let definitions = proven.definitions.clone();
        self.fleet
            .apply(definitions, Mode::Rollback, Stops::Kept)
            .await?;
        let message = format!(
            "configuration taken back: {}",
            vetoes.iter().map(sentence).collect::<Vec<_>>().join("; ")
        );
        let event = Happening::of_daemon(Kind::ConfigVetoed, "vetoed", message);
        self.events.record(event);
        self.take_rules(proven.daemon);
        self.forget_change(change, vetoes).await;
        if !change.is_of_files {
            // The files that were in force still are, or are again.
            self.undo(change.undo.take()).await;
            self.tried = None;
        }
        self.status
            .send_modify(|status| status.profile = proven.profile);
        // What the files say by now may have been refused after this change was begun.
        if self.tried.as_ref() == Some(&change.content) {
            self.status.send_modify(|status| status.vetoed(vetoes));
        }
        self.vetoed = Some(change.content.clone());
        Ok(())
    }
}

/// What the registry is told of a magid.toml.
pub(super) fn registry_config(daemon: &DaemonConfig) -> RegistryConfig {
    RegistryConfig {
        scan_paths: daemon.scan_paths.clone(),
        file: daemon.registry.clone(),
        tiers: daemon.tiers,
    }
}

/// Has the journal say what became of a server and why, whoever had the files read: `ctx_size: 4096 -> 8192`.
fn log(step: &Step) {
    let reasons = step.reasons.join(", ");
    match step.action {
        StepAction::Keep | StepAction::Start => {}
        StepAction::Define | StepAction::Live | StepAction::Replace | StepAction::Stop => {
            tracing::info!(server = %step.server, "{}: {reasons}", step.server);
        }
    }
}

/// Why one server had a change taken back, in one line.
fn sentence(veto: &Veto) -> String {
    let Veto {
        server,
        reason,
        detail,
        exit: _,
    } = veto;
    match detail.is_empty() {
        true => format!("{server} did not get ready: {reason}"),
        false => format!("{server} did not get ready: {reason} ({detail})"),
    }
}

/// Whether a step is expected to end with a server that is ready.
fn must_get_ready(action: StepAction) -> bool {
    match action {
        StepAction::Start | StepAction::Replace => true,
        StepAction::Keep | StepAction::Live | StepAction::Stop | StepAction::Define => false,
    }
}

/// Waits for the servers that should get ready. Those that are stopped for good are not waited for: their
/// drain has nothing to do with whether the change holds.
fn all_settled(pending: Vec<Pending>, verdict: &Verdict) -> Settled {
    let steps = verdict.steps.iter();
    let waited: Vec<ServerName> = steps
        .filter(|step| must_get_ready(step.action))
        .map(|step| step.server.clone())
        .collect();
    let pending = pending.into_iter();
    let pending = pending.filter(|pending| waited.contains(&pending.server));
    Box::pin(all_done(pending.collect()))
}

fn both(first: Settled, second: Settled) -> Settled {
    Box::pin(async move {
        first.await;
        second.await;
    })
}

async fn all_done(pending: Vec<Pending>) {
    for pending in pending {
        // The sender is dropped when it is done; nothing is ever sent.
        let _ = pending.done.await;
    }
}
