//! magi-gateway: one HTTP address for all models.
//!
//! It is a client of `magi.v1`, and nothing else: magid decides what runs, the gateway carries requests
//! to it. A request for a server that is ready costs no call and takes no lock.
//!
//! Pure:
//!
//! * [`access`]: who may send which request.
//! * [`body`]: which model a request asks for, found without parsing the rest.
//! * [`table`]: the names of all servers, and the way to each.
//! * `http1`: heads and the ends of bodies, of clients and of servers.
//! * [`refusal`]: what is answered if a request is not forwarded, in the shape its client knows.
//!
//! Shared by all threads, without a lock on the way of a request:
//!
//! * [`gateway`]: the newest table and settings, and the ways to those who keep them.
//! * [`traffic`], [`queue`]: what goes on at each server, and whose turn it is.
//! * [`bodies`]: how much of what clients send is held at a time.
//!
//! The tasks:
//!
//! | task | owns | takes in | emits |
//! |---|---|---|---|
//! | [`attach`] | the stream to magid | routes, drains | the [`table`], what is in flight, what was let go of |
//! | [`configuration`] | gateway.toml | hints of files | what requests are judged by |
//! | [`serve`], its acceptor | where the gateway listens | connections | each to a thread |
//! | [`metrics`] | counts | events of magid | numbers for Prometheus |
//! | [`serve`], one for each core | its connections to clients and to servers | connections | answers |
//!
//! What is not carried to a server is answered by [`manage`], which calls magid, and asks each worker for
//! its [`activity`].
//!
//! Each of [`serve`] has a thread and a runtime of its own, so that a request stays on one core from its
//! first byte to its last.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod access;
pub mod activity;
pub mod attach;
pub mod bodies;
pub mod body;
pub mod configuration;
pub mod credential;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gateway;
mod http1;
#[cfg(test)]
mod man;
pub mod manage;
pub mod metrics;
mod proxy;
pub mod queue;
mod receive;
pub mod refusal;
pub mod run;
pub mod serve;
pub mod table;
pub mod traffic;
