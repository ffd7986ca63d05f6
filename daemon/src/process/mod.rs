//! Processes of the operating system: starting them, holding them, and knowing that they are gone.
//!
//! Everything here is an effect, and all of it goes through safe wrappers of the system calls.
//!
//! * [`spawn`](spawn()) starts an incarnation in a process group of its own, with a cleaned
//!   environment and a [`Token`] in it.
//! * [`Process`] is a handle by pidfd. Children and adopted processes are the same to it: what
//!   differs is only whether the kernel tells us their exit status.
//! * [`Tree`] is everything that an incarnation started, found anew each time it is asked for. An
//!   incarnation has ended when its tree is empty, not when its main process is gone.
//! * [`Scanner`] looks at all processes, once for all who ask at the same time.
//! * [`reaper`] collects what reparented to us and nobody waits for.
//! * [`sockets`] tells who listens where, [`probe`] asks llama-server how it is, and [`usage`] tells
//!   whether a process moves.
//!
//! # Who may be signalled
//!
//! A pid is a name that the kernel gives to somebody else as soon as it is free. So nothing here
//! signals a pid: it opens a pidfd, then compares the start time behind it with the one that was
//! recorded, and signals through the pidfd. A process that we cannot show to be ours, by its parents,
//! its process group or the token in its environment, is never signalled.

mod handle;
mod identity;
pub mod probe;
pub(crate) mod procfs;
pub(crate) mod readable;
pub mod reaper;
mod scanner;
pub mod sockets;
mod spawn;
mod survivors;
mod tree;
pub mod usage;

pub use handle::{Process, Signal};
pub use identity::{Identity, Token, boot_id};
pub use scanner::Scanner;
pub(crate) use spawn::is_withheld;
pub use spawn::{ExecStage, SpawnError, SpawnRequest, TOKEN_VARIABLE, spawn};
pub use survivors::find_survivors;
pub use tree::{Member, Obstacle, Scope, Tree};
