//! Profiles.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Diagnostic, all, non_empty, timestamp};

/// One profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    /// The stem of its file.
    pub(crate) name: String,
    /// `description` of its file.
    pub(crate) description: Option<String>,
    /// Its file. Absent for the built-in one.
    pub(crate) path: Option<String>,
    /// Whether it is the active one.
    pub(crate) active: bool,
    /// Whether it is the one that magid has without any file.
    pub(crate) built_in: bool,
    /// The servers that it would make.
    pub(crate) servers: Vec<String>,
    /// Bytes of main memory that its autostarted servers need together.
    pub(crate) memory_bytes: u64,
    /// Why it could not be activated.
    pub(crate) errors: Vec<Diagnostic>,
    /// When its file was last modified.
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
