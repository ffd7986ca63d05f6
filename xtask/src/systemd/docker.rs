//! A Docker daemon: the one that answers, or one of our own for as long as the tests run.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use magi_tests::container::LABEL;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::debian::ROOTS_PATH;
use crate::narrate::say;

/// How often, and how many times, a daemon is looked for that was just started.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 300;

/// Where the sockets of our own daemon are: paths of sockets are short.
const RUN: &str = "/run/magi-test-docker";

/// A Docker daemon that answers.
pub(super) struct Docker {
    /// Ours, to be ended.
    own: Option<Own>,
}

/// A daemon of our own.
struct Own {
    child: Child,
    host: OsString,
}

/// Whether a daemon answers where `docker` looks for one.
pub(super) fn answers() -> bool {
    is_answering(Command::new("docker"))
}

fn is_answering(mut docker: Command) -> bool {
    docker
        .arg("version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Docker {
    /// Finds a daemon, or starts one that keeps its data in `folder`.
    pub(super) fn find_or_start(folder: &Path) -> Result<Self> {
        if answers() {
            say("Docker: the daemon that answers");
            return Ok(Self { own: None });
        }
        let own = Own::start(folder)?;
        let docker = Self { own: Some(own) };
        for _ in 0..LOOKS {
            if is_answering(docker.command()) {
                return Ok(docker);
            }
            thread::sleep(LOOK);
        }
        bail!(
            "the dockerd that was started does not answer: see {}",
            log(folder).display()
        )
    }

    /// Tells a program where the daemon is.
    pub(super) fn tell(&self, command: &mut Command) {
        if let Some(own) = &self.own {
            command.env("DOCKER_HOST", &own.host);
        }
    }

    /// `docker`, that speaks with this daemon.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("docker");
        self.tell(&mut command);
        command
    }

    /// Removes the containers of a run that was killed.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let filter = format!("label={LABEL}");
        let listed = self
            .command()
            .args(["ps", "--all", "--quiet", "--filter", &filter])
            .output()?;
        let ids = String::from_utf8_lossy(&listed.stdout);
        let ids: Vec<_> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            let mut remove = self.command();
            remove.args(["rm", "--force", "--volumes"]).args(ids);
            remove.stdout(Stdio::null()).status()?;
        }
        Ok(())
    }
}

impl Own {
    fn start(folder: &Path) -> Result<Self> {
        let data = folder.join("docker");
        say(&format!(
            "no Docker answers: starting one in {}",
            data.display()
        ));
        fs::create_dir_all(RUN).with_context(|| {
            format!("cannot make {RUN}: starting a Docker daemon takes root; else start one, and this again")
        })?;
        let log = File::create(log(folder))?;
        let host = OsString::from(format!("unix://{RUN}/docker.sock"));
        let child = Command::new("dockerd")
            .env("PATH", ROOTS_PATH)
            // The containers have loopback and nothing else.
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false"])
            .arg("--data-root")
            .arg(data)
            .arg(format!("--exec-root={RUN}/exec"))
            .arg("--pidfile")
            .arg(pid_file())
            .arg("--host")
            .arg(&host)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run dockerd")?;
        Ok(Self { child, host })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Not the child's: that of a run that was killed may have answered in its place.
        if let Some(pid) = running(&pid_file()) {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// The dockerd that wrote its pid into a file, if it runs.
fn running(file: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == "dockerd").then(|| Pid::from_raw(pid))
}

fn pid_file() -> PathBuf {
    Path::new(RUN).join("dockerd.pid")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("dockerd.log")
}
