//! The output of incarnations: files that outlive magid, and what is read back from them.
//!
//! An incarnation writes into a file of its own, without magid in between: no pipe can fill up and
//! block it, and magid can die without it noticing. Everything else follows from reading that file.
//!
//! * [`LogStore`] names the files, creates them and keeps a few per server.
//! * [`tail()`] reads the last lines; [`Follower`] reads on as they are written.
//! * [`cap`](cap::enforce) gives the oldest blocks back to the disk.
//! * [`journal`] hands lines to the journal, at a bounded rate.
//!
//! Output is hostile: a line can have ten megabytes, bytes that are no text, and escape codes. What
//! leaves this module are lines of at most [`lines::LONGEST`] bytes of clean text.

pub mod cap;
mod follow;
pub mod journal;
pub mod lines;
mod store;
mod tail;

pub use follow::{Follower, Fresh};
pub use store::LogStore;
pub use tail::tail;
