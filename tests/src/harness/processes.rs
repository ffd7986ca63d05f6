//! Processes of this machine, seen through `/proc` and pidfds: never through magid.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid as RustixPid, PidfdFlags, pidfd_open};
use tokio::task::spawn_blocking;

/// Ids of the living processes whose command line or environment holds `text`.
pub fn pids_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own && mentions(pid, text))
        .collect()
}

/// A zombie mentions nothing: its memory is gone.
fn mentions(pid: u32, text: &str) -> bool {
    ["cmdline", "environ"].iter().any(|file| {
        let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        content
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

/// Whether a process runs: neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|content| !content.is_empty())
}

/// Sends a signal. A process that is gone is fine.
pub fn send(pid: u32, signal: Signal) {
    let _ = kill(to_pid(pid), signal);
}

fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("Linux has smaller process ids"))
}

/// Lets this test have as many descriptors as the system allows: the usual limit is made for programs
/// with fewer than a thousand connections.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Waits until a process has ended.
///
/// # Panics
///
/// If it still runs after `deadline`.
pub async fn wait_gone(pid: u32, deadline: Duration) {
    let id = RustixPid::from_raw(to_pid(pid).as_raw()).expect("a process id is not 0");
    let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty()) else {
        return;
    };
    #[expect(clippy::disallowed_methods, reason = "a test has threads enough")]
    let ended = spawn_blocking(move || {
        let limit = Timespec::try_from(deadline).expect("a deadline is a time");
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))
    })
    .await
    .expect("polling does not panic");
    assert_eq!(ended, Ok(1), "process {pid} still runs after {deadline:?}");
}
