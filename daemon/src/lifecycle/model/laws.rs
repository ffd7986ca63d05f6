//! What must hold, whatever happens.

use std::time::Duration;

use super::world::{World, agrees, begins, finds_it_stopped, is_automatic, is_open};
use crate::lifecycle::{
    Action, Event, ExitClass, Phase, PublicState, RestartMode, State, StopReason,
};

/// A law of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    OneIncarnation,
    NumbersGrow,
    ActionsHaveAProcess,
    RestMeansGone,
    PidOfTheProcess,
    BackoffHasATimer,
    WaitsAreBounded,
    WayOut,
    OnlyGoneEndsStopping,
    LateMeansNothing,
    SuccessIsReady,
    StartsAreDue,
    BreakerHolds,
    BreakerHasAReason,
    OnlyAutomaticRestartsCount,
    StopHolds,
    DesiredIsAsked,
    NoStartIsSwallowed,
    StartIsAskedOnce,
    SupersededNeverServes,
    NeverIsNever,
    BusyStays,
    OperatorsStopIsKept,
    OnlySuccessIsExited,
    EveryEndIsTold,
    ReasonIsKnown,
    Deterministic,
    ComesHome,
}

impl Law {
    pub(crate) const ALL: [Self; 28] = [
        Self::OneIncarnation,
        Self::NumbersGrow,
        Self::ActionsHaveAProcess,
        Self::RestMeansGone,
        Self::PidOfTheProcess,
        Self::BackoffHasATimer,
        Self::WaitsAreBounded,
        Self::WayOut,
        Self::OnlyGoneEndsStopping,
        Self::LateMeansNothing,
        Self::SuccessIsReady,
        Self::StartsAreDue,
        Self::BreakerHolds,
        Self::BreakerHasAReason,
        Self::OnlyAutomaticRestartsCount,
        Self::StopHolds,
        Self::DesiredIsAsked,
        Self::NoStartIsSwallowed,
        Self::StartIsAskedOnce,
        Self::SupersededNeverServes,
        Self::NeverIsNever,
        Self::BusyStays,
        Self::OperatorsStopIsKept,
        Self::OnlySuccessIsExited,
        Self::EveryEndIsTold,
        Self::ReasonIsKnown,
        Self::Deterministic,
        Self::ComesHome,
    ];

    /// The law in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::OneIncarnation => "a process is made only when nothing is alive or being made",
            Self::NumbersGrow => "the numbers of incarnations only grow",
            Self::ActionsHaveAProcess => "no action names an incarnation without its process",
            Self::RestMeansGone => {
                "what is stopped, failed, queued or in backoff has no pid and no living tree"
            }
            Self::PidOfTheProcess => {
                "what loads, serves, drains or stops has the pid of its process"
            }
            Self::BackoffHasATimer => "backoff has a timer, on the curve of delays",
            Self::WaitsAreBounded => "no wait is longer than its key says",
            Self::WayOut => "every state has a way out",
            Self::OnlyGoneEndsStopping => "stopping ends when the tree is gone, and not before",
            Self::LateMeansNothing => "a message about what is over changes nothing",
            Self::SuccessIsReady => "only time spent ready makes the waits short again",
            Self::StartsAreDue => {
                "a start is asked for, or follows a timer or the mending of what was broken"
            }
            Self::BreakerHolds => "nothing starts by itself while the breaker is open",
            Self::BreakerHasAReason => "the breaker opens for too many failures or a failed trial",
            Self::OnlyAutomaticRestartsCount => {
                "each automatic restart is counted, and nothing else"
            }
            Self::StopHolds => "after a stop nothing is started before a start is asked for",
            Self::DesiredIsAsked => "what is desired is what was last asked for",
            Self::NoStartIsSwallowed => "a start that was asked for is tried before giving up",
            Self::StartIsAskedOnce => "a start that was asked for is not owed twice",
            Self::SupersededNeverServes => {
                "an incarnation that was to be replaced never serves again"
            }
            Self::BusyStays => "what is busy is not stopped for being idle",
            Self::OperatorsStopIsKept => "a request calls off no drain but that of an idle server",
            Self::NeverIsNever => "with the policy `never`, nothing starts unasked",
            Self::OnlySuccessIsExited => "only what ended by itself with status 0 is left `exited`",
            Self::EveryEndIsTold => "the end of every incarnation is told",
            Self::ReasonIsKnown => "the published reason is one of those of its state",
            Self::Deterministic => "the same state, event and time have the same result",
            Self::ComesHome => "if the environment behaves, a server ends where it should be",
        }
    }
}

fn require(holds: bool, law: Law) -> Result<(), Law> {
    if holds { Ok(()) } else { Err(law) }
}

/// Judges an action before it is performed.
pub(crate) fn judge_action(action: Action, world: &World) -> Result<(), Law> {
    match action {
        Action::AwaitTurn => require(world.witness.wanted, Law::StopHolds),
        Action::Spawn(incarnation) => {
            require(!world.environment.has_anything(), Law::OneIncarnation)?;
            require(incarnation > world.witness.newest, Law::NumbersGrow)?;
            require(world.witness.wanted, Law::StopHolds)
        }
        Action::AwaitReady(process)
        | Action::Watch(process)
        | Action::Drain { process, .. }
        | Action::Terminate(process)
        | Action::KillTree(process) => require(
            world.environment.process == Some(process),
            Law::ActionsHaveAProcess,
        ),
    }
}

/// Judges a change, before the witness takes note of it. `world` has the new state already.
pub(crate) fn judge_change(before: &State, event: &Event, world: &World) -> Result<(), Law> {
    judge_end(before, event, world)?;
    judge_drain(before, event, world)?;
    judge_start(before, event, world)?;
    judge_failure(before, event, world)
}

fn judge_end(before: &State, event: &Event, world: &World) -> Result<(), Law> {
    let after = &world.state;
    let was_stopping = matches!(before.phase, Phase::Stopping { .. });
    let is_stopping = matches!(after.phase, Phase::Stopping { .. });
    let gone = matches!(event, Event::Gone { .. });
    require(
        !was_stopping || is_stopping || gone,
        Law::OnlyGoneEndsStopping,
    )?;
    let ended = was_stopping && gone || matches!(event, Event::SpawnFailed { .. });
    let told = after.last_exit.as_ref().map(|last| last.incarnation);
    require(
        !ended || told == Some(world.witness.newest),
        Law::EveryEndIsTold,
    )?;
    let left_exited = after.phase == Phase::Stopped(StopReason::Exited);
    require(
        !left_exited || before.phase == after.phase || world.witness.ended_well,
        Law::OnlySuccessIsExited,
    )
}

fn judge_drain(before: &State, event: &Event, world: &World) -> Result<(), Law> {
    if !matches!(before.phase, Phase::Draining { .. }) {
        return Ok(());
    }
    let if_idle = world.environment.may_be_busy;
    let is_not_idle = if_idle && matches!(event, Event::Busy { .. } | Event::Timer);
    let serves = matches!(world.state.phase, Phase::Ready { .. });
    require(!is_not_idle || serves, Law::BusyStays)?;
    let is_kept = if_idle || *event != Event::Demand;
    require(is_kept || !serves, Law::OperatorsStopIsKept)
}

fn judge_start(before: &State, event: &Event, world: &World) -> Result<(), Law> {
    let (after, witness) = (&world.state, &world.witness);
    require(after.incarnation >= before.incarnation, Law::NumbersGrow)?;
    let automatic = is_automatic(before, event, world.now);
    let starts = begins(before, after);
    let counted = after.history.restarts() > before.history.restarts();
    require(
        counted == (starts && automatic),
        Law::OnlyAutomaticRestartsCount,
    )?;
    if !starts || is_asked(before, event) {
        return Ok(());
    }
    let never = after.policy.restart.mode == RestartMode::Never;
    require(!never || witness.owed, Law::NeverIsNever)?;
    let open_until = witness
        .opened_at
        .map(|at| at + after.policy.restart.half_open_after);
    let is_open = open_until.is_some_and(|until| until > world.now);
    require(!is_open, Law::BreakerHolds)?;
    let due = automatic || witness.owed || matches!(event, Event::Healed);
    require(due, Law::StartsAreDue)
}

fn judge_failure(before: &State, event: &Event, world: &World) -> Result<(), Law> {
    let (after, witness) = (&world.state, &world.witness);
    let policy = &after.policy.restart;
    let delay = after.history.next_delay(policy);
    let was_ready = witness
        .ready_for
        .is_some_and(|time| time >= policy.reset_after);
    let begins_anew = is_asked(before, event) || matches!(event, Event::Healed);
    require(
        delay >= before.history.next_delay(policy) || begins_anew || was_ready,
        Law::SuccessIsReady,
    )?;
    if let Phase::Backoff { until, .. } = after.phase
        && before.phase != after.phase
    {
        let earliest = match was_ready {
            true => policy.initial_delay,
            false => before.history.next_delay(policy),
        };
        let wait = until.since(world.now);
        require(
            (earliest..=earliest.mul_f64(1.1)).contains(&wait),
            Law::BackoffHasATimer,
        )?;
    }
    let many = after.history.failures(policy, world.now) >= policy.max_failures;
    require(
        !is_open(after) || is_open(before) || many || witness.on_trial,
        Law::BreakerHasAReason,
    )
}

/// Whether somebody asks for something that may start the server.
fn is_asked(before: &State, event: &Event) -> bool {
    let by_operator = matches!(
        event,
        Event::Start | Event::Restart | Event::Replace | Event::SetPolicy(_)
    );
    by_operator || *event == Event::Demand && finds_it_stopped(before)
}

/// Judges what has come of a move.
pub(crate) fn judge(world: &World) -> Result<(), Law> {
    let (state, environment, witness) = (&world.state, &world.environment, &world.witness);
    require(agrees(world), Law::DesiredIsAsked)?;
    judge_process(world)?;
    let way_out = state.is_settled()
        || state.deadline().is_some()
        || environment.turn
        || environment.spawning.is_some()
        || environment.killing;
    require(way_out, Law::WayOut)?;
    judge_wait(world)?;
    let is_underway = matches!(
        state.phase,
        Phase::Spawning { .. } | Phase::Draining { .. } | Phase::Stopping { .. }
    );
    require(is_underway || !state.start_asked, Law::StartIsAskedOnce)?;
    let gave_up = matches!(
        state.phase,
        Phase::Stopped(_) | Phase::Backoff { .. } | Phase::Failed { .. }
    );
    require(!(gave_up && witness.owed), Law::NoStartIsSwallowed)?;
    let serves = matches!(state.phase, Phase::Loading { .. } | Phase::Ready { .. });
    require(!(serves && witness.superseded), Law::SupersededNeverServes)?;
    judge_view(state)
}

fn judge_wait(world: &World) -> Result<(), Law> {
    let policy = &world.state.policy;
    let longest = match world.state.phase {
        Phase::Loading { .. } => policy.max_startup_time,
        Phase::Draining { .. } => policy.drain_timeout,
        Phase::Stopping { .. } => policy.stop_timeout,
        Phase::Backoff { .. } => policy.restart.max_delay.mul_f64(1.1),
        Phase::Failed { .. } => policy.restart.half_open_after,
        Phase::Stopped(_) | Phase::Queued { .. } | Phase::Spawning { .. } | Phase::Ready { .. } => {
            Duration::ZERO
        }
    };
    let due = world.state.deadline();
    let in_backoff = matches!(world.state.phase, Phase::Backoff { .. });
    require(!in_backoff || due.is_some(), Law::BackoffHasATimer)?;
    require(
        due.is_none_or(|due| due.since(world.now) <= longest),
        Law::WaitsAreBounded,
    )
}

fn judge_process(world: &World) -> Result<(), Law> {
    let (state, environment) = (&world.state, &world.environment);
    match &state.phase {
        Phase::Stopped(_) | Phase::Queued { .. } | Phase::Backoff { .. } | Phase::Failed { .. } => {
            require(
                state.pid().is_none() && !environment.has_anything(),
                Law::RestMeansGone,
            )
        }
        Phase::Spawning { incarnation, .. } => require(
            state.pid().is_none() && environment.spawning == Some(*incarnation),
            Law::PidOfTheProcess,
        ),
        Phase::Loading { process, .. }
        | Phase::Ready { process, .. }
        | Phase::Draining { process, .. }
        | Phase::Stopping { process, .. } => require(
            state.pid() == Some(process.pid) && environment.process == Some(*process),
            Law::PidOfTheProcess,
        ),
    }
}

fn judge_view(state: &State) -> Result<(), Law> {
    let view = state.view();
    let stopped = [
        "requested",
        "held",
        "not-autostarted",
        "removed",
        "shutdown",
        "idle",
        "evicted",
        "swapped",
    ];
    let is_failure = |reason: &str| {
        ExitClass::ALL
            .iter()
            .any(|class| *class != ExitClass::Requested && class.code() == reason)
    };
    let known = match view.state {
        PublicState::Stopped => {
            stopped.contains(&view.reason)
                || ["exited", "waiting-for-memory"].contains(&view.reason)
        }
        PublicState::Starting => [
            "waiting-for-turn",
            "making-room",
            "spawning",
            "loading",
            "unverified",
        ]
        .contains(&view.reason),
        PublicState::Ready => view.reason == "healthy",
        PublicState::Draining => {
            stopped.contains(&view.reason)
                || ["restart", "replace", "survived"].contains(&view.reason)
        }
        PublicState::Stopping => {
            stopped.contains(&view.reason)
                || ["restart", "replace", "survived", "unkillable"].contains(&view.reason)
                || is_failure(view.reason)
        }
        PublicState::Backoff | PublicState::Failed => is_failure(view.reason),
    };
    let next_try = match state.phase {
        Phase::Backoff { until, .. } => Some(until),
        Phase::Failed { retry_at, .. } => retry_at,
        Phase::Stopped(_)
        | Phase::Queued { .. }
        | Phase::Spawning { .. }
        | Phase::Loading { .. }
        | Phase::Ready { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. } => None,
    };
    let shown = view.next_try == next_try;
    require(known && shown, Law::ReasonIsKnown)
}
