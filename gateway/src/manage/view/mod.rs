//! magid's answers as JSON: camelCase, times in RFC 3339, and what is absent is `null`, never missing.
//!
//! The names are those of `magictl -o json`. Beside them stand the names that the systems had which this
//! API takes the place of: `status` beside `state`, `modelId` beside `id`.

mod model;
mod profile;
mod record;
mod reload;
mod server;

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use model::{Kind, Model, Tier};
pub(super) use profile::Profile;
pub(super) use record::{Event, FinishedRequest, LogLine};
pub(super) use reload::{Step, Verdict, Veto};
pub(super) use server::{Explanation, Server, State, Status};

/// One error or warning of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnostic {
    /// The file. Absent for an environment variable.
    pub(crate) file: Option<String>,
    /// From 1.
    pub(crate) line: Option<u32>,
    /// In characters, from 1.
    pub(crate) column: Option<u32>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
}

impl From<v1::Diagnostic> for Diagnostic {
    fn from(diagnostic: v1::Diagnostic) -> Self {
        let place = |number: u32| (number > 0).then_some(number);
        Self {
            file: non_empty(diagnostic.file),
            line: place(diagnostic.line),
            column: place(diagnostic.column),
            message: diagnostic.message,
            help: non_empty(diagnostic.help),
        }
    }
}

/// A time of the API; `None` if it is absent or beyond what a clock can show.
pub(super) fn timestamp(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A duration of the API in seconds.
pub(super) fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) / 1e9)
}

/// The API writes an absent text as an empty one.
pub(super) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Converts a list.
pub(super) fn all<T: From<F>, F>(items: Vec<F>) -> Vec<T> {
    items.into_iter().map(T::from).collect()
}
