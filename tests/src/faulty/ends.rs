//! How the process ends, and what it leaves behind.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, raise};
use nix::unistd::{getpid, setsid};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};

use super::fault::End;
use super::log;

static RECORD: OnceLock<Record> = OnceLock::new();

/// Where starts and ends are written.
struct Record {
    path: PathBuf,
    /// Locked for as long as the process lives, however it ends. `None` if another had it.
    _turn: Option<File>,
}

/// First argument of the processes that make a grandchild.
const ROLE_CHILD: &str = "--role-child";
const ROLE_GRANDCHILD: &str = "--role-grandchild";

/// Writes starts and ends to `path` from now on, one a line: `start PID NANOSECONDS` by the
/// monotonic clock. It is how a test sees when processes ran without asking magid. If another process
/// with the same record still lives, the line begins with `overlap`.
pub(super) fn record_to(path: PathBuf) {
    let turn = take_turn(&path);
    let what = if turn.is_some() { "start" } else { "overlap" };
    RECORD.get_or_init(|| Record { path, _turn: turn });
    record(what);
}

fn take_turn(path: &Path) -> Option<File> {
    let lock = File::create(path.with_extension("lock")).ok()?;
    lock.try_lock().is_ok().then_some(lock)
}

fn record(what: &str) {
    let Some(Record { path, .. }) = RECORD.get() else {
        return;
    };
    let now = clock_gettime(ClockId::Monotonic);
    let line = format!("{what} {} {}{:09}\n", getpid(), now.tv_sec, now.tv_nsec);
    let written = File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        log::error(
            "record",
            &format!("cannot write {}: {error}", path.display()),
        );
    }
}

/// Ends this process.
pub(super) fn leave(end: End) -> ! {
    record("end");
    match end {
        End::Code(code) => std::process::exit(code),
        End::Signal(number) => {
            // Rust's own handler of SIGSEGV and SIGBUS takes the first one, and restores what was.
            for _ in 0..2 {
                let _ = raise(number);
            }
            // Only a signal that does not kill comes here.
            std::process::exit(i32::from(u8::MAX));
        }
    }
}

/// Stops this process until someone sends SIGCONT.
pub(super) fn stop_self() {
    let _ = raise(Signal::SIGSTOP);
}

/// Swallows SIGTERM for ever. Needs the runtime.
pub(super) fn ignore_sigterm() -> std::io::Result<()> {
    let mut terms = signal(SignalKind::terminate())?;
    tokio::spawn(async move { while terms.recv().await.is_some() {} });
    Ok(())
}

/// Ends on SIGTERM and SIGINT as llama-server does once it has loaded: at once, with 0.
pub(super) fn end_on_signals() -> std::io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            signals.recv().await;
            log::info("operator()", "operator(): cleaning up before exit...");
            leave(End::Code(0));
        });
    }
    Ok(())
}

/// Leaves a grandchild in a session of its own: a child is started, which starts it and exits.
pub(super) fn leave_grandchild() -> std::io::Result<()> {
    Command::new(env::current_exe()?)
        .arg(ROLE_CHILD)
        .stdin(Stdio::null())
        .spawn()?
        .wait()?;
    Ok(())
}

/// Plays the part of a child or grandchild, if the arguments say so.
pub(super) fn play_role() -> Option<std::io::Result<()>> {
    match env::args().nth(1)?.as_str() {
        ROLE_CHILD => Some(be_child()),
        ROLE_GRANDCHILD => Some(be_grandchild()),
        _ => None,
    }
}

fn be_child() -> std::io::Result<()> {
    setsid()?;
    Command::new(env::current_exe()?)
        .arg(ROLE_GRANDCHILD)
        .spawn()
        .map(drop)
}

fn be_grandchild() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        ignore_sigterm()?;
        let mut hangups = signal(SignalKind::hangup())?;
        while hangups.recv().await.is_some() {}
        Ok(())
    })
}
