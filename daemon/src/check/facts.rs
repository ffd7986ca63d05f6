//! What all checks start from, gathered once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::Parser;
use nix::unistd::Uid;

use super::account::Account;
use super::engine::{self, Builds};
use crate::config::{self, DaemonConfig, Environment, LocationInput, Locations};
use crate::daemon::{Arguments, records};
use crate::generations;
use crate::process::Identity;
use crate::process::procfs::{command_line_of, environment_of};
use crate::registry::{self, RegistryConfig};
use crate::reload::lookup::program;
use crate::reload::read::{self, Choice, Inputs, Read};
use crate::supervisor::record;
use crate::supervisor::seat::Seat;

/// What is to be checked, as the one who asks knows it.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// Profiles by name, or files; empty: everything.
    pub files: Vec<String>,
    /// The environment of the one who asks.
    pub environment: Environment,
    /// Where the one who asks is.
    pub current_dir: PathBuf,
    /// The magid that answers, if one does.
    pub magid: Option<Magid>,
}

/// A magid that runs.
#[derive(Clone, Debug, Default)]
pub struct Magid {
    /// Its process.
    pub pid: u32,
    /// Its magid.toml.
    pub config_file: PathBuf,
    /// Where its state is.
    pub state_dir: PathBuf,
    /// Where the output of its servers is.
    pub log_dir: PathBuf,
    /// The profile that is active.
    pub profile: Option<String>,
    /// Its servers.
    pub servers: Vec<Running>,
}

/// A server that has a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub server: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// Whether it is ready. Without a magid that answers nobody knows.
    pub is_ready: bool,
}

/// What all checks start from.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) subject: Subject,
    pub(super) locations: Locations,
    /// The environment of magid, as far as it can be known.
    pub(super) environment: Environment,
    /// As whom magid runs.
    pub(super) account: Account,
    /// The process of magid, if it runs on this machine.
    pub(super) pid: Option<u32>,
    /// magid.toml if it is right, else what is in force without it.
    pub(super) daemon: DaemonConfig,
    /// What magid would read.
    pub(super) read: Read,
    /// Servers that have a process.
    pub(super) running: Vec<Running>,
    builds: OnceLock<Builds>,
}

impl Facts {
    /// Gathers them. Blocks.
    pub(super) fn gather(subject: Subject) -> Self {
        let pid = subject
            .magid
            .as_ref()
            .map(|magid| magid.pid)
            .filter(is_magid);
        let account = Account::of_magid(pid);
        let environment = environment(&subject, pid);
        let locations = Locations::find(&LocationInput {
            env: &environment,
            explicit_config: config_file(&subject),
            is_root: account.uid == 0 || Uid::effective().is_root(),
            current_dir: &subject.current_dir,
        });
        let nothing = Environment::default();
        let defaults = config::parse_daemon(None, &nothing, &locations)
            .expect("nothing is wrong with no file and no variables")
            .daemon;
        let mut inputs = Inputs {
            locations: locations.clone(),
            environment: with_active_profile(&environment, &subject),
            scan_paths: pid.map(scan_paths).unwrap_or_default(),
            last_good: defaults.clone(),
            models: Arc::default(),
            choice: Choice::Active(None),
            instead: None,
        };
        // Where the models are and what was activated, only magid.toml tells.
        let daemon = read::read(&inputs).daemon.unwrap_or(defaults);
        let models = registry::survey(&RegistryConfig {
            scan_paths: daemon.scan_paths.clone(),
            file: daemon.registry.clone(),
            tiers: daemon.tiers,
        });
        inputs.models = Arc::new(models);
        if subject.magid.is_none() {
            inputs.choice = Choice::Active(generations::activated(&daemon.state_dir));
        }
        let read = read::read(&inputs);
        let running = match &subject.magid {
            Some(magid) => magid.servers.clone(),
            None => recorded(&daemon.state_dir),
        };
        Self {
            subject,
            locations,
            environment,
            account,
            pid,
            daemon,
            read,
            running,
            builds: OnceLock::new(),
        }
    }

    /// Whether a program is in the `PATH` of the one who asks.
    pub(super) fn has_program(&self, name: &str) -> bool {
        let found = program(Path::new(name), self.subject.environment.get("PATH"));
        found.is_absolute()
    }

    /// What each llama-server says of itself. Asked once; blocks.
    pub(super) fn builds(&self) -> &Builds {
        self.builds.get_or_init(|| engine::ask_all(self))
    }

    /// Whether what magid would serve is known: nothing of what it reads is wrong.
    pub(super) fn is_readable(&self) -> bool {
        self.read.errors.is_empty()
    }
}

fn config_file(subject: &Subject) -> Option<&Path> {
    let running = subject.magid.as_ref().map(|magid| &*magid.config_file);
    subject.config.as_deref().or(running)
}

/// The environment of the magid that runs; of one that may not be looked into, what it told; else that
/// of the one who asks.
fn environment(subject: &Subject, pid: Option<u32>) -> Environment {
    let Some(magid) = &subject.magid else {
        return subject.environment.clone();
    };
    if let Some(Ok(variables)) = pid.map(environment_of) {
        return variables.into_iter().collect();
    }
    let path = subject.environment.get("PATH").unwrap_or_default();
    let told = [
        ("PATH", path.to_owned()),
        ("STATE_DIRECTORY", magid.state_dir.display().to_string()),
        ("LOGS_DIRECTORY", magid.log_dir.display().to_string()),
    ];
    let told = told.map(|(variable, value)| (variable.to_owned(), value));
    told.into_iter().collect()
}

/// Activation is remembered by magid, whatever the files and variables ask for; and a variable is how
/// to ask for a profile without a change of files.
fn with_active_profile(environment: &Environment, subject: &Subject) -> Environment {
    let active = subject.magid.as_ref().and_then(|m| m.profile.clone());
    match active {
        Some(active) => environment.clone().with("MAGI_PROFILE", active),
        None => environment.clone(),
    }
}

/// A magid in a container tells a pid that is somebody else's here.
fn is_magid(pid: &u32) -> bool {
    command_line_of(*pid).is_ok_and(|words| {
        let program = words.first().map(Path::new);
        program.and_then(Path::file_name) == Some("magid".as_ref())
    })
}

/// The folders of models that magid was started with.
fn scan_paths(pid: u32) -> Vec<PathBuf> {
    let arguments = command_line_of(pid)
        .ok()
        .and_then(|words| Arguments::try_parse_from(words).ok());
    let Some(arguments) = arguments else {
        return Vec::new();
    };
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let paths = arguments.scan_paths.into_iter();
    paths.map(|path| folder.join(path)).collect()
}

/// The servers that a magid left running, or that one runs which does not answer.
fn recorded(state_dir: &Path) -> Vec<Running> {
    let records = record::look(&records(state_dir));
    let running = |(seat, record): (Seat, record::Record)| {
        let live = record.live?;
        let process = live.process?;
        let is_there = Identity::of(process.pid).ok()? == Some(process.clone());
        is_there.then(|| Running {
            server: seat.server.to_string(),
            pid: process.pid,
            endpoint: live.endpoint,
            is_ready: false,
        })
    };
    records.into_iter().filter_map(running).collect()
}
