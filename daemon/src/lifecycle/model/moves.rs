//! What can happen next.

use std::sync::Arc;
use std::time::Duration;

use super::world::World;
use crate::lifecycle::{
    Desired, Event, Exit, ExitClass, ExitStatus, FailedCause, Phase, Policy, Process, RestartMode,
    StopReason, Wait,
};

/// One thing that happens in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Something is asked of the server.
    Ask(Ask),
    /// The environment tells what it was asked to tell.
    Tell(Message),
    /// The environment tells something that is over, or never was.
    Late(Message, Whose),
    /// Time passes.
    Pass(Duration),
}

/// What operators and plans ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Start,
    Demand,
    Stop,
    StopIfIdle,
    Swap,
    Restart,
    Replace,
    SetMode(RestartMode),
    Hurry,
}

/// What the environment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Shortage,
    MakingRoom,
    Granted,
    DoesNotFit,
    Turn,
    Spawned,
    SpawnFailed(Fault),
    Progress,
    NotYet,
    Healthy,
    Hung,
    Overwritten,
    Drained,
    Busy,
    Exited(Fault),
    Stuck,
    Gone,
    Healed,
    Timer,
}

/// How a process ends, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It exits with status 0.
    None,
    /// It may work the next time.
    Crash,
    /// It will not work before something changes unseen.
    PortTaken,
    /// It will not work before the model changes.
    BadModel,
}

/// Which incarnation a late message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Earlier,
    Newest,
    Later,
}

impl Ask {
    pub(crate) const ALL: [Self; 11] = [
        Self::Start,
        Self::Demand,
        Self::Stop,
        Self::StopIfIdle,
        Self::Swap,
        Self::Restart,
        Self::Replace,
        Self::SetMode(RestartMode::Always),
        Self::SetMode(RestartMode::OnFailure),
        Self::SetMode(RestartMode::Never),
        Self::Hurry,
    ];

    pub(crate) fn event(self, policy: &Policy) -> Event {
        match self {
            Self::Start => Event::Start,
            Self::Demand => Event::Demand,
            Self::Stop => Event::Stop(StopReason::Requested),
            Self::StopIfIdle => Event::Stop(StopReason::Idle),
            Self::Swap => Event::Stop(StopReason::Swapped),
            Self::Restart => Event::Restart,
            Self::Replace => Event::Replace,
            Self::SetMode(mode) => {
                let mut policy = policy.clone();
                policy.restart.mode = mode;
                Event::SetPolicy(policy)
            }
            Self::Hurry => Event::Hurry,
        }
    }
}

impl Message {
    pub(crate) const ALL: [Self; 24] = [
        Self::Shortage,
        Self::MakingRoom,
        Self::Granted,
        Self::DoesNotFit,
        Self::Turn,
        Self::Spawned,
        Self::SpawnFailed(Fault::Crash),
        Self::SpawnFailed(Fault::PortTaken),
        Self::SpawnFailed(Fault::BadModel),
        Self::Progress,
        Self::NotYet,
        Self::Healthy,
        Self::Hung,
        Self::Overwritten,
        Self::Drained,
        Self::Busy,
        Self::Exited(Fault::None),
        Self::Exited(Fault::Crash),
        Self::Exited(Fault::PortTaken),
        Self::Exited(Fault::BadModel),
        Self::Stuck,
        Self::Gone,
        Self::Healed,
        Self::Timer,
    ];

    pub(crate) fn event(self, process: Process) -> Event {
        let incarnation = process.incarnation;
        match self {
            Self::Shortage => Event::Waits(Wait::Memory("it needs too much".into())),
            Self::MakingRoom => Event::Waits(Wait::Room("another is stopped".into())),
            Self::Granted => Event::Waits(Wait::Turn),
            Self::DoesNotFit => Event::DoesNotFit(Arc::new(Exit::without_process(
                ExitClass::DoesNotFit,
                "why",
            ))),
            Self::Turn => Event::Turn(incarnation + 1),
            Self::Spawned => Event::Spawned(process),
            Self::SpawnFailed(fault) => Event::SpawnFailed {
                incarnation,
                exit: Arc::new(Exit {
                    status: None,
                    ..fault.exit(ExitClass::SpawnFailed)
                }),
            },
            Self::Progress => Event::Progress { incarnation },
            Self::NotYet => Event::NotYet {
                incarnation,
                obstacle: "somebody else answers".into(),
            },
            Self::Healthy => Event::Healthy { incarnation },
            Self::Hung => Event::Hung {
                incarnation,
                exit: Arc::new(Exit::without_process(ExitClass::Hung, "why")),
            },
            Self::Overwritten => Event::Overwritten {
                incarnation,
                exit: Arc::new(Exit::without_process(ExitClass::ModelOverwritten, "why")),
            },
            Self::Drained => Event::Drained { incarnation },
            Self::Busy => Event::Busy { incarnation },
            Self::Exited(fault) => Event::Exited {
                incarnation,
                exit: Arc::new(fault.exit(ExitClass::Signal)),
            },
            Self::Stuck => Event::Stuck {
                incarnation,
                obstacle: "it is frozen".into(),
            },
            Self::Gone => Event::Gone { incarnation },
            Self::Healed => Event::Healed,
            Self::Timer => Event::Timer,
        }
    }

    /// Whether the shell would send it now: it was asked to, and what it tells of can be so.
    pub(crate) fn is_awaited(self, world: &World) -> bool {
        let environment = &world.environment;
        match self {
            Self::Shortage | Self::MakingRoom | Self::Granted | Self::DoesNotFit | Self::Turn => {
                environment.turn
            }
            Self::Spawned | Self::SpawnFailed(_) => environment.spawning.is_some(),
            Self::Progress | Self::NotYet | Self::Healthy => environment.awaits_ready,
            Self::Hung => environment.watches,
            Self::Overwritten => {
                let ending = environment.terminated || environment.killing;
                environment.process.is_some() && !environment.ended && !ending
            }
            Self::Drained => environment.drains,
            Self::Busy => environment.may_be_busy,
            Self::Exited(_) => environment.process.is_some() && !environment.ended,
            Self::Stuck => environment.killing,
            Self::Gone => environment.killing && environment.ended,
            Self::Healed => may_heal(&world.state.phase),
            Self::Timer => world.is_due(),
        }
    }

    /// Whether it can come too late: what it is about is over. The end of a process that is being
    /// ended is told once, and nothing after it.
    fn can_be_late(self, world: &World) -> bool {
        let is_stopping = matches!(world.state.phase, Phase::Stopping { .. });
        match self {
            Self::Exited(_) | Self::Stuck | Self::Gone if is_stopping => false,
            Self::Shortage
            | Self::MakingRoom
            | Self::Granted
            | Self::DoesNotFit
            | Self::Turn
            | Self::Spawned
            | Self::SpawnFailed(_)
            | Self::Progress
            | Self::NotYet
            | Self::Healthy
            | Self::Hung
            | Self::Overwritten
            | Self::Drained
            | Self::Busy
            | Self::Exited(_)
            | Self::Stuck
            | Self::Gone
            | Self::Healed
            | Self::Timer => !self.is_awaited(world),
        }
    }

    /// Whether it names an incarnation.
    fn has_subject(self) -> bool {
        !matches!(
            self,
            Self::Shortage
                | Self::MakingRoom
                | Self::Granted
                | Self::DoesNotFit
                | Self::Turn
                | Self::Healed
                | Self::Timer
        )
    }
}

impl Fault {
    fn exit(self, crash: ExitClass) -> Exit {
        let (class, status) = match self {
            Self::None => (ExitClass::Unknown, ExitStatus::Code(0)),
            Self::Crash => (crash, ExitStatus::Signal(11)),
            Self::PortTaken => (ExitClass::Bind, ExitStatus::Code(1)),
            Self::BadModel => (ExitClass::ModelInvalid, ExitStatus::Code(1)),
        };
        Exit {
            status: Some(status),
            ..Exit::without_process(class, "why")
        }
    }
}

impl Whose {
    pub(crate) fn process(self, newest: u64) -> Process {
        let incarnation = match self {
            Self::Earlier => newest.wrapping_sub(1),
            Self::Newest => newest,
            Self::Later => newest + 1,
        };
        Process {
            incarnation,
            pid: 2,
        }
    }
}

impl Move {
    /// Every move there is. Time passes second by second.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Pass(Duration::from_secs(1))];
        all.extend(Ask::ALL.map(Self::Ask));
        for message in Message::ALL {
            all.push(Self::Tell(message));
            all.push(Self::Late(message, Whose::Newest));
            if message.has_subject() {
                all.push(Self::Late(message, Whose::Earlier));
                all.push(Self::Late(message, Whose::Later));
            }
        }
        all
    }

    /// Whether it can be made in this world.
    pub(crate) fn is_possible(self, world: &World) -> bool {
        match self {
            Self::Ask(Ask::SetMode(mode)) => world.state.policy.restart.mode != mode,
            Self::Ask(
                Ask::Start
                | Ask::Demand
                | Ask::Stop
                | Ask::StopIfIdle
                | Ask::Swap
                | Ask::Restart
                | Ask::Replace
                | Ask::Hurry,
            )
            | Self::Pass(_)
            | Self::Late(_, Whose::Earlier | Whose::Later) => true,
            Self::Tell(message) => message.is_awaited(world),
            Self::Late(message, Whose::Newest) => message.can_be_late(world),
        }
    }
}

/// How an environment behaves from which nobody asks anything any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Everything works, and at once.
    Good,
    /// The process finishes no drain and ignores SIGTERM; only SIGKILL ends it.
    Stubborn,
}

/// Where a world goes when its environment behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nowhere: the server is where it should be.
    Home,
    /// On, by this move.
    On(Move),
    /// Nowhere, although the server is not where it should be.
    Lost,
}

impl Manners {
    pub(crate) const ALL: [Self; 2] = [Self::Good, Self::Stubborn];

    pub(crate) fn way(self, world: &World) -> Way {
        if is_home(world) {
            return Way::Home;
        }
        let environment = &world.environment;
        let obeys = match self {
            Self::Good => environment.terminated || environment.killing,
            Self::Stubborn => environment.killing,
        };
        let messages = [
            (Message::Turn, true),
            (Message::Spawned, true),
            (Message::Healthy, true),
            (Message::Drained, self == Self::Good),
            (Message::Exited(Fault::None), obeys),
            (Message::Gone, true),
            (Message::Healed, true),
            (Message::Timer, true),
        ];
        let message = messages
            .into_iter()
            .find(|(message, comes)| *comes && message.is_awaited(world));
        match message {
            Some((message, _)) => Way::On(Move::Tell(message)),
            None if world.has_due_trial() => Way::On(Move::Ask(Ask::Demand)),
            None if world.has_trial() => Way::On(Move::Pass(Duration::from_secs(1))),
            None if world.state.deadline().is_some() => Way::On(Move::Pass(Duration::from_secs(1))),
            None => Way::Lost,
        }
    }
}

/// Whether the server is where it should be, as far as its policy lets it.
fn is_home(world: &World) -> bool {
    match (world.state.desired, &world.state.phase) {
        (Desired::Stopped(_), phase) => matches!(phase, Phase::Stopped(_)),
        (
            Desired::Running,
            Phase::Ready { .. }
            | Phase::Stopped(StopReason::Exited)
            | Phase::Failed {
                cause: FailedCause::Policy,
                ..
            },
        ) => true,
        (
            Desired::Running,
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. },
        ) => false,
    }
}

fn may_heal(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Failed {
            cause: FailedCause::Prospect,
            ..
        }
    )
}
