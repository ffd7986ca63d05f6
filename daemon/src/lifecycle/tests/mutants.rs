//! Transition functions that are wrong in one way each, to show that each law can be broken, and what
//! is told of it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::lifecycle::model::explore::{Counterexample, explore, roots, short_times};
use crate::lifecycle::model::laws::Law;
use crate::lifecycle::model::world::StepFn;
use crate::moment::Moment;

type Stepped = (State, Vec<Action>);

/// The counterexample that the model finds against a transition function.
fn found(step: StepFn) -> Counterexample {
    explore(step, &roots(&short_times())).expect_err("no law was broken")
}

fn ask_to_run(state: &mut State, actions: &mut Vec<Action>) {
    state.phase = Phase::Queued { wait: Wait::Turn };
    actions.push(Action::AwaitTurn);
}

fn spawns_twice(state: &State, event: Event, now: Moment) -> Stepped {
    let (state, mut actions) = step(state, event, now);
    if let [Action::Spawn(number)] = actions[..] {
        actions.push(Action::Spawn(number + 1));
    }
    (state, actions)
}

fn uses_a_number_again(state: &State, event: Event, now: Moment) -> Stepped {
    let mut state = state.clone();
    let event = match event {
        Event::Turn(number) if matches!(state.phase, Phase::Queued { .. }) => {
            state.incarnation = state.incarnation.saturating_sub(1);
            Event::Turn(number - 1)
        }
        other => other,
    };
    step(&state, event, now)
}

fn signals_what_is_gone(state: &State, event: Event, now: Moment) -> Stepped {
    let (next, mut actions) = step(state, event, now);
    if let Phase::Stopping { process, .. } = &state.phase
        && !matches!(next.phase, Phase::Stopping { .. })
    {
        actions.push(Action::Terminate(*process));
    }
    (next, actions)
}

fn rests_before_the_tree_is_gone(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event.clone(), now);
    if matches!(event, Event::Exited { .. }) && matches!(state.phase, Phase::Loading { .. }) {
        next.phase = Phase::Stopped(StopReason::Requested);
    }
    (next, actions)
}

fn shows_another_pid(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Ready { process, .. } = &mut next.phase {
        process.pid = 77;
    }
    (next, actions)
}

fn forgets_the_timer_of_backoff(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Backoff { until, .. } = &mut next.phase {
        *until = now + Duration::from_secs(1_000_000);
    }
    (next, actions)
}

fn drains_for_an_hour(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Draining { until, .. } = &mut next.phase {
        *until = now + Duration::from_secs(3_600);
    }
    (next, actions)
}

fn forgets_to_await_its_turn(state: &State, event: Event, now: Moment) -> Stepped {
    let (next, mut actions) = step(state, event, now);
    actions.retain(|action| *action != Action::AwaitTurn);
    (next, actions)
}

fn gives_up_on_what_does_not_die(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event.clone(), now);
    if matches!(event, Event::Stuck { .. }) && next != *state {
        next.phase = Phase::Stopped(StopReason::Requested);
    }
    (next, actions)
}

fn believes_any_health(state: &State, event: Event, now: Moment) -> Stepped {
    let event = match event {
        Event::Healthy { .. } => Event::Healthy {
            incarnation: state.incarnation,
        },
        other => other,
    };
    step(state, event, now)
}

fn takes_a_spawn_for_a_success(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if matches!(next.phase, Phase::Loading { .. }) {
        next.history = History::new(1);
    }
    (next, actions)
}

fn restarts_without_a_wait(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, mut actions) = step(state, event, now);
    if matches!(next.phase, Phase::Backoff { .. }) {
        ask_to_run(&mut next, &mut actions);
    }
    (next, actions)
}

fn tries_again_at_once_when_the_breaker_opens(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Failed {
        cause: FailedCause::TooMany(_),
        retry_at,
        ..
    } = &mut next.phase
    {
        *retry_at = Some(now);
    }
    (next, actions)
}

fn opens_the_breaker_at_the_first_failure(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Backoff { until, exit } = next.phase.clone() {
        next.phase = Phase::Failed {
            exit,
            cause: FailedCause::TooMany(1),
            retry_at: Some(until),
        };
    }
    (next, actions)
}

fn counts_a_requested_start(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event.clone(), now);
    if event == Event::Start {
        next.history.note_restart();
    }
    (next, actions)
}

fn starts_on_a_stop(state: &State, event: Event, now: Moment) -> Stepped {
    let (next, mut actions) = step(state, event.clone(), now);
    if matches!(event, Event::Stop(_)) {
        actions.push(Action::AwaitTurn);
    }
    (next, actions)
}

fn is_deaf_while_it_spawns(state: &State, event: Event, now: Moment) -> Stepped {
    match (&event, &state.phase) {
        (Event::Stop(_), Phase::Spawning { .. }) => (state.clone(), Vec::new()),
        _ => step(state, event, now),
    }
}

fn forgets_a_start_while_it_stops(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event.clone(), now);
    if event == Event::Start {
        next.start_asked = false;
    }
    (next, actions)
}

fn never_forgets_a_start(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event.clone(), now);
    if matches!(event, Event::Gone { .. }) {
        next.start_asked = state.start_asked;
    }
    (next, actions)
}

fn goes_on_loading_the_old_definition(state: &State, event: Event, now: Moment) -> Stepped {
    match (&event, &state.phase) {
        (Event::Replace, Phase::Loading { .. }) => (state.clone(), Vec::new()),
        _ => step(state, event, now),
    }
}

fn tries_again_in_spite_of_never(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Failed {
        cause: FailedCause::Policy,
        retry_at,
        ..
    } = &mut next.phase
    {
        *retry_at = Some(now);
    }
    (next, actions)
}

fn takes_a_crash_for_an_exit(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if matches!(next.phase, Phase::Backoff { .. }) {
        next.phase = Phase::Stopped(StopReason::Exited);
    }
    (next, actions)
}

fn does_not_tell_of_an_end(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    next.last_exit = state.last_exit.clone();
    (next, actions)
}

fn calls_a_failure_requested(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, actions) = step(state, event, now);
    if let Phase::Backoff { exit, .. } = &mut next.phase {
        *exit = Exit::without_process(ExitClass::Requested, "").into();
    }
    (next, actions)
}

fn throws_dice(state: &State, event: Event, now: Moment) -> Stepped {
    static SIDE: AtomicBool = AtomicBool::new(false);
    if SIDE.fetch_xor(true, Ordering::Relaxed) {
        return (state.clone(), Vec::new());
    }
    step(state, event, now)
}

fn is_never_ready(state: &State, event: Event, now: Moment) -> Stepped {
    match event {
        Event::Healthy { .. } => (state.clone(), Vec::new()),
        other => step(state, other, now),
    }
}

/// It asks again and again, and never kills.
fn is_too_polite(state: &State, event: Event, now: Moment) -> Stepped {
    let (mut next, mut actions) = step(state, event.clone(), now);
    if let (Event::Timer, Phase::Stopping { process, rung, .. }) = (event, &mut next.phase)
        && *rung == Rung::Kill
        && !actions.is_empty()
    {
        *rung = Rung::Terminate {
            until: now + Duration::from_secs(1),
        };
        actions = vec![Action::Terminate(*process)];
    }
    (next, actions)
}

fn stops_what_is_busy(state: &State, event: Event, now: Moment) -> Stepped {
    match event {
        Event::Busy { .. } => (state.clone(), Vec::new()),
        other => step(state, other, now),
    }
}

fn stops_what_does_not_answer(state: &State, event: Event, now: Moment) -> Stepped {
    match (&event, &state.phase) {
        (Event::Timer, Phase::Draining { process, until, .. }) if *until <= now => {
            let incarnation = process.incarnation;
            step(state, Event::Drained { incarnation }, now)
        }
        _ => step(state, event, now),
    }
}

/// What is wrong if a request is taken for an operator's word.
fn obeys_requests(
    state: &State,
    event: Event,
    now: Moment,
    is_meant: fn(&Phase) -> bool,
) -> Stepped {
    match event {
        Event::Demand if is_meant(&state.phase) => step(state, Event::Start, now),
        other => step(state, other, now),
    }
}

fn calls_off_a_stop_for_a_request(state: &State, event: Event, now: Moment) -> Stepped {
    obeys_requests(state, event, now, |phase| {
        matches!(phase, Phase::Draining { .. })
    })
}

fn skips_a_backoff_for_a_request(state: &State, event: Event, now: Moment) -> Stepped {
    obeys_requests(state, event, now, |phase| {
        matches!(phase, Phase::Backoff { .. })
    })
}

fn tries_what_failed_for_a_request(state: &State, event: Event, now: Moment) -> Stepped {
    obeys_requests(state, event, now, |phase| {
        matches!(phase, Phase::Failed { .. })
    })
}

/// The half-open try of what only requests want is never made.
fn is_deaf_to_requests_once_it_failed(state: &State, event: Event, now: Moment) -> Stepped {
    match (&event, &state.phase) {
        (Event::Demand, Phase::Failed { .. }) => (state.clone(), Vec::new()),
        _ => step(state, event, now),
    }
}

const MUTANTS: [(Law, StepFn); 33] = [
    (Law::OneIncarnation, spawns_twice),
    (Law::NumbersGrow, uses_a_number_again),
    (Law::ActionsHaveAProcess, signals_what_is_gone),
    (Law::RestMeansGone, rests_before_the_tree_is_gone),
    (Law::PidOfTheProcess, shows_another_pid),
    (Law::BackoffHasATimer, forgets_the_timer_of_backoff),
    (Law::WaitsAreBounded, drains_for_an_hour),
    (Law::WayOut, forgets_to_await_its_turn),
    (Law::OnlyGoneEndsStopping, gives_up_on_what_does_not_die),
    (Law::LateMeansNothing, believes_any_health),
    (Law::SuccessIsReady, takes_a_spawn_for_a_success),
    (Law::StartsAreDue, restarts_without_a_wait),
    (
        Law::BreakerHolds,
        tries_again_at_once_when_the_breaker_opens,
    ),
    (
        Law::BreakerHasAReason,
        opens_the_breaker_at_the_first_failure,
    ),
    (Law::OnlyAutomaticRestartsCount, counts_a_requested_start),
    (Law::StopHolds, starts_on_a_stop),
    (Law::DesiredIsAsked, is_deaf_while_it_spawns),
    (Law::NoStartIsSwallowed, forgets_a_start_while_it_stops),
    (Law::StartIsAskedOnce, never_forgets_a_start),
    (
        Law::SupersededNeverServes,
        goes_on_loading_the_old_definition,
    ),
    (Law::NeverIsNever, tries_again_in_spite_of_never),
    (Law::BusyStays, stops_what_is_busy),
    (Law::BusyStays, stops_what_does_not_answer),
    (Law::OperatorsStopIsKept, calls_off_a_stop_for_a_request),
    (Law::StartsAreDue, skips_a_backoff_for_a_request),
    (Law::StartsAreDue, tries_what_failed_for_a_request),
    (Law::ComesHome, is_deaf_to_requests_once_it_failed),
    (Law::OnlySuccessIsExited, takes_a_crash_for_an_exit),
    (Law::EveryEndIsTold, does_not_tell_of_an_end),
    (Law::ReasonIsKnown, calls_a_failure_requested),
    (Law::Deterministic, throws_dice),
    (Law::ComesHome, is_never_ready),
    (Law::ComesHome, is_too_polite),
];

#[test]
fn every_law_is_broken_by_a_mutant_that_is_wrong_in_that_way() {
    for law in Law::ALL {
        assert!(MUTANTS.iter().any(|(broken, _)| *broken == law), "{law:?}");
    }
    for (law, mutant) in MUTANTS {
        assert_eq!(found(mutant).law, law, "{}", story(mutant));
    }
}

/// The story of what is found against a transition function.
fn story(step: StepFn) -> String {
    found(step).tell(&roots(&short_times()), step)
}

#[test]
fn a_broken_law_is_told_as_the_shortest_story() {
    assert_eq!(
        story(forgets_the_timer_of_backoff),
        "\
broken: backoff has a timer, on the curve of delays
  0.    0 s  so it begins                             stopped (not-autostarted), at rest
  1.    0 s  a start is asked for                     starting (waiting-for-turn), queued; await a turn
  2.    0 s  it is its turn                           starting (spawning), spawning; spawn 1
  3.    0 s  the process cannot be made               backoff (spawn-failed), waiting
"
    );
}

#[test]
fn a_server_that_does_not_come_home_is_told_from_where_the_environment_behaves() {
    assert_eq!(
        story(is_too_polite),
        "\
broken: if the environment behaves, a server ends where it should be
  0.    0 s  so it begins                             stopping (not-autostarted), on SIGTERM; terminate 3
     from here on the environment behaves
  1.    1 s  1 s pass                                 stopping (not-autostarted), on SIGTERM
  2.    2 s  1 s pass                                 stopping (not-autostarted), on SIGTERM
  3.    2 s  the timer fires                          stopping (not-autostarted), on SIGTERM; terminate 3
     and so on, without an end
"
    );
}
