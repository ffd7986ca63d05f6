//! Lists of what [`magi_view`] has one of.

use jiff::Timestamp;
use magi_proto::v1;
use magi_view::{Event, FinishedRequest, Model, Profile, all, timestamp};
use serde::Serialize;

/// What `models list` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
    /// When the last scan ended.
    pub(crate) scanned_at: Option<Timestamp>,
    /// What could not be looked at, and files that are no models.
    pub(crate) problems: Vec<String>,
}

impl From<v1::ListModelsResponse> for Models {
    fn from(answer: v1::ListModelsResponse) -> Self {
        Self {
            models: all(answer.models),
            scanned_at: timestamp(answer.scanned_at),
            problems: answer.problems,
        }
    }
}

/// What `profiles list` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Profiles {
    pub(crate) profiles: Vec<Profile>,
}

impl From<v1::ListProfilesResponse> for Profiles {
    fn from(answer: v1::ListProfilesResponse) -> Self {
        Self {
            profiles: all(answer.profiles),
        }
    }
}

/// What `events` shows without `-f`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
}

/// What `requests` shows without `-f`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Requests {
    pub(crate) requests: Vec<FinishedRequest>,
}
