//! What a process has used, and whether that means that it moves.

use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::procfs::{self, Stat};

/// What a process has used since it started. All counts only grow, but for the resident sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, in user and system mode, of all its threads. In steps of 10 ms.
    pub cpu: Duration,
    /// Page faults served from memory.
    pub minor_faults: u64,
    /// Page faults that had to wait for the disk.
    pub major_faults: u64,
    /// Bytes fetched from storage; 0 if we may not see it.
    pub read_bytes: u64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// The part of them that is mapped from files: of a server that maps its model, what is loaded.
    pub resident_file_bytes: u64,
}

/// CPU time per second below which a process is not taken to get on. Measured on a llama-server that
/// is asked for its health every 25 ms while it does nothing: below 10 ms per second.
const CPU_PER_SECOND: Duration = Duration::from_millis(30);

/// Page faults below which a process is not taken to get on: answering us makes a few.
const MINOR_FAULTS: u64 = 64;

impl Usage {
    /// Whether the process got on since `earlier`, `elapsed` ago, by more than being asked for its
    /// health explains.
    pub fn progressed_since(&self, earlier: &Self, elapsed: Duration) -> bool {
        let cpu = self.cpu.saturating_sub(earlier.cpu);
        let explained = CPU_PER_SECOND
            .mul_f64(elapsed.as_secs_f64())
            .max(Duration::from_millis(20));
        cpu > explained
            || self.major_faults > earlier.major_faults
            || self.read_bytes > earlier.read_bytes
            || self.minor_faults.saturating_sub(earlier.minor_faults) > MINOR_FAULTS
    }
}

/// What the process `pid` has used; `None` if there is no such process.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn sample(pid: u32) -> io::Result<Option<Usage>> {
    let Some(stat) = Stat::read(pid)? else {
        return Ok(None);
    };
    let Some(statm) = procfs::vanishing(procfs::text(format!("/proc/{pid}/statm")))? else {
        return Ok(None);
    };
    let pages = |field: usize| -> u64 {
        statm
            .split_ascii_whitespace()
            .nth(field)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    let page = unit(SysconfVar::PAGE_SIZE, 4096);
    let ticks_per_second = unit(SysconfVar::CLK_TCK, 100);
    // A process with another user or with file capabilities keeps this to itself.
    let io = procfs::text(format!("/proc/{pid}/io")).unwrap_or_default();
    Ok(Some(Usage {
        cpu: Duration::from_millis(stat.cpu_ticks.saturating_mul(1000) / ticks_per_second),
        minor_faults: stat.minor_faults,
        major_faults: stat.major_faults,
        read_bytes: field(&io, "read_bytes:").unwrap_or(0),
        resident_bytes: pages(1).saturating_mul(page),
        resident_file_bytes: pages(2).saturating_mul(page),
    }))
}

/// How many processes the kernel has killed since boot because memory ran out, on this machine or in
/// a cgroup.
///
/// # Errors
///
/// If `/proc` cannot be read, or the kernel is older than Linux 4.13.
pub fn oom_kills() -> io::Result<u64> {
    field(&procfs::text("/proc/vmstat")?, "oom_kill").ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "/proc/vmstat does not count OOM kills",
        )
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    })
}

/// A constant of the system; `usual` if it does not tell, which it always does.
fn unit(name: SysconfVar, usual: u64) -> u64 {
    sysconf(name)
        .ok()
        .flatten()
        .and_then(|value| u64::try_from(value).ok())
        .filter(|&value| value > 0)
        .unwrap_or(usual)
}
