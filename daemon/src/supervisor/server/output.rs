//! What is done with the output of an incarnation while it is written: its size is kept in bounds,
//! and its lines go to the journal, if there is one.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Incarnation, Report, Server, effect, end};
use crate::files::{Hints, Watch};
use crate::logs::journal::{self, Throttle};
use crate::logs::{Follower, cap};
use crate::name::ServerName;
use crate::supervisor::clock::Clock;
use crate::supervisor::context::Rules;

/// The shortest time between two looks at a file that grows.
const PACE: Duration = Duration::from_millis(200);

/// Pieces of output that are read for the journal in one look; what is beyond them waits, or is
/// passed over once it is too much.
const PIECES: usize = 8;

/// What of an incarnation's output is no longer there, or never came where it was to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Bytes that were given back to the disk, about.
    bytes: u64,
    /// Lines that the journal was spared.
    lines: u64,
}

impl Dropped {
    /// What is worth telling of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.bytes > 0 {
            let mebibytes = self.bytes as f64 / f64::from(1 << 20);
            notes.push(format!(
                "{mebibytes:.1} MiB of its oldest output were given back to the disk (logs.max_size)"
            ));
        }
        if self.lines > 0 {
            notes.push(format!(
                "{} lines of output were kept from the journal",
                self.lines
            ));
        }
        notes
    }
}

struct Output {
    server: ServerName,
    incarnation: u64,
    path: PathBuf,
    /// Absent if nobody reads the lines.
    follower: Option<Follower>,
    throttle: Throttle,
    dropped: Dropped,
    told: Dropped,
    clock: Clock,
    rules: watch::Receiver<Rules>,
    reports: mpsc::Sender<Report>,
}

impl Server {
    pub(super) fn follow_output(&mut self, live: &Incarnation) {
        let server = self.definition.name.clone();
        let folder = self.context.rules.borrow().logs.folder_of(&server);
        let follower = self.context.journal.then(|| Follower::at_start(&live.log));
        let mut output = Output {
            server,
            incarnation: live.number,
            path: live.log.clone(),
            follower: follower.and_then(Result::ok),
            throttle: Throttle::default(),
            dropped: Dropped::default(),
            told: Dropped::default(),
            clock: self.context.clock,
            rules: self.context.rules.clone(),
            reports: self.reports.clone(),
        };
        let hints: Hints = self.context.hints.clone();
        self.effects.output = effect(async move {
            let mut changes: Watch = hints.watch(&folder);
            loop {
                output.look().await;
                tokio::time::sleep(PACE).await;
                changes.changed().await;
            }
        });
    }
}

impl Output {
    async fn look(&mut self) {
        let (path, limit) = (self.path.clone(), self.rules.borrow().log_size);
        match end::blocking(move || cap::enforce(&path, limit)).await {
            Ok(bytes) => self.dropped.bytes += bytes,
            Err(error) => {
                tracing::debug!(server = %self.server, "cannot keep the log in bounds: {error}");
            }
        }
        for _ in 0..PIECES {
            let Some(mut follower) = self.follower.take() else {
                break;
            };
            let read = end::blocking(move || Ok((follower.read()?, follower))).await;
            let Ok((fresh, follower)) = read else {
                break;
            };
            self.follower = Some(follower);
            for line in &fresh.lines {
                if self.throttle.admits(self.clock.now()) {
                    journal::forward(&self.server, self.incarnation, line);
                }
            }
            if fresh.at_end {
                break;
            }
        }
        self.tell_drops().await;
    }

    async fn tell_drops(&mut self) {
        self.dropped.lines = self.throttle.dropped();
        if self.dropped != self.told {
            self.told = self.dropped;
            let report = Report::Dropped {
                incarnation: self.incarnation,
                dropped: self.dropped,
            };
            let _ = self.reports.send(report).await;
        }
    }
}
