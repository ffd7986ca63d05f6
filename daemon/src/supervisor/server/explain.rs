//! Everything that is known of a server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Server;
use crate::lifecycle::{Desired, StopReason};
use crate::process::Tree;

/// What `magictl explain` tells beyond the published row.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The command line of the running incarnation, else of the next one.
    pub command_line: Vec<String>,
    /// What the profile adds to its environment.
    pub env: BTreeMap<String, String>,
    /// Whether it should run.
    pub should_run: bool,
    /// Who decided that.
    pub because: &'static str,
    /// Failures that count towards the breaker.
    pub failures: u32,
    /// How long the next automatic restart would wait.
    pub next_delay: Duration,
    /// When it will be stopped if no request comes. Absent if it will not.
    pub idle_stop_at: Option<Timestamp>,
    /// The output of its newest incarnation.
    pub log: Option<PathBuf>,
    /// Its process tree.
    pub tree: Option<Tree>,
}

impl Server {
    pub(super) fn explain(&self) -> Explanation {
        let (should_run, because) = match self.state.desired {
            Desired::Running if self.state.on_demand => (true, "request"),
            Desired::Running if self.definition.autostart => (true, "profile"),
            Desired::Running => (true, "operator"),
            Desired::Stopped(StopReason::Requested | StopReason::Held) => (false, "operator"),
            Desired::Stopped(StopReason::NotAutostarted) => (false, "not-autostarted"),
            Desired::Stopped(StopReason::Removed) => (false, "profile"),
            Desired::Stopped(StopReason::Shutdown) => (false, "shutdown"),
            Desired::Stopped(StopReason::Exited) => (false, "exited"),
            Desired::Stopped(StopReason::Replaced) => (false, "replaced"),
            Desired::Stopped(StopReason::Idle) => (false, "idle"),
            Desired::Stopped(StopReason::Evicted) => (false, "evicted"),
            Desired::Stopped(StopReason::Swapped) => (false, "swapped"),
        };
        let restart = &self.state.policy.restart;
        Explanation {
            command_line: self.shown_command_line(),
            env: self.definition.launch.env.clone(),
            should_run,
            because,
            failures: self
                .state
                .history
                .failures(restart, self.context.clock.now()),
            next_delay: self.state.history.next_delay(restart),
            idle_stop_at: self.idle_stop_at().map(|at| self.context.clock.wall(at)),
            log: self.newest_log(),
            tree: self.incarnation.as_ref().map(|live| live.tree.clone()),
        }
    }

    fn shown_command_line(&self) -> Vec<String> {
        let launch = &self.definition.launch;
        let (program, arguments) = match &self.incarnation {
            Some(live) if !live.arguments.is_empty() => (&live.program, live.arguments.clone()),
            Some(_) | None => {
                let model = launch.model.file.clone();
                let model = model.unwrap_or_else(|_| PathBuf::from(&launch.model.written));
                let port = launch.port.or(self.record.port);
                let port = port.unwrap_or(*self.context.rules.borrow().port_range.start());
                let name = &self.definition.name;
                (&launch.engine, launch.command_line(name, &model, port))
            }
        };
        let mut line = vec![program.display().to_string()];
        line.extend(arguments);
        line
    }

    fn newest_log(&self) -> Option<PathBuf> {
        let logs = self.context.rules.borrow().logs.clone();
        let number = self.state.incarnation;
        (number > 0).then(|| logs.path(&self.definition.name, number))
    }
}
