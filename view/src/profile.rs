//! Profiles.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Diagnostic, all, non_empty, timestamp};

/// One profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The stem of its file.
    pub name: String,
    /// `description` of its file.
    pub description: Option<String>,
    /// Its file. Absent for the built-in one.
    pub path: Option<String>,
    /// Whether it is the active one.
    pub active: bool,
    /// Whether it is the one that magid has without any file.
    pub built_in: bool,
    /// The servers that it would make.
    pub servers: Vec<String>,
    /// Bytes of main memory that its autostarted servers need together.
    pub memory_bytes: u64,
    /// Why it could not be activated.
    pub errors: Vec<Diagnostic>,
    /// When its file was last modified.
    pub modified_at: Option<Timestamp>,
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

/// A profile with its text.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProfileText {
    /// The profile.
    #[serde(flatten)]
    pub profile: Profile,
    /// The text of its file.
    pub text: String,
}

impl ProfileText {
    /// From the answer; `None` if it has no profile, which magid never sends.
    pub fn from_wire(answer: v1::GetProfileResponse) -> Option<Self> {
        Some(Self {
            profile: answer.profile?.into(),
            text: answer.text,
        })
    }
}
