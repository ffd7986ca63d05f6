//! magid: the daemon that owns a fleet of llama-server processes.
//!
//! A pure core decides; an effectful shell carries out.
//!
//! The core knows no clock, no files, no processes and no tokio; `tests/core.rs` keeps it so:
//!
//! * [`config`]: texts and an environment become typed values, or diagnostics with their place.
//! * [`plan`]: the difference between what is defined and what should be, as steps per server.
//! * [`lifecycle`]: one server's state machine, backoff, breaker, exit classes and liveness.
//! * [`eviction`]: who is stopped to make room for whom.
//! * [`gguf`]: what the headers of model files say.
//! * [`name`], [`moment`]: the words that all of these share.
//!
//! The shell is made of tasks. Each owns something, takes messages in through a bounded queue, and
//! publishes what others may read:
//!
//! | task | owns | takes in | emits |
//! |---|---|---|---|
//! | [`daemon`] | start, signals, end | signals, the request to stop | what systemd is told |
//! | [`reload`] | the configuration that is applied, the change that has yet to prove itself, the [`generations`] | hints of files and models, SIGHUP, reloads, activations, rollbacks, what is asked of profiles | plans to the fleet, common rules, `[memory]` and `[models]` to their owners, the configuration's status |
//! | [`supervisor::fleet`] | which servers there are, in which seats, and which an operator stopped | asks, plans, the request to judge a change | commands to servers, vetoes, the watchdog's sign of life |
//! | [`supervisor::server`], one for each seat | the state and the incarnation that are in it | commands, reports of its effects | its row on the board, reservations, events |
//! | [`supervisor::room`] | who was told to make room, and has not answered | who wants room, the board, what is in flight, the ledger's changes | evictions to the fleet, how far it is with the room for whom |
//! | [`supervisor::ports`] | which server has which port | takes and releases | ports |
//! | [`supervisor::stopped`] | the file of the servers an operator stopped | the newest set | — |
//! | [`supervisor::former`] | the file of the gateways that are attached | who attaches and leaves | — |
//! | [`registry`] | what is known of models, and its file | file hints, rescans, what users say of models | a snapshot of the models |
//! | [`memory`] | the ledger, its budget, and what is known of needs, with its file | reservations and releases, what servers were seen to use, `[memory]`, a look at the machine each minute | grants and shortages |
//! | [`process::Scanner`] | looking at all processes | requests for a look | one picture for all who asked |
//! | [`process::reaper`] | orphans that reparented to us | SIGCHLD | — |
//! | [`api`] | the sockets | requests of `magi.v1` | asks to the owners above, routes and drains to gateways |
//! | [`daemon`], with `--gateway` | the gateway that is a child | its end | its next start |
//!
//! The ledger of [`memory`] is no task but a lock that nothing waits under; its module says why.
//!
//! [`process`], [`logs`], [`files`] and [`generations`] are what these tasks touch the system with;
//! what blocks is done through `blocking`. [`check`] is beside them all: magictl runs it, with or
//! without a magid.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod api;
mod blocking;
pub mod check;
pub mod config;
pub mod daemon;
pub mod eviction;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod generations;
pub mod gguf;
pub mod lifecycle;
pub mod logs;
pub mod memory;
pub mod moment;
pub mod name;
pub mod notify;
pub mod plan;
pub mod process;
pub mod registry;
pub mod reload;
mod secrets;
pub mod supervisor;
mod text;
