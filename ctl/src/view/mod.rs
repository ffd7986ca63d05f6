//! The daemon's answers as values of magictl's own.
//!
//! They are what `-o json` prints, so their names and shapes are stable and documented in
//! `docs/json.md`: camelCase, times in RFC 3339, and what is absent is `null`, never missing. Tables
//! are made from the same values. The generated messages go no further than the `From`s here.

mod check;
mod config;
mod fleet;
mod generation;
mod key;
mod model;
mod profile;
mod record;
mod reload;
mod request;
mod server;

use jiff::Timestamp;

pub(crate) use check::{Finding, Level, Port, Ports, Report};
pub(crate) use config::{Config, ConfigState, Diagnostic};
pub(crate) use fleet::{Change, Servers, Status, Version};
pub(crate) use generation::{Diff, Generation, Generations, Pruned, Restored, Verified};
pub(crate) use key::{ClientKey, ClientKeys, CreatedKey};
pub(crate) use model::{Model, Models, Scan};
pub(crate) use profile::{Profile, ProfileText, Profiles};
pub(crate) use record::{Event, Events, LogLine, Logs};
pub(crate) use reload::{Action, Reload, Step, Verdict, Veto};
pub(crate) use request::{Request, Requests};
pub(crate) use server::{Exit, Explanation, Server, State};

/// A time of the API; `None` if it is absent or beyond what a clock can show.
fn timestamp(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A duration of the API.
fn seconds(duration: prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

/// The API writes an absent text as an empty one.
fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Converts a list.
fn all<T: From<F>, F>(items: Vec<F>) -> Vec<T> {
    items.into_iter().map(T::from).collect()
}
