use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::moment::Moment;

fn at(milliseconds: u64) -> Moment {
    Moment::new(Duration::from_millis(milliseconds))
}

fn exit(class: ExitClass) -> Arc<Exit> {
    Arc::new(Exit::without_process(class, "why"))
}

/// A server and the world around it, as far as the lifecycle can tell.
struct World {
    state: State,
    now: u64,
    /// The incarnation whose process (or its tree) is there.
    alive: Option<u64>,
    /// Its main process has ended; only the rest of the tree is there.
    exited: bool,
    spawning: Option<u64>,
    killing: bool,
    turn_asked: bool,
    spawns: Vec<u64>,
    trace: String,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            state: State::new(policy, 0, 1),
            now: 0,
            alive: None,
            exited: false,
            spawning: None,
            killing: false,
            turn_asked: false,
            spawns: Vec::new(),
            trace: String::new(),
        }
    }

    fn started() -> Self {
        let mut world = Self::new(Policy::default());
        world.send(Event::Start);
        world
    }

    fn send(&mut self, event: Event) {
        let _ = writeln!(self.trace, "{:>8} ms  {event:?}", self.now);
        let (state, actions) = step(&self.state, event, at(self.now));
        let _ = writeln!(
            self.trace,
            "             -> {:?} / {:?}",
            state.phase, state.desired
        );
        self.state = state;
        for action in actions {
            self.perform(action);
        }
        self.check();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::AwaitTurn => self.turn_asked = true,
            Action::Spawn(incarnation) => {
                self.require(
                    self.alive.is_none() && self.spawning.is_none(),
                    "two incarnations",
                );
                self.spawning = Some(incarnation);
                self.spawns.push(self.now);
            }
            Action::KillTree(process) => {
                self.require(self.alive == Some(process.incarnation), "a kill of nothing");
                self.killing = true;
            }
            Action::AwaitReady(process)
            | Action::Watch(process)
            | Action::Drain(process)
            | Action::Terminate(process) => {
                self.require(
                    self.alive == Some(process.incarnation),
                    "an action without a process",
                );
            }
        }
    }

    fn require(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\n{}", self.trace);
    }

    /// What holds in every state.
    fn check(&self) {
        let view = self.state.view();
        let has_process = self.state.pid().is_some();
        match view.state {
            PublicState::Stopped | PublicState::Failed | PublicState::Backoff => {
                self.require(
                    !has_process && self.alive.is_none(),
                    "a process without a state",
                );
            }
            PublicState::Ready | PublicState::Draining | PublicState::Stopping => {
                self.require(has_process, "a state without a process");
            }
            PublicState::Starting => {}
        }
        let way_out = self.state.is_settled()
            || self.state.deadline().is_some()
            || self.turn_asked
            || self.spawning.is_some()
            || self.killing;
        self.require(way_out, "no way out");
        let is_backoff = view.state == PublicState::Backoff;
        self.require(
            !is_backoff || self.state.deadline().is_some(),
            "backoff without a timer",
        );
    }

    // What the environment does.

    fn turn(&mut self) {
        if std::mem::take(&mut self.turn_asked) {
            self.send(Event::Turn);
        }
    }

    fn spawn(&mut self) {
        if let Some(incarnation) = self.spawning.take() {
            self.alive = Some(incarnation);
            self.exited = false;
            self.send(Event::Spawned(Process {
                incarnation,
                pid: 1,
            }));
        }
    }

    fn refuse_spawn(&mut self) {
        if let Some(incarnation) = self.spawning.take() {
            self.send(Event::SpawnFailed {
                incarnation,
                exit: exit(ExitClass::SpawnFailed),
            });
        }
    }

    fn healthy(&mut self) {
        if let Some(incarnation) = self.alive.filter(|_| !self.exited) {
            self.send(Event::Healthy { incarnation });
        }
    }

    fn end(&mut self, class: ExitClass) {
        if let Some(incarnation) = self.alive.filter(|_| !self.exited) {
            self.exited = true;
            self.send(Event::Exited {
                incarnation,
                exit: exit(class),
            });
        }
    }

    fn gone(&mut self) {
        if !self.killing {
            return;
        }
        self.end(ExitClass::Signal);
        if let Some(incarnation) = self.alive.take() {
            self.killing = false;
            self.send(Event::Gone { incarnation });
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.send(Event::Timer);
    }

    /// Waits for the deadline.
    fn sleep(&mut self) {
        if let Some(deadline) = self.state.deadline() {
            let due = u64::try_from(deadline.since_origin().as_millis()).unwrap() + 1;
            self.now = self.now.max(due);
            self.send(Event::Timer);
        }
    }

    /// Everything that is under way comes to its end, and nothing goes wrong.
    fn behave(&mut self) {
        for _ in 0..20 {
            self.turn();
            self.spawn();
            self.healthy();
            if self.public() == PublicState::Failed && self.state.deadline().is_none() {
                self.send(Event::Healed);
            }
            self.sleep();
            self.gone();
        }
    }

    fn ready(mut self) -> Self {
        self.turn();
        self.spawn();
        self.healthy();
        assert_eq!(self.public(), PublicState::Ready);
        self
    }

    fn public(&self) -> PublicState {
        self.state.view().state
    }
}

#[test]
fn a_stop_while_a_process_is_being_made_ends_it_once_it_is_there() {
    let mut world = World::started();
    world.turn();
    world.send(Event::Stop(StopReason::Requested));
    assert_eq!(world.public(), PublicState::Starting);
    world.spawn();
    assert_eq!(world.public(), PublicState::Stopping);
    world.behave();
    assert_eq!(world.public(), PublicState::Stopped);
}

#[test]
fn a_start_while_it_drains_for_a_stop_calls_the_drain_off() {
    let mut world = World::started().ready();
    world.send(Event::Stop(StopReason::Requested));
    assert_eq!(world.public(), PublicState::Draining);
    world.send(Event::Start);
    assert_eq!(world.public(), PublicState::Ready);
    assert_eq!(world.state.incarnation, 1);
}

#[test]
fn a_changed_definition_is_not_forgotten_by_a_start_while_it_drains() {
    let mut world = World::started().ready();
    world.send(Event::Stop(StopReason::Requested));
    world.send(Event::Replace);
    world.send(Event::Start);
    assert_eq!(world.public(), PublicState::Draining);
    world.behave();
    assert_eq!(
        (world.public(), world.state.incarnation),
        (PublicState::Ready, 2)
    );
}

#[test]
fn a_changed_definition_gives_up_a_start_that_is_under_way() {
    let mut world = World::started();
    world.turn();
    world.spawn();
    world.send(Event::Replace);
    assert_eq!(world.public(), PublicState::Stopping);
    world.behave();
    assert_eq!(
        (world.public(), world.state.incarnation),
        (PublicState::Ready, 2)
    );
}

#[test]
fn a_start_while_it_stops_follows_the_end_of_the_old_tree() {
    let mut world = World::started().ready();
    world.send(Event::Stop(StopReason::Requested));
    world.sleep();
    world.send(Event::Start);
    assert_eq!(world.public(), PublicState::Stopping);
    world.behave();
    assert_eq!(
        (world.public(), world.state.incarnation),
        (PublicState::Ready, 2)
    );
}

/// R8.
#[test]
fn a_stuck_start_goes_down_the_ladder_and_is_one_failure() {
    let mut world = World::started();
    world.turn();
    world.spawn();
    world.sleep();
    assert_eq!(world.public(), PublicState::Stopping);
    world.sleep();
    world.gone();
    assert_eq!(world.public(), PublicState::Backoff);
    let policy = RestartPolicy::default();
    assert_eq!(world.state.history.failures(&policy, at(world.now)), 1);
    let last = world.state.last_exit.unwrap();
    assert_eq!(last.exit.class, ExitClass::StartupTimeout);
}

#[test]
fn a_start_that_gets_on_is_not_cut_short() {
    let mut world = World::started();
    world.turn();
    world.spawn();
    for _ in 0..100 {
        world.pass(100_000);
        world.send(Event::Progress { incarnation: 1 });
    }
    assert_eq!(world.public(), PublicState::Starting);
}

/// R6.
#[test]
fn a_permanent_cause_fails_at_once_and_heals() {
    let mut world = World::started();
    world.turn();
    world.spawn();
    world.end(ExitClass::ModelInvalid);
    world.gone();
    assert_eq!(world.public(), PublicState::Failed);
    assert_eq!(world.state.deadline(), None);
    world.send(Event::Healed);
    world.behave();
    assert_eq!(world.public(), PublicState::Ready);
    assert_eq!(world.state.history.restarts(), 0);
}

/// R4.
#[test]
fn the_breaker_opens_and_lets_one_trial_through_by_timer() {
    let mut world = World::started();
    for _ in 0..5 {
        world.turn();
        world.spawn();
        world.end(ExitClass::Signal);
        world.gone();
        if world.public() == PublicState::Backoff {
            world.sleep();
        }
    }
    assert_eq!(world.public(), PublicState::Failed);
    let spawns = world.spawns.len();
    world.pass(299_000);
    assert_eq!(
        (world.public(), world.spawns.len()),
        (PublicState::Failed, spawns)
    );
    world.sleep();
    world.turn();
    world.spawn();
    world.end(ExitClass::Signal);
    world.gone();
    assert_eq!(
        (world.public(), world.spawns.len()),
        (PublicState::Failed, spawns + 1)
    );
    world.send(Event::Start);
    assert_eq!(world.state.history.restarts(), 0);
    world.behave();
    assert_eq!(world.public(), PublicState::Ready);
}

/// R5.
#[test]
fn a_failed_spawn_is_a_failure_like_any_other() {
    let mut world = World::started();
    for _ in 0..5 {
        world.turn();
        world.refuse_spawn();
        if world.public() == PublicState::Backoff {
            world.sleep();
        }
    }
    assert_eq!(world.public(), PublicState::Failed);
}

/// R3.
#[test]
fn only_time_ready_makes_the_waits_short_again() {
    let mut policy = Policy::default();
    policy.restart.max_failures = 100;
    let mut world = World::new(policy.clone());
    world.send(Event::Start);
    for _ in 0..5 {
        world.turn();
        world.spawn();
        world.pass(110_000);
        world.end(ExitClass::Signal);
        world.gone();
        world.sleep();
    }
    assert_eq!(
        world.state.history.next_delay(&policy.restart),
        Duration::from_secs(16)
    );
    world = world.ready();
    world.pass(600_000);
    world.end(ExitClass::Signal);
    world.gone();
    assert_eq!(
        world.state.history.next_delay(&policy.restart),
        Duration::from_secs(1)
    );
}

#[test]
fn the_policy_decides_what_an_exit_with_status_0_is() {
    let success = Arc::new(Exit {
        status: Some(ExitStatus::Code(0)),
        ..Exit::without_process(ExitClass::Unknown, "")
    });
    for (mode, state) in [
        (RestartMode::Always, PublicState::Backoff),
        (RestartMode::OnFailure, PublicState::Stopped),
        (RestartMode::Never, PublicState::Stopped),
    ] {
        let mut world = World::started().ready();
        world.state.policy.restart.mode = mode;
        world.exited = true;
        world.send(Event::Exited {
            incarnation: 1,
            exit: success.clone(),
        });
        world.gone();
        assert_eq!(world.public(), state);
    }
}

#[test]
fn policy_never_leaves_a_crash_as_it_is() {
    let mut world = World::started().ready();
    world.state.policy.restart.mode = RestartMode::Never;
    world.end(ExitClass::Signal);
    world.gone();
    assert_eq!(
        (world.public(), world.state.deadline()),
        (PublicState::Failed, None)
    );
}

#[test]
fn a_hurry_cuts_drain_and_grace_short() {
    let mut world = World::started().ready();
    world.send(Event::Stop(StopReason::Shutdown));
    world.send(Event::Hurry);
    assert!(world.killing);
    world.gone();
    assert_eq!(world.public(), PublicState::Stopped);
}

#[test]
fn a_survivor_is_ended_before_anything_is_started() {
    let state = State::new(Policy::default(), 3, 1);
    let process = Process {
        incarnation: 3,
        pid: 9,
    };
    let (state, actions) = state.with_survivor(process, at(0));
    assert_eq!(actions, [Action::Terminate(process)]);
    let (state, actions) = step(&state, Event::Start, at(1));
    assert_eq!(
        (state.view().state, actions.len()),
        (PublicState::Stopping, 0)
    );
}

/// Something that the environment or an operator does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Start,
    Stop,
    Restart,
    Replace,
    Hurry,
    Healed,
    Turn,
    Spawn,
    RefuseSpawn,
    Healthy,
    Crash(ExitClass),
    Gone,
    Hang,
    Drained,
    Sleep,
    Pass(u64),
    Stale(u8),
}

fn any_move() -> impl Strategy<Value = Move> {
    let commands = prop_oneof![
        Just(Move::Start),
        Just(Move::Stop),
        Just(Move::Restart),
        Just(Move::Replace),
        Just(Move::Hurry),
        Just(Move::Healed),
    ];
    let world = prop_oneof![
        Just(Move::Turn),
        Just(Move::Spawn),
        Just(Move::RefuseSpawn),
        Just(Move::Healthy),
        proptest::sample::select(&ExitClass::ALL[1..]).prop_map(Move::Crash),
        Just(Move::Gone),
        Just(Move::Hang),
        Just(Move::Drained),
        Just(Move::Sleep),
        (0_u64..100_000).prop_map(Move::Pass),
        (0_u8..6).prop_map(Move::Stale),
    ];
    prop_oneof![1 => commands, 3 => world]
}

fn play(world: &mut World, next: Move) {
    let incarnation = world.alive.unwrap_or(0);
    match next {
        Move::Start => world.send(Event::Start),
        Move::Stop => world.send(Event::Stop(StopReason::Requested)),
        Move::Restart => world.send(Event::Restart),
        Move::Replace => world.send(Event::Replace),
        Move::Hurry => world.send(Event::Hurry),
        Move::Healed => world.send(Event::Healed),
        Move::Turn => world.turn(),
        Move::Spawn => world.spawn(),
        Move::RefuseSpawn => world.refuse_spawn(),
        Move::Healthy => world.healthy(),
        Move::Crash(class) => world.end(class),
        Move::Gone => world.gone(),
        Move::Hang => world.send(Event::Hung {
            incarnation,
            exit: exit(ExitClass::Hung),
        }),
        Move::Drained => world.send(Event::Drained { incarnation }),
        Move::Sleep => world.sleep(),
        Move::Pass(milliseconds) => world.pass(milliseconds),
        Move::Stale(kind) => stale(world, kind),
    }
}

/// Events of an incarnation that never was, or was long ago.
fn stale(world: &mut World, kind: u8) {
    let incarnation = u64::MAX;
    let event = match kind {
        0 => Event::Spawned(Process {
            incarnation,
            pid: 2,
        }),
        1 => Event::Healthy { incarnation },
        2 => Event::Exited {
            incarnation,
            exit: exit(ExitClass::Signal),
        },
        3 => Event::Gone { incarnation },
        4 => Event::Drained { incarnation },
        _ => Event::SpawnFailed {
            incarnation,
            exit: exit(ExitClass::SpawnFailed),
        },
    };
    let before = world.state.clone();
    world.send(event);
    world.require(world.state == before, "a stale event did something");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The invariants are checked after every step, in `World::check` and `World::perform`; at the end
    /// the environment behaves, and the server ends where it should be.
    #[test]
    fn whatever_happens_a_server_ends_where_it_should_be(moves in proptest::collection::vec(any_move(), 0..120)) {
        let mut world = World::new(Policy::default());
        for next in moves {
            play(&mut world, next);
        }
        world.behave();
        let settled = match world.state.desired {
            Desired::Running => world.public() == PublicState::Ready,
            Desired::Stopped(_) => world.public() == PublicState::Stopped,
        };
        world.require(settled, "it did not end where it should be");
    }
}
