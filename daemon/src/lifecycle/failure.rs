//! What follows a failure.

use std::sync::Arc;
use std::time::Duration;

use super::exit::{Exit, Prospect};
use super::history::Judgement;
use super::policy::RestartMode;
use super::state::{Desired, FailedCause, Phase, StopReason};
use super::step::Step;
use crate::moment::Moment;

impl Step {
    /// Decides what follows a failure, once nothing of the incarnation is left.
    pub(super) fn after_failure(&mut self, exit: Arc<Exit>, ready_for: Option<Duration>) {
        if let Desired::Stopped(reason) = self.state.desired {
            self.state.phase = Phase::Stopped(reason);
            return;
        }
        if self.state.start_asked {
            self.queue();
            return;
        }
        match self.state.policy.restart.mode {
            RestartMode::Always => {}
            RestartMode::OnFailure | RestartMode::Never if exit.is_success() => {
                self.state.phase = Phase::Stopped(StopReason::Exited);
                return;
            }
            RestartMode::OnFailure => {}
            RestartMode::Never => {
                self.fail(exit, FailedCause::Policy, None);
                return;
            }
        }
        let half_open = self.now + self.state.policy.restart.half_open_after;
        match exit.prospect {
            Prospect::Permanent => self.fail(exit, FailedCause::Prospect, None),
            Prospect::Blocked => self.fail(exit, FailedCause::Prospect, Some(half_open)),
            Prospect::Transient => {
                let policy = &self.state.policy.restart;
                match self.state.history.note_failure(policy, ready_for, self.now) {
                    Judgement::GiveUp(count) => {
                        self.fail(exit, FailedCause::TooMany(count), Some(half_open));
                    }
                    Judgement::Retry(wait) => {
                        self.state.phase = Phase::Backoff {
                            until: self.now + wait,
                            exit,
                        };
                    }
                }
            }
        }
    }

    pub(super) fn fail(&mut self, exit: Arc<Exit>, cause: FailedCause, retry_at: Option<Moment>) {
        self.state.phase = Phase::Failed {
            exit,
            cause,
            retry_at,
        };
    }
}
