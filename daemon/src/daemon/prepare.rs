//! What has to be there before the first task starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, gethostname};

use super::lock::{self, Lock};
use super::{Arguments, DaemonError};
use crate::blocking::blocking;
use crate::config::{
    self, DaemonConfig, Environment, LocationInput, Locations, MAX_FILE_SIZE, ScanPath, SourceFile,
};
use crate::files::{self, ReadError, read_stable};
use crate::generations::{self, Store};
use crate::process::{Process, find_survivors, reaper, usage};
use crate::supervisor::fleet::Inheritance;
use crate::supervisor::record::RecordError;
use crate::supervisor::seat::Seat;
use crate::supervisor::server::Survivor;
use crate::supervisor::{former, record, stopped};

/// How often survivors are looked for, if those that were found end meanwhile.
const LOOKS: u32 = 3;

/// What was prepared.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) locations: Locations,
    pub(super) config: DaemonConfig,
    /// The folders of the command line, from / on: they are remembered longer than this process
    /// lives.
    pub(super) scan_paths: Vec<PathBuf>,
    pub(super) socket: PathBuf,
    /// The socket for gateways.
    pub(super) gateway_socket: PathBuf,
    pub(super) lock: Lock,
}

pub(super) fn prepare(
    arguments: &Arguments,
    environment: &Environment,
) -> Result<Ready, DaemonError> {
    umask(Mode::from_bits_truncate(0o027));
    raise_descriptor_limit();
    let current_dir = current_dir()?;
    let locations = locations(arguments, environment, &current_dir);
    let config = read_config(arguments, environment, &locations)?;
    for (what, path) in [
        ("state", &config.state_dir),
        ("runtime", &config.runtime_dir),
        ("log", &config.log_dir),
    ] {
        make_folder(what, path)?;
    }
    make_folder("records", &records(&config.state_dir))?;
    let lock = lock::take(&config.state_dir)?;
    for folder in [config.state_dir.clone(), records(&config.state_dir)] {
        files::sweep(&folder);
    }
    reaper::become_subreaper().map_err(|reason| DaemonError::System {
        what: "become the one that orphans reparent to",
        reason,
    })?;
    let socket = arguments.socket.clone();
    let socket = socket.unwrap_or_else(|| config.runtime_dir.join("magid.sock"));
    let scan_paths = arguments.scan_paths.iter();
    Ok(Ready {
        scan_paths: scan_paths
            .map(|path| current_dir.join(path).components().collect())
            .collect(),
        locations,
        gateway_socket: config.runtime_dir.join("gateway.sock"),
        config,
        socket,
        lock,
    })
}

pub(super) fn current_dir() -> Result<PathBuf, DaemonError> {
    std::env::current_dir().map_err(|reason| DaemonError::System {
        what: "tell the current folder",
        reason,
    })
}

pub(super) fn locations(
    arguments: &Arguments,
    environment: &Environment,
    current_dir: &Path,
) -> Locations {
    Locations::find(&LocationInput {
        env: environment,
        explicit_config: arguments.config.as_deref(),
        is_root: Uid::effective().is_root(),
        current_dir,
    })
}

/// Each server needs a few descriptors. The limit of most systems is made for programs that use
/// `select`, and may be raised by everybody.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

pub(super) fn read_config(
    arguments: &Arguments,
    environment: &Environment,
    locations: &Locations,
) -> Result<DaemonConfig, DaemonError> {
    let path = &locations.config_file;
    let file = match read_stable(path, MAX_FILE_SIZE as u64) {
        Ok(text) => Some(SourceFile {
            path: path.clone(),
            text,
        }),
        Err(ReadError::Missing(_)) if arguments.config.is_none() => None,
        Err(error) => return Err(DaemonError::Configuration(vec![error.to_string()])),
    };
    match config::parse_daemon(file.as_ref(), environment, locations) {
        Ok(parsed) => Ok(parsed.daemon),
        Err(diagnostics) => Err(DaemonError::configuration(&diagnostics, file.as_ref())),
    }
}

pub(super) fn make_folder(what: &'static str, path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(path);
    made.map_err(|reason| DaemonError::Folder {
        what,
        path: path.to_path_buf(),
        reason,
    })
}

/// The folder of the records of incarnations.
pub(crate) fn records(state_dir: &Path) -> PathBuf {
    state_dir.join("servers")
}

/// Opens the store of what was applied.
pub(super) async fn open_store(state_dir: &Path) -> Result<Store, DaemonError> {
    let folder = state_dir.join(generations::FOLDER);
    let opened = blocking(move || Store::open(&folder)).await;
    match opened {
        Ok(store) => Ok(store?),
        Err(error) => Err(DaemonError::System {
            what: "read what was applied before",
            reason: std::io::Error::other(error),
        }),
    }
}

/// Where models are looked for: the command line wins.
pub(super) fn scan_paths(config: &DaemonConfig, arguments: &[PathBuf]) -> Vec<ScanPath> {
    if arguments.is_empty() {
        return config.scan_paths.clone();
    }
    config::written_scan_paths(arguments)
}

/// The file that remembers which servers an operator stopped.
pub(super) fn stopped_file(state_dir: &Path) -> PathBuf {
    state_dir.join("stopped.json")
}

/// The file that remembers which gateways are attached, and which were when the last magid was killed.
pub(super) fn former_gateways(
    state_dir: &Path,
) -> Result<(PathBuf, BTreeSet<String>), DaemonError> {
    let path = state_dir.join("gateways.json");
    let former = former::read(&path).map_err(RecordError::from)?;
    Ok((path, former))
}

/// The name of this node.
pub(super) fn node_name() -> String {
    gethostname().map_or_else(
        |_| "localhost".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Finds out what an earlier magid left behind.
pub(super) async fn inherit(state_dir: &Path) -> Result<Inheritance, DaemonError> {
    let records = record::read_all(&records(state_dir))?;
    let stopped = stopped::read(&stopped_file(state_dir)).map_err(RecordError::from)?;
    let survivors = survivors(&records).map_err(|reason| DaemonError::System {
        what: "look for what an earlier magid left running",
        reason,
    })?;
    Ok(Inheritance {
        records,
        survivors,
        stopped,
    })
}

fn survivors(
    records: &BTreeMap<Seat, record::Record>,
) -> std::io::Result<BTreeMap<Seat, Survivor>> {
    let live = records
        .iter()
        .filter_map(|(name, r)| Some((name, r.live.as_ref()?)));
    let live: BTreeMap<_, _> = live.collect();
    let mut survivors = BTreeMap::new();
    if live.is_empty() {
        return Ok(survivors);
    }
    let tokens = live.values().map(|record| record.token.clone()).collect();
    for _ in 0..LOOKS {
        let trees = find_survivors(&tokens)?;
        let mut vanished = false;
        for (name, record) in &live {
            let Some(tree) = trees.get(&record.token) else {
                continue;
            };
            match Process::adopt(&tree.main)? {
                Some(process) => {
                    let usage = usage::sample(process.pid())?;
                    let survivor = Survivor {
                        process,
                        tree: tree.clone(),
                        endpoint: record.endpoint,
                        resident: usage.map_or(0, |usage| usage.resident_bytes),
                        reserved: None,
                    };
                    survivors.insert((*name).clone(), survivor);
                }
                None => vanished = true,
            }
        }
        if !vanished {
            break;
        }
    }
    Ok(survivors)
}
