//! magid itself: the state of its configuration, what is wrong with that, and who is attached.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::word::words;
use crate::{Veto, all, non_empty, timestamp};

words! {
    /// Whether the files on disk are what is applied.
    pub enum ConfigState of ConfigState {
        /// They are.
        Applied => Applied "applied",
        /// They are wrong: what was applied before still is.
        Invalid => Invalid "invalid",
        /// There is no active profile.
        NoProfile => NoProfile "no-profile",
        /// The files are right, but a server did not get ready with them.
        Vetoed => Vetoed "vetoed",
        /// One that a newer magid has.
        Unspecified => Unknown "unknown",
    }
}

/// The files on disk against what is applied.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Whether they are the same.
    pub state: ConfigState,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why the files were refused.
    pub errors: Vec<Diagnostic>,
    /// What is accepted, but deserves a look.
    pub warnings: Vec<Diagnostic>,
    /// Keys that an environment variable overrides.
    pub overridden: Vec<String>,
    /// Keys that take effect when magid is started again.
    pub needs_restart: Vec<String>,
    /// magid.toml.
    pub config_path: Option<String>,
    /// The folder of the profiles.
    pub profiles_dir: Option<String>,
    /// Servers whose failure had the content of the files taken back.
    pub vetoes: Vec<Veto>,
}

impl From<v1::ConfigStatus> for Config {
    fn from(config: v1::ConfigStatus) -> Self {
        Self {
            state: ConfigState::from_wire(config.state),
            since: timestamp(config.since),
            errors: all(config.errors),
            warnings: all(config.warnings),
            overridden: config.overridden,
            needs_restart: config.needs_restart,
            config_path: non_empty(config.config_path),
            profiles_dir: non_empty(config.profiles_dir),
            vetoes: all(config.vetoes),
        }
    }
}

/// One error or warning of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The file. Absent for an environment variable.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// In characters, from 1.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The same with the source line, for people.
    #[serde(skip)]
    pub rendered: String,
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
            rendered: diagnostic.rendered,
        }
    }
}

/// A gateway that is attached.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Unique for the life of its process.
    pub id: String,
    /// The version of its program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Since when.
    pub attached_at: Option<Timestamp>,
}

impl From<v1::Gateway> for Gateway {
    fn from(gateway: v1::Gateway) -> Self {
        Self {
            id: gateway.id,
            version: gateway.version,
            pid: gateway.pid,
            addresses: gateway.addresses,
            attached_at: timestamp(gateway.attached_at),
        }
    }
}
