//! Telling what happened, for people.

use std::fmt::Write as _;

use super::laws::Law;
use super::moves::{Ask, Fault, Message, Move, Whose};
use super::world::{StepFn, World};
use crate::lifecycle::{Action, Phase, Rung, Wait};

/// Plays `moves` from `world` on, and tells each with what came of it: one line a move, then the law
/// that is broken. `behaves_from` is the move from which on the environment behaves.
pub(crate) fn tell(
    mut world: World,
    step: StepFn,
    moves: &[Move],
    behaves_from: Option<usize>,
    law: Law,
) -> String {
    let mut story = format!("broken: {}\n", law.words());
    tell_line(&mut story, 0, &world, "so it begins");
    for (index, next) in moves.iter().enumerate() {
        if behaves_from == Some(index) {
            story.push_str("     from here on the environment behaves\n");
        }
        // The last one breaks the law.
        let _ = world.play(step, *next);
        tell_line(&mut story, index + 1, &world, &words(*next));
    }
    if behaves_from.is_some() {
        story.push_str("     and so on, without an end\n");
    }
    story
}

/// Tells what a move has made of a world.
fn tell_line(story: &mut String, number: usize, world: &World, what: &str) {
    let at = world.now.since_origin().as_secs_f64();
    let view = world.state.view();
    let (state, reason, phase) = (view.state, view.reason, phase(&world.state.phase));
    let _ = write!(
        story,
        "{number:>3}. {at:>4} s  {what:<40} {state} ({reason}), {phase}"
    );
    if !world.actions.is_empty() {
        let actions: Vec<_> = world.actions.iter().map(action).collect();
        let _ = write!(story, "; {}", actions.join(", "));
    }
    story.push('\n');
}

/// A move in words.
fn words(next: Move) -> String {
    match next {
        Move::Ask(ask) => ask_words(ask),
        Move::Tell(message) => message_words(message).to_owned(),
        Move::Late(message, whose) => {
            let whose = match whose {
                Whose::Earlier => "of the one before",
                Whose::Newest => "too late",
                Whose::Later => "of one that never was",
            };
            format!("{whose}: {}", message_words(message))
        }
        Move::Pass(time) => format!("{} s pass", time.as_secs_f64()),
    }
}

fn ask_words(ask: Ask) -> String {
    match ask {
        Ask::Start => "a start is asked for".to_owned(),
        Ask::Demand => "a request comes".to_owned(),
        Ask::Stop => "a stop is asked for".to_owned(),
        Ask::StopIfIdle => "it is to stop if it is idle".to_owned(),
        Ask::Swap => "it is to make room although it is in use".to_owned(),
        Ask::Restart => "a restart is asked for".to_owned(),
        Ask::Replace => "the definition changes".to_owned(),
        Ask::SetMode(mode) => format!("the restart policy becomes `{}`", mode.code()),
        Ask::Hurry => "whoever waits is in a hurry".to_owned(),
    }
}

fn message_words(message: Message) -> &'static str {
    match message {
        Message::Shortage => "there is no memory for it now",
        Message::MakingRoom => "room is made for it",
        Message::Granted => "there is memory, and no turn yet",
        Message::DoesNotFit => "there is not so much memory at all",
        Message::Turn => "it is its turn",
        Message::Spawned => "the process is made",
        Message::SpawnFailed(fault) => match fault {
            Fault::None | Fault::Crash => "the process cannot be made",
            Fault::PortTaken => "the process cannot be made: no port",
            Fault::BadModel => "the process cannot be made: no model",
        },
        Message::Progress => "the load gets on",
        Message::NotYet => "somebody else answers for it",
        Message::Healthy => "it is healthy",
        Message::Hung => "it hangs",
        Message::Overwritten => "its model is overwritten",
        Message::Drained => "nothing is in flight any more",
        Message::Busy => "something is in flight",
        Message::Exited(fault) => match fault {
            Fault::None => "the process exits: status 0",
            Fault::Crash => "the process exits: signal 11",
            Fault::PortTaken => "the process exits: its port is taken",
            Fault::BadModel => "the process exits: a bad model",
        },
        Message::Stuck => "something of the tree does not die",
        Message::Gone => "the tree is gone",
        Message::Healed => "what made it fail is mended",
        Message::Timer => "the timer fires",
    }
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Stopped(_) => "at rest",
        Phase::Queued { wait: Wait::Turn } => "queued",
        Phase::Queued {
            wait: Wait::Room(_),
        } => "waiting for room",
        Phase::Queued {
            wait: Wait::Memory(_),
        } => "waiting for memory",
        Phase::Spawning {
            given_up: false, ..
        } => "spawning",
        Phase::Spawning { given_up: true, .. } => "spawning in vain",
        Phase::Loading { .. } => "loading",
        Phase::Ready { .. } => "serving",
        Phase::Draining { .. } => "draining",
        Phase::Stopping {
            rung: Rung::Terminate { .. },
            ..
        } => "on SIGTERM",
        Phase::Stopping {
            rung: Rung::Kill, ..
        } => "on SIGKILL",
        Phase::Backoff { .. } => "waiting",
        Phase::Failed {
            retry_at: Some(_), ..
        } => "waiting for its trial",
        Phase::Failed { retry_at: None, .. } => "at rest",
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::AwaitTurn => "await a turn".to_owned(),
        Action::Spawn(number) => format!("spawn {number}"),
        Action::AwaitReady(process) => format!("await {} ready", process.incarnation),
        Action::Watch(process) => format!("watch {}", process.incarnation),
        Action::Drain {
            process,
            only_if_idle: false,
        } => format!("drain {}", process.incarnation),
        Action::Drain {
            process,
            only_if_idle: true,
        } => format!("drain {} if it is idle", process.incarnation),
        Action::Terminate(process) => format!("terminate {}", process.incarnation),
        Action::KillTree(process) => format!("kill the tree of {}", process.incarnation),
    }
}
