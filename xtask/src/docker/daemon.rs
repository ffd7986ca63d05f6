//! A dockerd of the tests' own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network::Network;
use super::{PATH, cache, ensure_needs};
use crate::narrate::say;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(100);

/// A dockerd that runs, and ends with this. What it built it keeps for the next time.
#[derive(Debug)]
pub(crate) struct Dockerd {
    child: Child,
    folder: PathBuf,
    network: Network,
    /// Held while it runs.
    _lock: File,
}

impl Dockerd {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    ///
    /// Something is missing, another one runs, or it does not get up; its last lines are told.
    pub(crate) fn start() -> Result<Self> {
        ensure_needs()?;
        let folder = cache()?;
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            say("another test has the docker of the tests: waiting for it");
            lock.lock()?;
        }
        let pid_file = folder.join("pid");
        end_left(&pid_file)?;
        let network = Network::make()?;
        say(&format!("starting dockerd in {}", folder.display()));
        let log = File::create(folder.join("log"))?;
        let child = network
            .inside("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(pid_file)
            .args([
                "--host",
                &format!("unix://{}", folder.join("sock").display()),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run dockerd")?;
        let mut daemon = Self {
            child,
            folder,
            network,
            _lock: lock,
        };
        daemon.wait()?;
        Ok(daemon)
    }

    fn wait(&mut self) -> Result<()> {
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            let mut info = self.docker(&["info"]);
            if info
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?
                .success()
            {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                break;
            }
            sleep(PAUSE);
        }
        let log = fs::read_to_string(self.folder.join("log"))?;
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        bail!("dockerd does not get up:\n{last}")
    }

    /// `docker` with these arguments.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(args).env("PATH", PATH);
        self.told(&mut docker);
        docker
    }

    /// A program in its network, where the ports are that containers publish, told where it is and
    /// nothing else: variables win over .env.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let mut command = self.network.inside(program);
        command.env_clear().env("PATH", PATH);
        self.told(&mut command);
        command
    }

    fn told(&self, command: &mut Command) {
        let socket = format!("unix://{}", self.folder.join("sock").display());
        command
            .env("DOCKER_HOST", socket)
            .env_remove("DOCKER_CONTEXT");
    }
}

/// Ends the one that a test left which was killed.
fn end_left(pid_file: &Path) -> Result<()> {
    let Ok(pid) = fs::read_to_string(pid_file) else {
        return Ok(());
    };
    let name = Path::new("/proc").join(pid.trim()).join("comm");
    let is_there = || fs::read_to_string(&name).is_ok_and(|name| name.trim_end() == "dockerd");
    if is_there() {
        kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGTERM)?;
    }
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if !is_there() {
            let _ = fs::remove_file(pid_file);
            return Ok(());
        }
        sleep(PAUSE);
    }
    bail!("the dockerd that an earlier test left does not end: pid {pid}")
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(pid) = pid {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
