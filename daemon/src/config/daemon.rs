//! magid.toml.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use crate::gguf::TierRule;
use crate::lifecycle::{LivenessRules, RestartPolicy};

/// What magid.toml, the environment and the defaults make together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Which profile they ask for.
    pub active_profile: ActiveProfile,
    /// What must survive a restart of the machine.
    pub state_dir: PathBuf,
    /// Sockets.
    pub runtime_dir: PathBuf,
    /// The output of servers.
    pub log_dir: PathBuf,
    /// The profiles.
    pub profiles_dir: PathBuf,
    /// Where models are looked for, in this order.
    pub scan_paths: Vec<ScanPath>,
    /// The file with what is known of them, and with what the user says of them.
    pub registry: PathBuf,
    /// What makes a tier of a model's size.
    pub tiers: TierRule,
    /// How servers are run.
    pub llama_server: LlamaServerConfig,
    /// How they are restarted, unless their profile says otherwise.
    pub restart: RestartPolicy,
    /// How a hang is noticed.
    pub liveness: LivenessRules,
    /// How much memory servers may take.
    pub memory: MemoryConfig,
    /// What becomes of a change after which a server does not get ready.
    pub on_failure: OnFailure,
    /// What is kept of their output.
    pub logs: Logs,
    /// What a gateway may do.
    pub control: GatewayRights,
}

/// A profile's name, and who chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProfile {
    /// The name: the stem of a file in `profiles_dir`.
    pub name: String,
    /// Who chose it.
    pub chosen_by: ChosenBy,
    /// What the key in magid.toml says, also if a variable says something else.
    pub key: Option<String>,
}

impl ActiveProfile {
    /// What the variable says.
    pub fn variable(&self) -> Option<&str> {
        match self.chosen_by {
            ChosenBy::Variable(_) => Some(&self.name),
            ChosenBy::Default | ChosenBy::File => None,
        }
    }
}

/// Who chose the active profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// Nobody.
    Default,
    /// The key in magid.toml.
    File,
    /// This variable.
    Variable(&'static str),
}

/// A folder with models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPath {
    /// The folder.
    pub path: PathBuf,
    /// Whether somebody wrote it down. If it does not exist, that is worth a warning; an absent
    /// default is not.
    pub written_down: bool,
}

/// Scan paths that somebody wrote down on the command line.
pub fn written_scan_paths(paths: &[PathBuf]) -> Vec<ScanPath> {
    let written = |path: &PathBuf| ScanPath {
        path: path.clone(),
        written_down: true,
    };
    paths.iter().map(written).collect()
}

/// `[llama_server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlamaServerConfig {
    /// The binary. A name without `/` is to be looked up in `PATH`.
    pub path: PathBuf,
    /// The address that servers listen on.
    pub host: IpAddr,
    /// The ports for servers that name none.
    pub port_range: RangeInclusive<u16>,
    /// A start without progress for this long has failed.
    pub max_startup_time: Duration,
    /// The longest wait between two questions whether a starting server is ready.
    pub readiness_check_interval: Duration,
    /// How many servers may be starting at a time.
    pub concurrent_starts: ConcurrentStarts,
    /// The longest wait for requests in flight before a stop.
    pub drain_timeout: Duration,
    /// The time from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Whether servers ask for a key.
    pub api_key: ApiKeys,
}

/// Whether servers ask for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiKeys {
    /// They answer whoever can reach their port.
    #[default]
    None,
    /// Each incarnation asks for one of its own, which only gateways are told.
    Auto,
}

/// `[control] gateway`: what may be done over gateway.sock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayRights {
    /// What it takes to serve requests, and whatever changes nothing.
    #[default]
    Serve,
    /// Everything.
    Administer,
}

/// How many servers may be starting at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrentStarts {
    /// All that want to.
    Unlimited,
    /// This many.
    Limited(NonZeroU32),
}

/// `[memory]`: how much memory servers may take together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Main memory.
    pub ram: RamBudget,
    /// Memory of devices.
    pub vram: VramBudget,
    /// So many servers may be loaded at a time. 0: any number.
    pub max_loaded: u32,
}

/// How much main memory servers may take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RamBudget {
    /// What there is, with a reserve.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// How much memory of devices servers may take together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VramBudget {
    /// What each device has, with a reserve.
    #[default]
    Auto,
    /// So many bytes of each of these, by the name that llama-server gives it. At least one.
    Devices(BTreeMap<String, u64>),
}

/// What becomes of a change after which a new or replaced server does not get ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is taken back: the generation before it is restored.
    #[default]
    Rollback,
    /// It stays, and that server is in backoff or failed.
    Keep,
}

/// `[logs]`: what is kept of the output of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The most for one incarnation, in bytes.
    pub max_size: u64,
    /// So many incarnations of one server. At least 1.
    pub keep: u32,
}

/// What [`parse_daemon`](super::parse_daemon) made out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedDaemon {
    /// The configuration.
    pub daemon: DaemonConfig,
    /// `key (VARIABLE)` of each key that a variable determined.
    pub overridden: Vec<String>,
    /// What is probably not as it was meant.
    pub warnings: Vec<Diagnostic>,
}

impl Default for LlamaServerConfig {
    fn default() -> Self {
        Self {
            path: "llama-server".into(),
            host: Ipv4Addr::LOCALHOST.into(),
            port_range: 8080..=8099,
            max_startup_time: Duration::from_secs(120),
            readiness_check_interval: Duration::from_secs(2),
            concurrent_starts: ConcurrentStarts::Unlimited,
            drain_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            api_key: ApiKeys::None,
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            max_size: 64 << 20,
            keep: 5,
        }
    }
}

/// The keys of magid.toml that differ and that only a restart of magid applies.
pub fn restart_only_differences(old: &DaemonConfig, new: &DaemonConfig) -> Vec<String> {
    // All fields are named, so that a new one has to be thought about here.
    let DaemonConfig {
        state_dir,
        runtime_dir,
        log_dir,
        profiles_dir,
        registry,
        // Part of the transaction: a change activates the other profile.
        active_profile: _,
        // Looked at whenever a model is resolved.
        scan_paths: _,
        tiers: _,
        // What the next start, replace or stop uses.
        llama_server: _,
        restart: _,
        liveness: _,
        logs: _,
        // What the next start reserves.
        memory: _,
        // What the next change is judged by.
        on_failure: _,
        // Looked at for each request.
        control: _,
    } = new;
    // Held open, watched, locked or written for as long as magid runs.
    let held = [
        ("state_dir", &old.state_dir, state_dir),
        ("runtime_dir", &old.runtime_dir, runtime_dir),
        ("log_dir", &old.log_dir, log_dir),
        ("profiles_dir", &old.profiles_dir, profiles_dir),
        ("models.registry", &old.registry, registry),
    ];
    let differing = held.into_iter().filter(|(_, old, new)| old != new);
    differing.map(|(key, _, _)| key.to_owned()).collect()
}
