//! The life of one server, as a pure function.
//!
//! A server has two independent truths. What is **desired** of it: that it runs, or that it is
//! stopped, and by whose word. And what it **is**: the [`Phase`] of its newest incarnation. Operators,
//! plans and timers change the first; the kernel and llama-server change the second. Neither is
//! ever derived from the other. The public state that `status` shows is a projection of both.
//!
//! [`step()`] is the whole rule: a state, an event and the time give the next state and the actions
//! that the shell (`supervisor::server`) has to perform. It is total. Every event means something in
//! every state, even if it means nothing, so an event that arrives late, twice or in an order that
//! nobody thought of cannot bring a server into a state that has no way out. Events about a process
//! carry the number of their incarnation; those of an earlier one are ignored.
//!
//! # The two phases of every end
//!
//! A process that ended is not yet a server that stopped: it may have left children behind, which
//! hold its port and its memory. So *every* end, whether asked for, crashed, hung or out of time,
//! passes through `Stopping`, and leaves it by one event only: [`Event::Gone`], which says that
//! the whole process tree is no more. Only then is it decided what comes next: stopped, backoff,
//! failed, or another start. A tree that cannot be killed therefore keeps its server in `Stopping`
//! with that obstacle shown, and can never lead to two incarnations side by side.
//!
//! # Interrupted transitions
//!
//! A command never waits for a transition to finish; it changes what is desired, and the transition
//! looks at that when it gets to its end:
//!
//! * *Stop while a process is being spawned*: the spawn cannot be called back, so its process is
//!   awaited and then ended ([`Phase::Spawning`] looks at `desired`).
//! * *Start while it drains for a stop*: the drain is called off, and the incarnation goes on.
//! * *Start while it stops*: it is started again when the old tree is gone, whatever the way it ended
//!   (`start_asked`).
//! * *A changed definition while it starts*: the start is given up at once; nothing can be in flight.
//! * *A restart or a changed definition, then a stop, then a start*: what was to be replaced is not
//!   taken up again, and its failure is not the answer to that start.
//! * *A request while it drains*: a stop for idleness is called off, an operator's is not; the server is
//!   started again when the old tree is gone.
//! * *A stop or a changed definition while it drains for idleness*: it drains anew, and is not asked
//!   any more whether it is idle.
//! * *Other rules while it waits for its next try*: the wait is judged by them at once.
//!
//! # Failures
//!
//! What a failure leads to is decided in one place, `after_failure`: the exit class says whether a
//! second try has a [`Prospect`] at all; the restart policy says whether one is wanted; [`History`]
//! says how long to wait and when to give up. Success counts from ready, never from spawn: a server
//! that dies at the end of each load is failing, however long its loads take.
//!
//! # Requests
//!
//! A request asks for less than an operator ([`Event::Demand`]): it starts what is stopped, and joins
//! what is under way, be it a load or a wait for the next try. What runs because of a request alone
//! (`on_demand`) has no timer for its half-open try: the next request makes it, once it is due.
//!
//! Without requests a server is [`StopReason::Idle`], and one that is idle can be
//! [`StopReason::Evicted`]. Both are questions rather than orders: whoever has something in flight
//! answers [`Event::Busy`], which calls the drain off, and so does silence until its end. To be
//! [`StopReason::Swapped`] is an order, for what serves only: what is in flight is finished, and a request
//! that comes meanwhile has the server started again when it is gone, after the one that it made room for.
//!
//! # What the shell guarantees
//!
//! Actions are performed in order. `Spawned` or `SpawnFailed` follows every `Spawn`. `Exited` comes
//! once for each process, before the `Gone` of its incarnation, and `Gone` follows every `KillTree`
//! sooner or later. After each step the shell asks [`State::deadline`] and sends [`Event::Timer`] when
//! that moment has come.
//!
//! A model of all this is explored to its end by the tests: every state that any order of events leads
//! to, with the laws that hold in each (`model`).

pub mod classify;
mod commands;
mod down;
pub mod exit;
mod failure;
mod history;
mod liveness;
pub mod policy;
mod state;
mod step;
mod up;
mod view;

pub use exit::{Exit, ExitClass, ExitStatus, Prospect};
pub use history::History;
pub use liveness::{HangDetector, Liveness, LivenessRules, Look, Work};
pub use policy::{Policy, RestartMode, RestartPolicy};
pub use state::{
    Desired, Ending, FailedCause, LastExit, Phase, Process, Rung, State, StopCause, StopReason,
    Wait,
};
pub use step::{Action, Event, step};
pub use view::{PublicState, View};

#[cfg(test)]
mod diagram;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
