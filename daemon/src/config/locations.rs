//! Where magid's files are.
//!
//! There are two sets of places. The *system's* are `/etc/magi`, `/var/lib/magi`, `/run/magi` and
//! `/var/log/magi`: for root, and for a service of the system's systemd, which passes directories but
//! no `XDG_RUNTIME_DIR`. The *user's* follow the XDG base directories: for everybody who has a home.
//! `--config` says where the configuration is and changes nothing about who one is: only root can
//! write to `/var/lib/magi`. What systemd passes wins over either set, and the top-level keys of
//! magid.toml win over that.

use std::path::{Path, PathBuf};

use super::Environment;

/// What decides where the files are.
#[derive(Clone, Copy, Debug)]
pub struct LocationInput<'a> {
    /// The environment.
    pub env: &'a Environment,
    /// `--config FILE`.
    pub explicit_config: Option<&'a Path>,
    /// Whether magid runs as root.
    pub is_root: bool,
    /// What relative paths of the command line and of variables are relative to.
    pub current_dir: &'a Path,
}

/// Where magid's files are, unless its configuration file says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// magid.toml, which need not exist.
    pub config_file: PathBuf,
    /// What must survive a restart of the machine.
    pub state_dir: PathBuf,
    /// Sockets.
    pub runtime_dir: PathBuf,
    /// The output of servers.
    pub log_dir: PathBuf,
    /// The profiles.
    pub profiles_dir: PathBuf,
    /// Where models are looked for when nothing is written down.
    pub default_scan_paths: Vec<PathBuf>,
    /// What relative paths in variables are relative to.
    pub current_dir: PathBuf,
}

impl Locations {
    /// Finds the places.
    pub fn find(input: &LocationInput<'_>) -> Self {
        let home = absolute(input.env, "HOME");
        let mut locations = match home.filter(|_| !is_system(input)) {
            Some(home) => Self::of_user(input, &home),
            None => Self::of_system(input),
        };
        let passed = |variable| first_of_list(input.env, variable);
        if let Some(dir) = passed("STATE_DIRECTORY") {
            locations.move_state(dir);
        }
        if let Some(dir) = passed("RUNTIME_DIRECTORY") {
            locations.runtime_dir = dir;
        }
        if let Some(dir) = passed("LOGS_DIRECTORY") {
            locations.log_dir = dir;
        }
        if let Some(dir) = passed("CONFIGURATION_DIRECTORY") {
            locations.config_file = dir.join("magid.toml");
        }
        if let Some(file) = input.explicit_config {
            locations.config_file = input.current_dir.join(file);
        }
        locations.profiles_dir = beside(&locations.config_file).join("profiles");
        locations
    }

    fn of_system(input: &LocationInput<'_>) -> Self {
        Self {
            config_file: "/etc/magi/magid.toml".into(),
            state_dir: "/var/lib/magi".into(),
            runtime_dir: "/run/magi".into(),
            log_dir: "/var/log/magi".into(),
            profiles_dir: PathBuf::new(),
            default_scan_paths: vec!["/models".into(), "/var/lib/magi/models".into()],
            current_dir: input.current_dir.to_owned(),
        }
    }

    fn of_user(input: &LocationInput<'_>, home: &Path) -> Self {
        let base = |variable, fallback: &str| {
            absolute(input.env, variable).unwrap_or_else(|| home.join(fallback))
        };
        let state_dir = base("XDG_STATE_HOME", ".local/state").join("magi");
        let cache = base("XDG_CACHE_HOME", ".cache");
        Self {
            config_file: base("XDG_CONFIG_HOME", ".config").join("magi/magid.toml"),
            runtime_dir: absolute(input.env, "XDG_RUNTIME_DIR")
                .map_or_else(|| state_dir.join("run"), |dir| dir.join("magi")),
            log_dir: state_dir.join("log"),
            state_dir,
            profiles_dir: PathBuf::new(),
            default_scan_paths: vec![
                home.join("models"),
                absolute(input.env, "LLAMA_CACHE").unwrap_or_else(|| cache.join("llama.cpp")),
                hub_cache(input.env, &cache),
            ],
            current_dir: input.current_dir.to_owned(),
        }
    }

    /// gateway.toml, which need not exist.
    pub fn gateway_file(&self) -> PathBuf {
        beside(&self.config_file).join("gateway.toml")
    }

    /// Moves the state directory, and with it what is inside it by default.
    pub(super) fn move_state(&mut self, dir: PathBuf) {
        for inside in self
            .default_scan_paths
            .iter_mut()
            .chain([&mut self.runtime_dir, &mut self.log_dir])
        {
            if let Ok(rest) = inside.strip_prefix(&self.state_dir) {
                *inside = dir.join(rest);
            }
        }
        self.state_dir = dir;
    }
}

/// The folder that a file is in: what relative paths in it are relative to.
pub(super) fn beside(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

/// The path of a binary, relative to `base`; a bare name stays one.
pub(super) fn binary(base: &Path, path: PathBuf) -> PathBuf {
    if path.components().count() > 1 {
        base.join(path)
    } else {
        path
    }
}

fn is_system(input: &LocationInput<'_>) -> bool {
    let passed = [
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "LOGS_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
    ];
    let by_systemd = input.env.first(&passed).is_some();
    input.is_root || by_systemd && input.env.get("XDG_RUNTIME_DIR").is_none()
}

/// The XDG specification ignores relative paths, and so do we.
fn absolute(env: &Environment, variable: &str) -> Option<PathBuf> {
    env.get(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn first_of_list(env: &Environment, variable: &str) -> Option<PathBuf> {
    let first = env.get(variable)?.split(':').next()?;
    Some(PathBuf::from(first)).filter(|path| path.is_absolute())
}

/// Where the Hugging Face tools keep what they download.
fn hub_cache(env: &Environment, cache: &Path) -> PathBuf {
    absolute(env, "HF_HUB_CACHE").unwrap_or_else(|| {
        absolute(env, "HF_HOME")
            .unwrap_or_else(|| cache.join("huggingface"))
            .join("hub")
    })
}
