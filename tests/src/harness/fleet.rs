//! A magid, its files, and everything it starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use magi_proto::v1::daemon_service_client::DaemonServiceClient;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::model_service_client::ModelServiceClient;
use magi_proto::v1::server_service_client::ServerServiceClient;
use magi_proto::{DaemonChannel, connect};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::places::{faulty_llama_server, program};
use super::ports::Ports;
use super::processes::{pids_with, send};
use super::run::{Ran, run};
use super::server::Server;
use super::wait::DEADLINE;
use crate::model::tiny_model;

/// The name of the active profile.
const PROFILE: &str = "test";

/// How often something is looked at that nobody announces.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// The user, and the group, who may do nothing.
const NOBODY: u32 = 65_534;

/// For one run of magictl.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// A magid in a directory of its own. Made with [`Fleet::new`], it is a directory without a profile
/// in which nothing runs yet.
pub struct Fleet {
    dir: TempDir,
    ports: Ports,
    config: BTreeMap<String, Value>,
    env: BTreeMap<String, String>,
    /// Folders on magid's command line, in the place of a configuration.
    folders: Option<Vec<String>>,
    /// Whether magid runs as a user who may do nothing.
    is_nobody: bool,
    magid: Option<Child>,
    channel: Option<DaemonChannel>,
}

impl Fleet {
    /// Makes the directory. The faulty llama-server is the default one.
    ///
    /// # Panics
    ///
    /// Like every method here, if the machine refuses what a test needs.
    #[allow(
        clippy::new_without_default,
        reason = "it is no value, it makes a directory"
    )]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("magi-test-")
            .tempdir()
            .expect("the folder for temporary files is writable");
        let mut fleet = Self {
            dir,
            ports: Ports::claim(),
            config: BTreeMap::new(),
            env: BTreeMap::new(),
            folders: None,
            is_nobody: false,
            magid: None,
            channel: None,
        };
        for folder in ["models", "profiles", "home"] {
            fs::create_dir(fleet.path(folder)).expect("a new directory takes folders");
        }
        for (key, folder) in [
            ("state_dir", "state"),
            ("runtime_dir", "run"),
            ("log_dir", "log"),
        ] {
            fleet.set(key, fleet.path(folder).display().to_string());
        }
        let (first, last) = fleet.ports.range.clone().into_inner();
        fleet.set("active_profile", PROFILE);
        fleet.set("models.scan_paths", json!([fleet.path("models")]));
        fleet.set("llama_server.port_range", json!([first, last]));
        fleet.set(
            "llama_server.path",
            faulty_llama_server().display().to_string(),
        );
        fleet
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory, as it stands in the environment and command line of everything it starts.
    pub(super) fn mark(&self) -> &str {
        self.dir.path().to_str().expect("paths of tests are UTF-8")
    }

    /// What stands in the environment of what a test starts beside magid.
    pub(super) fn mark_beside(&self) -> String {
        format!("MAGI_TEST_BESIDE={}", self.mark())
    }

    /// A port that only this fleet uses, from the end of its range; `index` below 20. magid takes
    /// ports from the beginning.
    pub fn port(&self, index: u16) -> u16 {
        self.ports.range.end() - index
    }

    /// The active profile's file.
    pub fn profile_path(&self) -> PathBuf {
        self.path("profiles").join(format!("{PROFILE}.toml"))
    }

    /// Sets a key of magid.toml, dotted as in `restart.initial_delay`, and saves the file in one step: a
    /// magid that starts may be about to read it.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.config.insert(key.into(), value.into());
        let lines = self
            .config
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        self.replace(&self.config_path(), &lines.collect::<String>());
    }

    /// The daemon's configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.path("magid.toml")
    }

    /// Sets a variable of magid's environment, for its next start.
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.into(), value.into());
    }

    /// Takes the configuration away: magid is run with `folders`, and nothing else. The places that it
    /// would have are the fleet's, its ports too; llama-server is the one in the folder of `program`.
    pub fn without_configuration(&mut self, folders: &[&str], program: &Path) {
        fs::remove_file(self.config_path()).expect("it was written");
        self.folders = Some(folders.iter().copied().map(String::from).collect());
        for (name, folder) in [
            ("STATE_DIRECTORY", "state"),
            ("RUNTIME_DIRECTORY", "run"),
            ("LOGS_DIRECTORY", "log"),
            ("CONFIGURATION_DIRECTORY", "etc"),
        ] {
            self.env(name, self.path(folder).display().to_string());
        }
        let (first, last) = self.ports.range.clone().into_inner();
        self.env("MODEL_PORT_RANGE_START", first.to_string());
        self.env("MODEL_PORT_RANGE_END", last.to_string());
        let folder = program.parent().expect("a program is in a folder");
        self.env("PATH", folder.display().to_string());
    }

    /// Gives everything that is there to a user who may do nothing else, and runs magid as that user
    /// from now on. Whoever is not root is such a user.
    pub fn as_nobody(&mut self) {
        if !Uid::effective().is_root() {
            return;
        }
        // The folders of the tests' programs may be closed to others.
        let magid = self.path("magid");
        let linked = fs::hard_link(program("magid"), &magid);
        linked
            .or_else(|_| fs::copy(program("magid"), &magid).map(drop))
            .expect("the directory is writable");
        self.is_nobody = true;
        let mut paths = vec![self.dir().to_path_buf()];
        while let Some(path) = paths.pop() {
            if path != magid {
                chown(
                    &path,
                    Some(Uid::from_raw(NOBODY)),
                    Some(Gid::from_raw(NOBODY)),
                )
                .expect("root may do this");
            }
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()));
        }
    }

    /// Saves a profile of these servers, and makes their models.
    pub fn save(&self, servers: &[Server]) {
        self.save_text(&self.profile_of(servers));
    }

    /// Saves these servers as another profile than the active one.
    pub fn save_profile(&self, name: &str, servers: &[Server]) {
        let path = self.path("profiles").join(format!("{name}.toml"));
        fs::write(path, self.profile_of(servers)).expect("the directory is writable");
    }

    /// As [`Fleet::save`], in one step: nobody ever reads a part of it, whoever else saves.
    pub fn save_at_once(&self, servers: &[Server]) {
        self.replace(&self.profile_path(), &self.profile_of(servers));
    }

    fn replace(&self, path: &Path, text: &str) {
        let fresh = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(self.dir())
            .expect("the directory is writable");
        fs::write(fresh.path(), text).expect("the directory is writable");
        fresh.persist(path).expect("the directory is writable");
    }

    fn profile_of(&self, servers: &[Server]) -> String {
        for server in servers {
            self.make_model(&server.name);
        }
        let tables: Vec<_> = servers.iter().map(Server::to_toml).collect();
        tables.join("\n")
    }

    /// Saves a text as the profile.
    pub fn save_text(&self, text: &str) {
        fs::write(self.profile_path(), text).expect("the directory is writable");
    }

    /// Makes a model that says `word`, and gives its path.
    pub fn make_model(&self, word: &str) -> PathBuf {
        let path = self.path("models").join(format!("{word}.gguf"));
        if !path.exists() {
            tiny_model(&path, word).expect("the directory is writable");
        }
        path
    }

    /// Starts magid, and waits until its socket answers.
    pub async fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + DEADLINE;
        while self.try_connect().await.is_none() {
            let ended = self.child().try_wait().expect("a child can be waited for");
            if let Some(status) = ended {
                self.fail(&format!("magid ended with {status} instead of starting"))
                    .await;
            }
            if Instant::now() > deadline {
                self.fail("magid's socket does not answer").await;
            }
            sleep(LOOK).await;
        }
    }

    /// Starts magid without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.magid.is_none(), "magid was started already");
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output_path())
            .expect("the directory is writable");
        let mut command = self.magid_command();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor can be copied"))
            .stderr(output);
        self.magid = Some(command.spawn().expect("magid can be run"));
    }

    fn magid_command(&self) -> Command {
        let magid = match self.is_nobody {
            true => self.path("magid"),
            false => program("magid"),
        };
        let mut command = Command::new(magid);
        match &self.folders {
            Some(folders) => command.args(folders),
            None => command.arg("--config").arg(self.config_path()),
        };
        if self.is_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("RUST_BACKTRACE", "1")
            .env("MAGI_TEST", self.dir.path())
            .envs(&self.env)
            .current_dir(self.dir.path())
            .kill_on_drop(true);
        command
    }

    /// Runs a magid that is expected to end by itself, beside the one that may run.
    pub async fn run_magid(&self) -> Ran {
        run(self.magid_command(), DEADLINE).await
    }

    async fn try_connect(&mut self) -> Option<()> {
        self.channel = Some(connect(Some(&self.socket())).await.ok()?);
        Some(())
    }

    /// magid's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/magid.sock")
    }

    /// The file that has magid's own output, of all its starts.
    pub(super) fn output_path(&self) -> PathBuf {
        self.path("magid.out")
    }

    /// What magid wrote so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.output_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn child(&mut self) -> &mut Child {
        self.magid.as_mut().expect("magid was started")
    }

    /// magid's process id.
    pub fn pid(&self) -> u32 {
        let child = self.magid.as_ref().expect("magid was started");
        child.id().expect("magid was not waited for yet")
    }

    /// Sends magid a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until magid has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let Ok(status) = timeout(COMMAND_DEADLINE, self.child().wait()).await else {
            self.fail("magid does not end").await
        };
        self.magid = None;
        self.channel = None;
        status.expect("a child can be waited for")
    }

    /// Ends magid by SIGTERM, and waits for it.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    /// Kills magid; what it started goes on.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.channel.is_some()
    }

    /// A client of the daemon.
    pub fn daemon(&self) -> DaemonServiceClient<DaemonChannel> {
        DaemonServiceClient::new(self.channel())
    }

    /// A client for its servers.
    pub fn servers(&self) -> ServerServiceClient<DaemonChannel> {
        ServerServiceClient::new(self.channel())
    }

    /// A client for what carries requests to its servers.
    pub fn gateways(&self) -> GatewayServiceClient<DaemonChannel> {
        GatewayServiceClient::new(self.channel())
    }

    /// A client for its models.
    pub fn models(&self) -> ModelServiceClient<DaemonChannel> {
        // All models may be more than the usual bound.
        ModelServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    fn channel(&self) -> DaemonChannel {
        self.channel.clone().expect("magid runs")
    }

    /// Runs magictl against this magid.
    pub async fn magictl(&self, args: &[&str]) -> Ran {
        run(self.magictl_command(args), COMMAND_DEADLINE).await
    }

    /// magictl, ready to run against this magid.
    pub fn magictl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("magictl"));
        command
            .args(args)
            .env("MAGI_SOCKET", self.socket())
            .env_remove("XDG_RUNTIME_DIR")
            .env("NO_COLOR", "1")
            .kill_on_drop(true);
        command
    }

    /// Ids of the living processes that magid started, itself left out.
    pub fn processes(&self) -> Vec<u32> {
        let magid = self.magid.as_ref().and_then(Child::id);
        let beside = pids_with(&self.mark_beside());
        let mut pids = pids_with(self.mark());
        pids.retain(|pid| Some(*pid) != magid && !beside.contains(pid));
        pids
    }

    /// The directory that holds everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- magid's output ---\n{}",
                super::report::tail(&self.output())
            );
        }
        if let Some(pid) = self.magid.as_ref().and_then(Child::id) {
            send(pid, Signal::SIGKILL);
        }
        // A process may be forking while the list is made, so once is not enough.
        for _ in 0..100 {
            let pids = pids_with(self.mark());
            if pids.is_empty() {
                break;
            }
            pids.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
            std::thread::sleep(LOOK);
        }
    }
}
