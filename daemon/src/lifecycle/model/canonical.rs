//! What makes two worlds the same: that the same things follow from them.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Environment, World};
use crate::lifecycle::{
    Desired, Ending, Exit, FailedCause, Phase, Policy, Prospect, RestartMode, Rung, StopCause, Wait,
};
use crate::moment::Moment;

/// A world without what nothing follows from: numbers of incarnations, texts, and times beyond those
/// that anything is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    wanted: bool,
    phase: PhaseKey,
    mode: u8,
    start_asked: bool,
    on_demand: bool,
    failures: Vec<(u8, bool)>,
    next_delay: u8,
    trial: bool,
    environment: Environment,
    owed: bool,
    superseded: bool,
    ended_well: bool,
    on_trial: bool,
    ready: (Option<u8>, Option<bool>),
    open_for: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PhaseKey {
    Stopped(bool),
    Queued(WaitKey),
    Spawning(bool),
    Loading(u8, bool),
    Ready(u8),
    Draining(u8, u8, CauseKey),
    Stopping(Option<u8>, EndingKey, Option<bool>, bool),
    Backoff(u8, ExitKey),
    Failed(u8, ExitKey, Option<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WaitKey {
    Turn,
    Room,
    Memory,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum EndingKey {
    Asked(CauseKey),
    Failing(ExitKey),
    Ended(ExitKey),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CauseKey {
    Stop,
    StopIfIdle,
    Renew,
    Survived,
}

/// Whether it is a success, and what it promises.
type ExitKey = (bool, u8);

impl Key {
    pub(crate) fn of(world: &World) -> Self {
        let (state, now) = (&world.state, world.now);
        let policy = &state.policy;
        let (failures, trial) = state.history.essence(&policy.restart, now);
        let witness = &world.witness;
        let reset_after = policy.restart.reset_after;
        Self {
            wanted: matches!(state.desired, Desired::Running),
            phase: phase_key(&state.phase, policy, now),
            mode: match policy.restart.mode {
                RestartMode::Always => 0,
                RestartMode::OnFailure => 1,
                RestartMode::Never => 2,
            },
            start_asked: state.start_asked,
            on_demand: state.on_demand,
            failures: failures
                .into_iter()
                .map(|(age, sticky)| (seconds(age), sticky))
                .collect(),
            next_delay: seconds(state.history.next_delay(&policy.restart)),
            trial,
            environment: Environment {
                spawning: world.environment.spawning.map(|_| 0),
                process: world
                    .environment
                    .process
                    .map(|process| crate::lifecycle::Process {
                        incarnation: 0,
                        ..process
                    }),
                ..world.environment
            },
            owed: witness.owed,
            superseded: witness.superseded,
            ended_well: witness.ended_well,
            on_trial: witness.on_trial,
            ready: (
                witness
                    .ready_since
                    .map(|since| age(since, now, reset_after)),
                witness.ready_for.map(|time| time >= reset_after),
            ),
            open_for: witness
                .opened_at
                .map(|at| age(at, now, policy.restart.half_open_after)),
        }
    }
}

fn phase_key(phase: &Phase, policy: &Policy, now: Moment) -> PhaseKey {
    let reset_after = policy.restart.reset_after;
    match phase {
        Phase::Stopped(reason) => {
            PhaseKey::Stopped(*reason == crate::lifecycle::StopReason::Exited)
        }
        Phase::Queued { wait } => PhaseKey::Queued(match wait {
            Wait::Turn => WaitKey::Turn,
            Wait::Room(_) => WaitKey::Room,
            Wait::Memory(_) => WaitKey::Memory,
        }),
        Phase::Spawning { given_up, .. } => PhaseKey::Spawning(*given_up),
        Phase::Loading {
            progress_at,
            obstacle,
            ..
        } => PhaseKey::Loading(
            age(*progress_at, now, policy.max_startup_time),
            obstacle.is_some(),
        ),
        Phase::Ready { since, .. } => PhaseKey::Ready(age(*since, now, reset_after)),
        Phase::Draining {
            ready_since,
            until,
            cause,
            ..
        } => PhaseKey::Draining(
            age(*ready_since, now, reset_after),
            left(*until, now),
            cause_key(*cause),
        ),
        Phase::Stopping {
            rung,
            ending,
            ready_for,
            obstacle,
            ..
        } => PhaseKey::Stopping(
            match rung {
                Rung::Terminate { until } => Some(left(*until, now)),
                Rung::Kill => None,
            },
            match ending {
                Ending::Asked(cause) => EndingKey::Asked(cause_key(*cause)),
                Ending::Failing(exit) => EndingKey::Failing(exit_key(exit)),
                Ending::Ended(exit) => EndingKey::Ended(exit_key(exit)),
            },
            ready_for.map(|time| time >= reset_after),
            obstacle.is_some(),
        ),
        Phase::Backoff { until, exit } => PhaseKey::Backoff(left(*until, now), exit_key(exit)),
        Phase::Failed {
            exit,
            cause,
            retry_at,
        } => PhaseKey::Failed(
            match cause {
                FailedCause::Prospect => 0,
                FailedCause::TooMany(_) => 1,
                FailedCause::Policy => 2,
            },
            exit_key(exit),
            retry_at.map(|due| left(due, now)),
        ),
    }
}

fn cause_key(cause: StopCause) -> CauseKey {
    match cause {
        StopCause::Stop(reason) if reason.is_only_if_idle() => CauseKey::StopIfIdle,
        StopCause::Stop(_) => CauseKey::Stop,
        StopCause::Restart | StopCause::Replace => CauseKey::Renew,
        StopCause::Survived => CauseKey::Survived,
    }
}

fn exit_key(exit: &Arc<Exit>) -> ExitKey {
    let prospect = match exit.prospect {
        Prospect::Transient => 0,
        Prospect::Blocked => 1,
        Prospect::Permanent => 2,
    };
    (exit.is_success(), prospect)
}

/// The time since `at`, as far as it matters. The world's clock shows whole seconds.
fn age(at: Moment, now: Moment, longest: Duration) -> u8 {
    seconds(now.since(at).min(longest))
}

/// The time until `due`. What is due between two seconds is due at the later one.
fn left(due: Moment, now: Moment) -> u8 {
    let left = due.since(now);
    seconds(left).saturating_add(u8::from(left.subsec_nanos() > 0))
}

/// The model's times are short.
fn seconds(time: Duration) -> u8 {
    u8::try_from(time.as_secs()).unwrap_or(u8::MAX)
}
