//! Watching a ready server for a hang.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Incarnation, Report, Server, effect, end};
use crate::lifecycle::{Event, Exit, ExitClass, HangDetector, Liveness, LivenessRules, Look, Work};
use crate::process::probe::{self, Health, Slot};
use crate::process::sockets::{self, Socket};
use crate::process::usage;
use crate::supervisor::clock::Clock;
use crate::supervisor::context::Rules;

/// CPU time below which a server is taken to have done nothing since it was last seen idle: what our
/// own looks cost.
const NO_WORK: Duration = Duration::from_millis(20);

struct Watcher {
    live: Incarnation,
    reports: mpsc::Sender<Report>,
    rules: watch::Receiver<Rules>,
    clock: Clock,
    detector: HangDetector,
    /// Who was connected, and the CPU time, when its slots were last seen idle.
    idle: Option<(BTreeSet<Socket>, Option<Duration>)>,
    noted: bool,
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
        let health = probe::health(self.live.endpoint, rules.timeout).await;
        let (pid, port) = (self.live.process.pid(), self.live.endpoint.port());
        let seen = end::blocking(move || {
            let cpu = usage::sample(pid)?.map(|usage| usage.cpu);
            Ok((cpu, sockets::established(port)?))
        });
        let (cpu, connected) = seen.await.unwrap_or_default();
        let work = self.work(cpu, connected, rules.timeout).await;
        Look {
            answered: matches!(health, Health::Ok | Health::Loading | Health::Unexpected(_)),
            cpu,
            work,
        }
    }

    /// What its slots do. A server that may sleep is not asked, since the question would wake it, or
    /// keep it from falling asleep: not while nobody is connected, and not when nothing has happened
    /// since it was last seen idle.
    async fn work(
        &mut self,
        cpu: Option<Duration>,
        connected: BTreeSet<Socket>,
        timeout: Duration,
    ) -> Work {
        let quiet = self
            .idle
            .as_ref()
            .is_some_and(|(then, cpu_then)| connected.is_subset(then) && !used_cpu(*cpu_then, cpu));
        if connected.is_empty() || quiet {
            return Work::Idle;
        }
        match probe::props(self.live.endpoint, timeout, None).await {
            Ok(props) if props.is_sleeping => return Work::Idle,
            Ok(_) | Err(_) => {}
        }
        match probe::slots(self.live.endpoint, timeout, None).await {
            Ok(slots) => match busy(&slots) {
                tokens if tokens.is_empty() => {
                    self.idle = Some((connected, cpu));
                    Work::Idle
                }
                tokens => Work::Busy(tokens),
            },
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

fn used_cpu(before: Option<Duration>, after: Option<Duration>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => after.saturating_sub(before) > NO_WORK,
        // It cannot be told, so it is asked.
        (None, _) | (_, None) => true,
    }
}
