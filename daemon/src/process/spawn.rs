//! Starting a process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use thiserror::Error;

use super::handle::{self, Process};
use super::identity::{Identity, Token};
use super::reaper::{self, Registration};
use crate::blocking::blocking;
use crate::lifecycle::Prospect;

/// The variable by which an incarnation, and all it starts, carries its token.
pub const TOKEN_VARIABLE: &str = "MAGI_INCARNATION_TOKEN";

/// A process to start.
#[derive(Debug)]
pub struct SpawnRequest {
    /// The program: a path, or a name to look up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<OsString>,
    /// Variables to add to the cleaned environment.
    pub env: BTreeMap<String, String>,
    /// What marks it and all it starts.
    pub token: Token,
    /// Where its output goes, both streams. Opened for appending, so that giving back its oldest
    /// blocks or truncating it does not confuse the writer.
    pub output: File,
    /// Where it runs; where magid runs, if absent.
    pub current_dir: Option<PathBuf>,
}

/// How far the start of a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStage {
    /// Its output has nowhere to go.
    OpeningLog,
    /// The kernel gave us no process.
    StartingProcess,
    /// The process could not go where it should run.
    EnteringDirectory,
    /// The process could not become the program.
    Executing,
    /// The process ran, and we could not take hold of it, so it was killed.
    OpeningHandle,
}

impl fmt::Display for ExecStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpeningLog => "opening the log file",
            Self::StartingProcess => "starting a process",
            Self::EnteringDirectory => "entering the working directory",
            Self::Executing => "executing",
            Self::OpeningHandle => "opening a handle on the process",
        })
    }
}

/// Why a process could not be started: what, how far it got, why, and what to do.
///
/// The cause is part of the text, so it is not a source of the error as well.
#[derive(Debug, Error)]
#[error("cannot start {}: {stage}: {}{}", .program.display(), plain(.cause), advice(*.stage, .program, .cause))]
pub struct SpawnError {
    /// How far it got.
    pub stage: ExecStage,
    /// The program.
    pub program: PathBuf,
    /// What the kernel answered.
    pub cause: io::Error,
}

impl SpawnError {
    /// What a second try can be expected to bring.
    pub fn prospect(&self) -> Prospect {
        match (Errno::from_io_error(&self.cause), self.stage) {
            (Some(errno), ExecStage::Executing) if is_about_the_program(errno) => {
                Prospect::Permanent
            }
            // A folder that is missing or closed to us: it may be mended, and nothing tells us.
            (Some(errno), ExecStage::OpeningLog | ExecStage::EnteringDirectory)
                if is_about_the_program(errno) =>
            {
                Prospect::Blocked
            }
            (
                _,
                ExecStage::OpeningLog
                | ExecStage::StartingProcess
                | ExecStage::EnteringDirectory
                | ExecStage::Executing
                | ExecStage::OpeningHandle,
            ) => Prospect::Transient,
        }
    }
}

/// What to do about it, with the punctuation in front; empty if there is nothing to say.
fn advice(stage: ExecStage, program: &Path, cause: &io::Error) -> String {
    let name = program.display();
    let executing = stage == ExecStage::Executing;
    match Errno::from_io_error(cause) {
        Some(Errno::MFILE | Errno::NFILE) => "; raise LimitNOFILE= of magid".to_owned(),
        Some(Errno::AGAIN) => "; raise TasksMax= or LimitNPROC= of magid".to_owned(),
        Some(Errno::NOMEM) => "; free memory, or stop another server".to_owned(),
        Some(Errno::TXTBSY) => "; it is being written, and is tried again".to_owned(),
        Some(Errno::NOENT) if executing && program.exists() => {
            "; the file is there, its interpreter or loader is not: install a build for this system"
                .to_owned()
        }
        Some(Errno::NOENT | Errno::NOTDIR) if executing => {
            "; set [llama_server] path or install llama.cpp".to_owned()
        }
        Some(Errno::ACCESS) if executing => format!(
            "; make it executable (chmod a+x {name}), in folders that magid may enter, on a mount without noexec"
        ),
        Some(Errno::NOEXEC) => {
            "; it is not a program for this machine: set [llama_server] path to one".to_owned()
        }
        _ => String::new(),
    }
}

/// The errors of `execve` that the next try will meet again, unless somebody changes a file.
fn is_about_the_program(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOEXEC
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::TOOBIG
            | Errno::INVAL
            | Errno::LIBBAD
            | Errno::ROFS
    )
}

/// The text of an error without the "(os error 2)" that Rust appends.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((plain, _number)) => plain.to_owned(),
        None => text,
    }
}

/// Starts a process: its own process group, no input, one file for all its output, and an environment
/// without what is meant for magid or would override its arguments.
///
/// A caller that goes away before this returns leaves no process behind.
///
/// # Errors
///
/// Says at which stage it failed; nothing runs then.
pub async fn spawn(request: SpawnRequest) -> Result<Process, SpawnError> {
    let program = request.program.clone();
    let failed = |cause| SpawnError {
        stage: ExecStage::OpeningHandle,
        program: program.clone(),
        cause,
    };
    // Forking copies the page tables of magid, and exec reads the disk: not on a thread that others
    // wait for.
    match blocking(move || start(request)).await {
        Ok(started) => started?.claim().map_err(failed),
        Err(_cancelled_or_panicked) => {
            Err(failed(io::Error::other("the runtime is shutting down")))
        }
    }
}

fn start(request: SpawnRequest) -> Result<Started, SpawnError> {
    let program = request.program.clone();
    let directory = request.current_dir.clone();
    let failed = |(stage, cause)| SpawnError {
        stage,
        program: program.clone(),
        cause,
    };
    let mut command = command(request).map_err(|cause| failed((ExecStage::OpeningLog, cause)))?;
    reaper::while_spawning(|| {
        let child = command
            .spawn()
            .map_err(|cause| (stage_of(&cause, directory.as_deref()), cause))?;
        take_hold(child).map_err(|cause| (ExecStage::OpeningHandle, cause))
    })
    .map_err(failed)
}

fn command(request: SpawnRequest) -> io::Result<Command> {
    let mut command = Command::new(&request.program);
    command
        .args(&request.args)
        .stdin(Stdio::null())
        .stdout(request.output.try_clone()?)
        .stderr(request.output)
        .process_group(0);
    for (name, _value) in std::env::vars_os() {
        if is_withheld(&name) {
            command.env_remove(name);
        }
    }
    // A backtrace by gdb takes seconds in which a crashed server is not restarted.
    command.env("GGML_NO_BACKTRACE", "1");
    command.envs(&request.env);
    command.env(TOKEN_VARIABLE, request.token.as_str());
    if let Some(directory) = &request.current_dir {
        command.current_dir(directory);
    }
    Ok(command)
}

/// Whether a variable of magid's own environment is kept from its children: those that override what
/// magid says in argv, those that carry secrets, and those of systemd that are meant for magid.
pub(crate) fn is_withheld(name: &OsStr) -> bool {
    const PREFIXES: [&str; 6] = [
        "LLAMA_ARG_",
        "LLAMA_SERVER_",
        "AIP_",
        "WATCHDOG_",
        "LISTEN_",
        "MAGI_",
    ];
    const NAMES: [&str; 6] = [
        "LLAMA_API_KEY",
        "LLAMA_APP_CMD",
        "HF_TOKEN",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The standard library reports fork, chdir and exec in one error; what it is tells them apart.
fn stage_of(cause: &io::Error, directory: Option<&Path>) -> ExecStage {
    match Errno::from_io_error(cause) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            ExecStage::StartingProcess
        }
        _ if directory.is_some_and(|directory| !directory.is_dir()) => ExecStage::EnteringDirectory,
        _ => ExecStage::Executing,
    }
}

fn take_hold(mut child: Child) -> io::Result<Started> {
    let held = hold(child.id());
    if held.is_err() {
        // It is a second old at most and has nothing to lose. Its end is near: this does not block.
        let _ = child.kill();
        let _ = child.wait();
    }
    held
}

fn hold(pid: u32) -> io::Result<Started> {
    let gone = || io::Error::other("it is gone, though nobody waited for it");
    let identity = Identity::of(pid)?.ok_or_else(gone)?;
    let pidfd = handle::open_started_at(pid, identity.start_time)?.ok_or_else(gone)?;
    let registration = Registration::new(&identity);
    Ok(Started(Some((identity, pidfd, registration))))
}

/// A process that nobody has taken yet. Dropped, it is killed.
struct Started(Option<(Identity, OwnedFd, Registration)>);

impl Started {
    fn claim(mut self) -> io::Result<Process> {
        let (identity, pidfd, registration) = self.0.take().expect("claimed once, by value");
        let spare = pidfd.try_clone()?;
        Process::new(identity, pidfd, Some(registration)).inspect_err(|_| kill(&spare))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some((_, pidfd, _)) = &self.0 {
            kill(pidfd);
        }
    }
}

fn kill(pidfd: &OwnedFd) {
    // It fails only for a process that has already ended.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}
