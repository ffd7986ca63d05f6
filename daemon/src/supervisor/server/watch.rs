//! Watching a ready server for a hang.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Incarnation, Report, Server, account, effect, end};
use crate::lifecycle::{Event, Exit, ExitClass, HangDetector, Liveness, LivenessRules, Look, Work};
use crate::memory::{Account, MemoryHandle};
use crate::process::probe::{self, Health, Slot};
use crate::process::sockets;
use crate::process::usage;
use crate::supervisor::clock::Clock;
use crate::supervisor::context::Rules;

/// CPU time below which a server is taken to have done nothing since it was last seen idle: what our
/// own looks cost.
const NO_WORK: Duration = Duration::from_millis(20);

/// What can be seen of a server without asking it.
#[derive(Clone, Debug, Default)]
struct Sample {
    /// The CPU time it has used, if that can be read.
    cpu: Option<Duration>,
    /// Its sockets, among them one for each client that is connected, if they can be read.
    sockets: Option<BTreeSet<u64>>,
}

struct Watcher {
    live: Incarnation,
    reports: mpsc::Sender<Report>,
    rules: watch::Receiver<Rules>,
    clock: Clock,
    detector: HangDetector,
    /// What it was when its slots were last seen idle.
    idle: Option<Sample>,
    noted: bool,
    memory: MemoryHandle,
    account: Account,
}

impl Server {
    pub(super) fn watch(&mut self, live: Incarnation) {
        let mut watcher = Watcher {
            live,
            reports: self.reports.clone(),
            rules: self.context.rules.clone(),
            clock: self.context.clock,
            detector: HangDetector::default(),
            idle: None,
            noted: false,
            memory: self.context.memory.clone(),
            account: account(&self.seat),
        };
        self.effects.watch = effect(async move { watcher.run().await });
    }
}

impl Watcher {
    async fn run(&mut self) {
        loop {
            let rules = self.rules.borrow().liveness.clone();
            tokio::time::sleep(rules.interval).await;
            let look = self.look(&rules).await;
            let verdict = self.detector.observe(&look, &rules, self.clock.now());
            let incarnation = self.live.number;
            match verdict {
                Liveness::Alive => self.note(None).await,
                Liveness::Saturated(misses) => {
                    self.note(Some(format!(
                        "saturated: /health unanswered {misses} times in a row, but it uses CPU time"
                    )))
                    .await;
                }
                Liveness::Hung(why) => {
                    let exit = Exit::without_process(ExitClass::Hung, why).into();
                    let event = Event::Hung { incarnation, exit };
                    let _ = self.reports.send(Report::Event(event)).await;
                    return;
                }
            }
        }
    }

    async fn note(&mut self, note: Option<String>) {
        if note.is_none() && !self.noted {
            return;
        }
        self.noted = note.is_some();
        let incarnation = self.live.number;
        let _ = self.reports.send(Report::Note { incarnation, note }).await;
    }

    async fn look(&mut self, rules: &LivenessRules) -> Look {
        // Taken before the question, whose connection would look like a client's.
        let sample = self.sample().await;
        let health = probe::health(self.live.endpoint, rules.timeout).await;
        let answered = matches!(health, Health::Ok | Health::Loading | Health::Unexpected(_));
        Look {
            answered,
            cpu: sample.cpu,
            work: match answered {
                true => self.work(sample, rules.timeout).await,
                // Nobody would answer that either, and it would take as long again.
                false => Work::Unanswered,
            },
        }
    }

    async fn sample(&self) -> Sample {
        let pid = self.live.process.pid();
        let sample = end::blocking(move || {
            Ok(Sample {
                cpu: usage::cpu(pid)?,
                sockets: sockets::held_by(pid).ok().map(BTreeSet::from_iter),
            })
        });
        sample.await.unwrap_or_default()
    }

    /// Tells how much memory it has, now that it has done something.
    async fn weigh(&self) {
        let pid = self.live.process.pid();
        let usage = end::blocking(move || usage::sample(pid)).await;
        if let Ok(Some(usage)) = usage {
            self.memory.observe(&self.account, usage.resident_bytes);
        }
    }

    /// What its slots do. A server that may sleep is not asked for nothing, since the question would
    /// wake it, or keep it from falling asleep: not while nothing has happened since it was last seen
    /// idle.
    async fn work(&mut self, sample: Sample, timeout: Duration) -> Work {
        if self
            .idle
            .as_ref()
            .is_some_and(|idle| sample.shows_nothing_since(idle))
        {
            return Work::Idle;
        }
        match probe::props(self.live.endpoint, timeout, self.live.key()).await {
            Ok(props) if props.is_sleeping => return Work::Idle,
            Ok(_) | Err(_) => {}
        }
        match probe::slots(self.live.endpoint, timeout, self.live.key()).await {
            Ok(slots) => {
                self.weigh().await;
                match busy(&slots) {
                    tokens if tokens.is_empty() => {
                        self.idle = Some(sample);
                        Work::Idle
                    }
                    tokens => Work::Busy(tokens),
                }
            }
            Err(_) => Work::Unanswered,
        }
    }
}

fn busy(slots: &[Slot]) -> Vec<(u64, u64)> {
    let processing = slots.iter().filter(|slot| slot.is_processing);
    processing
        .map(|slot| (slot.n_decoded, slot.n_prompt_tokens_processed))
        .collect()
}

impl Sample {
    /// Whether nobody has connected and no work has been done since `idle`. What cannot be read might
    /// show anything.
    fn shows_nothing_since(&self, idle: &Self) -> bool {
        let no_work = match (idle.cpu, self.cpu) {
            (Some(before), Some(after)) => after.saturating_sub(before) <= NO_WORK,
            (None, _) | (_, None) => false,
        };
        let nobody_new = match (&idle.sockets, &self.sockets) {
            (Some(before), Some(after)) => after.is_subset(before),
            (None, _) | (_, None) => false,
        };
        no_work && nobody_new
    }
}
