//! magid's answers as JSON: what `magictl -o json` prints, and what the gateway's REST API answers.
//!
//! The names and shapes are stable and documented in `docs/json.md` and `docs/openapi.json`: camelCase, times
//! in RFC 3339, and what is absent is `null`, never missing. The generated messages go no further than the
//! `From`s here. What only one of the two has, such as its lists, it makes of these itself.

mod config;
mod model;
mod profile;
mod record;
mod reload;
mod server;
mod word;

use jiff::Timestamp;

pub use config::{Config, ConfigState, Diagnostic, Gateway};
pub use model::{Kind, Model, Scan, Tier};
pub use profile::{Profile, ProfileText};
pub use record::{Event, FinishedRequest, LogLine, Logs};
pub use reload::{Action, Step, Verdict, Veto};
pub use server::{Exit, Explanation, Server, State};

/// A time of the API; `None` if it is absent or beyond what a clock can show.
pub fn timestamp(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A duration of the API in seconds.
pub fn seconds(duration: prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

/// The API writes an absent text as an empty one.
pub fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Converts a list.
pub fn all<T: From<F>, F>(items: Vec<F>) -> Vec<T> {
    items.into_iter().map(T::from).collect()
}
