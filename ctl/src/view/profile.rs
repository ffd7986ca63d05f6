//! Profiles.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{Diagnostic, all, non_empty, timestamp};

/// What `profiles list` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// One profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// Absent for the built-in one.
    pub(crate) path: Option<String>,
    pub(crate) active: bool,
    pub(crate) built_in: bool,
    /// The servers that it would make.
    pub(crate) servers: Vec<String>,
    /// Bytes of main memory that its autostarted servers need together.
    pub(crate) memory_bytes: u64,
    /// Why it could not be activated.
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) modified_at: Option<Timestamp>,
}

impl From<v1::Profile> for Profile {
    fn from(profile: v1::Profile) -> Self {
        Self {
            name: profile.name,
            description: non_empty(profile.description),
            path: non_empty(profile.path),
            active: profile.active,
            built_in: profile.built_in,
            servers: profile.servers,
            memory_bytes: profile.memory_bytes,
            errors: all(profile.errors),
            modified_at: timestamp(profile.modified_at),
        }
    }
}

/// What `profiles show` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProfileText {
    #[serde(flatten)]
    pub(crate) profile: Profile,
    /// The text of its file.
    pub(crate) text: String,
}

impl ProfileText {
    /// From the answer; `None` if it has no profile, which magid never sends.
    pub(crate) fn from_wire(answer: v1::GetProfileResponse) -> Option<Self> {
        Some(Self {
            profile: answer.profile?.into(),
            text: answer.text,
        })
    }
}
