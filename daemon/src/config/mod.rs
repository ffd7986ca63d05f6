//! Configuration: from texts and variables to values.
//!
//! Everything here is pure. The shell reads files and the environment, and hands them in:
//!
//! 1. [`Locations::find`] says where magid.toml is.
//! 2. [`parse_daemon`] makes a [`DaemonConfig`] of it, so that the shell knows where the profiles are
//!    and which one is active.
//! 3. [`parse_profile`] makes a [`Profile`] of that one's text; without any there is [`builtin()`].
//! 4. [`Profile::expand`] makes servers of it for the models that there are.
//!
//! [`parse_gateway`] is for the gateway alone: it makes a [`GatewayConfig`] of gateway.toml.
//!
//! Each answers with a value or with everything that is wrong: [`Diagnostic`]s with the place in the
//! file and what to write instead. Values hold no default that is not filled in and no place that
//! takes part in a comparison, so two configurations that mean the same are equal: comments, white
//! space, the order of keys and a default made explicit change nothing.

mod builtin;
mod daemon;
mod diagnostic;
mod differing;
mod document;
mod edit;
mod edit_keys;
mod environment;
mod gateway;
mod glob;
mod key;
mod layer;
mod locations;
mod owned;
mod profile;
mod read_daemon;
mod read_gateway;
mod read_profile;
mod read_select;
mod restart;
#[cfg(test)]
mod schema;
mod select;
mod settings;
#[cfg(test)]
mod tests;
mod traffic;
mod value;

pub use builtin::{BUILTIN, BUILTIN_TEXT, builtin};
pub use daemon::{
    ActiveProfile, ApiKeys, ChosenBy, ConcurrentStarts, DaemonConfig, GatewayRights,
    LlamaServerConfig, Logs, MemoryConfig, OnFailure, ParsedDaemon, RamBudget, ScanPath,
    VramBudget, restart_only_differences, written_scan_paths,
};
pub use diagnostic::{Diagnostic, MAX_FILE_SIZE, Origin, Severity, SourceFile};
pub use differing::differing_keys;
pub use edit::{EditError, ProfileNameError, check_profile_name, describe, new_profile};
pub use edit_keys::{has_key, key_block, with_key, without_key};
pub use environment::{Environment, LogLevel};
pub use gateway::{GatewayConfig, Key, Listen, ParsedGateway};
pub use glob::Glob;
pub use key::{KeyHash, Scope, new_key};
pub use locations::{LocationInput, Locations};
pub use profile::{ParsedProfile, Profile, Replace, ServerConfig};
pub use read_daemon::parse_daemon;
pub use read_gateway::parse_gateway;
pub use read_profile::{MAX_SERVERS, is_blank, parse_profile};
pub use select::{Candidate, Select, Template};
pub use settings::Settings;
pub use traffic::Traffic;

/// All of it: what magid runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// magid.toml and the environment.
    pub daemon: DaemonConfig,
    /// The active profile, if there is one.
    pub profile: Option<Profile>,
    /// `key (VARIABLE)` of each key that a variable determined.
    pub overridden: Vec<String>,
    /// What is probably not as it was meant.
    pub warnings: Vec<Diagnostic>,
}
