//! The diagram of the public states, drawn from the transition function itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::moment::Moment;

const INCARNATION: u64 = 7;

fn process() -> Process {
    Process {
        incarnation: INCARNATION,
        pid: 4242,
    }
}

fn exit(class: ExitClass) -> Arc<Exit> {
    Arc::new(Exit::without_process(class, "why"))
}

fn late() -> Moment {
    Moment::new(Duration::from_secs(1_000_000))
}

/// One state for each phase, and each variant of it that behaves otherwise.
fn phases() -> Vec<Phase> {
    let until = late();
    let since = Moment::default();
    let stopping = |ending: Ending| Phase::Stopping {
        process: process(),
        rung: Rung::Terminate { until },
        ending,
        ready_for: None,
        obstacle: None,
    };
    vec![
        Phase::Stopped(StopReason::Requested),
        Phase::Queued { wait: Wait::Turn },
        Phase::Queued {
            wait: Wait::Room("why".into()),
        },
        Phase::Queued {
            wait: Wait::Memory("why".into()),
        },
        Phase::Spawning {
            incarnation: INCARNATION,
            given_up: false,
        },
        Phase::Loading {
            process: process(),
            progress_at: since,
            obstacle: None,
        },
        Phase::Ready {
            process: process(),
            since,
        },
        Phase::Draining {
            process: process(),
            ready_since: since,
            until,
            cause: StopCause::Stop(StopReason::Requested),
        },
        Phase::Draining {
            process: process(),
            ready_since: since,
            until,
            cause: StopCause::Stop(StopReason::Idle),
        },
        stopping(Ending::Asked(StopCause::Restart)),
        stopping(Ending::Ended(exit(ExitClass::Signal))),
        stopping(Ending::Ended(exit(ExitClass::BadArguments))),
        Phase::Backoff {
            until,
            exit: exit(ExitClass::Signal),
        },
        Phase::Failed {
            exit: exit(ExitClass::Bind),
            cause: FailedCause::Prospect,
            retry_at: Some(until),
        },
        Phase::Failed {
            exit: exit(ExitClass::Signal),
            cause: FailedCause::Policy,
            retry_at: None,
        },
    ]
}

fn policy(mode: RestartMode) -> Policy {
    let mut policy = Policy::default();
    policy.restart.mode = mode;
    policy
}

fn events() -> Vec<(&'static str, Event)> {
    let incarnation = INCARNATION;
    vec![
        ("start", Event::Start),
        ("request", Event::Demand),
        ("stop", Event::Stop(StopReason::Requested)),
        ("stop if idle", Event::Stop(StopReason::Idle)),
        ("swap", Event::Stop(StopReason::Swapped)),
        ("restart", Event::Restart),
        ("replace", Event::Replace),
        (
            "policy allows",
            Event::SetPolicy(policy(RestartMode::Always)),
        ),
        ("policy never", Event::SetPolicy(policy(RestartMode::Never))),
        ("hurry", Event::Hurry),
        ("healed", Event::Healed),
        ("no memory now", Event::Waits(Wait::Memory("why".into()))),
        ("room is made", Event::Waits(Wait::Room("why".into()))),
        ("memory", Event::Waits(Wait::Turn)),
        (
            "does not fit",
            Event::DoesNotFit(exit(ExitClass::DoesNotFit)),
        ),
        ("turn", Event::Turn(INCARNATION + 1)),
        ("spawned", Event::Spawned(process())),
        (
            "spawn failed",
            Event::SpawnFailed {
                incarnation,
                exit: exit(ExitClass::SpawnFailed),
            },
        ),
        ("progress", Event::Progress { incarnation }),
        ("healthy", Event::Healthy { incarnation }),
        (
            "hung",
            Event::Hung {
                incarnation,
                exit: exit(ExitClass::Hung),
            },
        ),
        (
            "model overwritten",
            Event::Overwritten {
                incarnation,
                exit: exit(ExitClass::ModelOverwritten),
            },
        ),
        ("drained", Event::Drained { incarnation }),
        ("busy", Event::Busy { incarnation }),
        (
            "exited",
            Event::Exited {
                incarnation,
                exit: exit(ExitClass::Signal),
            },
        ),
        ("gone", Event::Gone { incarnation }),
        ("timer", Event::Timer),
    ]
}

type Edges = BTreeMap<(PublicState, PublicState), BTreeSet<&'static str>>;

/// Every change of the public state that one event can bring about.
fn edges() -> Edges {
    let mut edges = Edges::new();
    for phase in phases() {
        for desired in [Desired::Running, Desired::Stopped(StopReason::Requested)] {
            for max_failures in [1, 5] {
                let mut state = State::new(Policy::default(), INCARNATION, 1);
                state.policy.restart.max_failures = max_failures;
                state.phase = phase.clone();
                state.desired = desired;
                for (name, event) in events() {
                    let (next, _) = step(&state, event, late());
                    let change = (state.view().state, next.view().state);
                    if change.0 != change.1 && is_consistent(&state) {
                        edges.entry(change).or_default().insert(name);
                    }
                }
            }
        }
    }
    edges
}

/// Leaves out combinations that no sequence of events leads to: what should be stopped does not wait
/// for a next try, and what is stopped and should run is on its way already.
fn is_consistent(state: &State) -> bool {
    match (&state.phase, state.desired) {
        (Phase::Stopped(_), desired) => desired != Desired::Running,
        (Phase::Draining { cause, .. }, Desired::Running) if cause.is_only_if_idle() => false,
        (
            Phase::Queued { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. },
            desired,
        ) => desired == Desired::Running,
        (Phase::Spawning { .. } | Phase::Draining { .. } | Phase::Stopping { .. }, _) => true,
    }
}

fn render() -> String {
    let mut page = String::from(
        "# The states of a server\n\n\
         Drawn from the transition function (`daemon/src/lifecycle/step.rs`) by a test; `cargo xtask\n\
         generate` draws it anew. What each state means is told in `daemon/src/lifecycle/mod.rs`.\n\n\
         ```mermaid\nstateDiagram-v2\n    [*] --> stopped\n",
    );
    for ((from, to), names) in edges() {
        let names: Vec<_> = names.into_iter().collect();
        page.push_str(&format!("    {from} --> {to}: {}\n", names.join(", ")));
    }
    page.push_str("```\n\n## Exit classes\n\n| class | what follows |\n|---|---|\n");
    for class in ExitClass::ALL {
        let follows = match class.prospect() {
            Prospect::Transient => {
                "backoff, then `failed` with a half-open try if it happens too often"
            }
            Prospect::Blocked => "`failed` at once, with a half-open try",
            Prospect::Permanent => {
                "`failed` at once, until the file, the binary or the definition changes"
            }
        };
        let follows = if class == ExitClass::Requested {
            "what was asked for"
        } else {
            follows
        };
        page.push_str(&format!("| `{class}` | {follows} |\n"));
    }
    page.push_str(
        "\nA `spawn-failed` whose program is missing or cannot be run is permanent; one for want of memory\n\
         or descriptors is tried again. A `does-not-fit` is tried again when there is another budget, too.\n",
    );
    page
}

#[test]
fn the_diagram_is_in_step_with_the_transition_function() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lifecycle.md");
    let drawn = render();
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == drawn,
        "docs/lifecycle.md is out of date: run `cargo xtask generate`"
    );
}

#[test]
fn every_state_has_a_way_out() {
    let edges = edges();
    for (from, _) in edges.keys() {
        assert!(edges.keys().any(|(other, to)| other == from && to != from));
    }
    let left: BTreeSet<_> = edges.keys().map(|(from, _)| *from).collect();
    assert_eq!(left.len(), 7, "{left:?}");
}
