//! What a process holds.

use std::fmt;
use std::fs;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// What a process holds at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of it in memory.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Resources {
    /// Those of a process.
    ///
    /// # Panics
    ///
    /// If there is no such process.
    pub fn of(pid: u32) -> Self {
        let count = |folder: &str| {
            let entries = fs::read_dir(format!("/proc/{pid}/{folder}"));
            entries.expect("the process is there").count()
        };
        Self {
            resident: 1024 * status_number(pid, "VmRSS:").expect("the process is there"),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }

    /// The larger of each.
    pub fn worst(&self, other: &Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }

    /// The memory in MiB.
    pub fn mebibytes(&self) -> f64 {
        self.resident as f64 / f64::from(1 << 20)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, threads) = (self.mebibytes(), self.threads);
        let descriptors = self.descriptors;
        write!(
            f,
            "{memory:.1} MiB, {descriptors} descriptors, {threads} threads"
        )
    }
}

/// CPU time of all threads of a process, also of those that have ended, in seconds.
///
/// # Panics
///
/// If there is no such process.
pub fn cpu_seconds(pid: u32) -> f64 {
    let pid = Pid::from_raw(i32::try_from(pid).expect("Linux has smaller process ids"));
    let clock = ClockId::pid_cpu_clock_id(pid).expect("the process is there");
    let time = clock.now().expect("a process's clock can be read");
    Duration::from(time).as_secs_f64()
}

/// The most bytes of a process that were ever in memory.
///
/// # Panics
///
/// If there is no such process.
pub fn peak_memory(pid: u32) -> u64 {
    1024 * status_number(pid, "VmHWM:").expect("the process is there")
}

/// How many children of a process are dead and not waited for.
pub fn zombies_of(parent: u32) -> usize {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| {
        let state = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        state.contains("\nState:\tZ") && status_number(pid, "PPid:") == Some(parent.into())
    })
    .count()
}

fn status_number(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
