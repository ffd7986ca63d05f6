//! Waiting until a starting server is ready.

use std::time::Duration;

use tokio::time::Instant;

use super::{Incarnation, Report, Server, effect, end};
use crate::lifecycle::Event;
use crate::process::probe::{self, Health};
use crate::process::sockets::{self, Verification};
use crate::process::usage::{self, Usage};
use tokio::sync::mpsc;

/// The time between the first looks.
const FIRST_INTERVAL: Duration = Duration::from_millis(25);

/// Looks become rarer as time goes by: the next one follows after this part of the time so far, so
/// that being late costs at most that part of the load.
const PART_OF_ELAPSED: u32 = 10;

/// How long an answer may take. A server that loads answers at once; one that is stuck costs nothing
/// more than this.
const TIMEOUT: Duration = Duration::from_secs(2);

struct Watcher {
    live: Incarnation,
    reports: mpsc::Sender<Report>,
    interval: Duration,
    model_size: u64,
    seen: Option<(Usage, u64, Instant)>,
    percent: Option<u8>,
}

impl Server {
    pub(super) fn await_ready(&mut self, live: Incarnation) {
        let mut watcher = Watcher {
            model_size: std::fs::metadata(&live.model).map_or(0, |meta| meta.len()),
            live,
            reports: self.reports.clone(),
            interval: self.context.rules.borrow().readiness_check_interval,
            seen: None,
            percent: None,
        };
        self.effects.readiness = effect(async move { watcher.run().await });
    }
}

impl Watcher {
    async fn run(&mut self) {
        let begin = Instant::now();
        loop {
            if self.look().await {
                return;
            }
            let shortest = FIRST_INTERVAL.min(self.interval);
            let pause = (begin.elapsed() / PART_OF_ELAPSED).clamp(shortest, self.interval);
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once. True: it is ready, and there is nothing more to wait for.
    async fn look(&mut self) -> bool {
        let incarnation = self.live.number;
        match probe::health(self.live.endpoint, TIMEOUT).await {
            Health::Ok => match self.verify().await {
                None => {
                    self.tell(Event::Healthy { incarnation }).await;
                    true
                }
                Some(obstacle) => {
                    let obstacle = obstacle.into();
                    self.tell(Event::NotYet {
                        incarnation,
                        obstacle,
                    })
                    .await;
                    false
                }
            },
            Health::Loading | Health::Refused | Health::TimedOut | Health::Unexpected(_) => {
                self.measure().await;
                false
            }
        }
    }

    /// Why the answer cannot be taken for the incarnation's own. None: it is.
    async fn verify(&self) -> Option<String> {
        let (address, tree) = (self.live.endpoint, self.live.tree.clone());
        let verified =
            end::blocking(move || Ok(sockets::verify(address.ip(), address.port(), &tree))).await;
        match verified {
            Ok(Verification::Own) => None,
            Ok(Verification::Nobody) => Some(format!("nothing listens on {address} any more")),
            Ok(Verification::Stranger(holder)) => {
                Some(format!("{address} is answered by {holder}"))
            }
            Ok(Verification::Unverified { why }) => Some(why),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Tells of progress, if there was any since the last look.
    async fn measure(&mut self) {
        let (pid, log) = (self.live.process.pid(), self.live.log.clone());
        let sample = end::blocking(move || {
            let written = std::fs::metadata(&log).map_or(0, |meta| meta.len());
            let usage = usage::sample(pid)?;
            Ok((usage.ok_or(std::io::ErrorKind::NotFound)?, written))
        });
        let Ok((usage, written)) = sample.await else {
            return;
        };
        let now = Instant::now();
        self.tell_percent(&usage).await;
        let Some((before, written_before, at)) = &self.seen else {
            self.seen = Some((usage, written, now));
            return;
        };
        if written > *written_before || usage.progressed_since(before, now - *at) {
            self.seen = Some((usage, written, now));
            let incarnation = self.live.number;
            self.tell(Event::Progress { incarnation }).await;
        }
    }

    async fn tell_percent(&mut self, usage: &Usage) {
        if self.model_size == 0 {
            return;
        }
        let loaded = usage.resident_file_bytes.max(usage.read_bytes);
        let percent = (loaded.saturating_mul(100) / self.model_size).min(99);
        let percent = u8::try_from(percent).unwrap_or(99);
        if self.percent.is_none_or(|told| percent > told) {
            self.percent = Some(percent);
            let report = Report::Loaded {
                incarnation: self.live.number,
                percent,
            };
            let _ = self.reports.send(report).await;
        }
    }

    async fn tell(&self, event: Event) {
        let _ = self.reports.send(Report::Event(event)).await;
    }
}
