//! A dockerd of the tests' own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use super::abilities::{self, Unable};
use super::network::Network;
use super::{PATH, cache};
use crate::debian;
use crate::narrate::say;

/// Programs that it takes, and the Debian packages that bring them.
const NEEDS: [(&str, &str); 5] = [
    ("dockerd", "docker.io"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("awk", "mawk"),
];

/// And where the kernel has AppArmor: dockerd misses it only when a container is to start.
const WITH_APPARMOR: (&str, &str) = ("apparmor_parser", "apparmor");

/// Where its sockets and its lock are: there is one at a time on a machine, and paths of sockets are short.
const RUN: &str = "/run/magi-test-docker";

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(100);

/// A dockerd that runs, and ends with this. What it built it keeps for the next time.
#[derive(Debug)]
pub(crate) struct Dockerd {
    child: Child,
    log: PathBuf,
    network: Network,
    /// Held while it runs.
    _lock: File,
}

impl Dockerd {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    ///
    /// This is not root, something cannot be installed, or the machine is [`Unable`] to run containers.
    pub(crate) fn start() -> Result<Self> {
        if !Uid::effective().is_root() {
            bail!("a docker of one's own takes root: run this with sudo");
        }
        debian::provide(&NEEDS)?;
        if Path::new("/sys/module/apparmor").exists() {
            debian::provide(&[WITH_APPARMOR])?;
        }
        let lock = lock()?;
        end_left(&run("pid"))?;
        abilities::ensure()?;
        let folder = cache()?;
        fs::create_dir_all(&folder)?;
        let network = Network::make()?;
        say(&format!("starting dockerd in {}", folder.display()));
        let log = folder.join("log");
        let output = File::create(&log)?;
        let child = network
            .inside("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(run("exec"))
            .arg("--pidfile")
            .arg(run("pid"))
            .args(["--host", &host()])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run dockerd")?;
        let mut daemon = Self {
            child,
            log,
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
        let log = fs::read_to_string(&self.log)?;
        let lines: Vec<_> = log.lines().collect();
        let why = lines[lines.len().saturating_sub(5)..].join("\n");
        let what = "a dockerd, which does not get up";
        Err(Unable { what, why }.into())
    }

    /// `docker` with these arguments.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(args).env("PATH", PATH);
        self.tell(&mut docker);
        docker
    }

    /// A program in its network, where the ports are that containers publish, told where it is and
    /// nothing else: variables win over .env.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let mut command = self.network.inside(program);
        command.env_clear().env("PATH", PATH);
        self.tell(&mut command);
        command
    }

    /// Tells a program where it is.
    pub(crate) fn tell(&self, command: &mut Command) {
        command
            .env("DOCKER_HOST", host())
            .env_remove("DOCKER_CONTEXT");
    }
}

/// A place of its own.
fn run(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

fn host() -> String {
    format!("unix://{}", run("sock").display())
}

/// Waits until no other test has one.
fn lock() -> Result<File> {
    fs::create_dir_all(RUN).with_context(|| format!("cannot make {RUN}"))?;
    let lock = File::create(run("lock"))?;
    if lock.try_lock().is_err() {
        say("another test has the docker of the tests: waiting for it");
        lock.lock()?;
    }
    Ok(lock)
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
