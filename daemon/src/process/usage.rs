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

/// CPU time per second below which a process is not taken to get on. A llama-server b11434 that does
/// nothing but answer `/health` each 25 ms was measured to use 5 ms per second.
const CPU_PER_SECOND: Duration = Duration::from_millis(30);

/// The clock of the kernel counts in steps of 10 ms.
const SHORTEST_CPU: Duration = Duration::from_millis(20);

/// Page faults per second below which a process is not taken to get on; the same server made 10.
const FAULTS_PER_SECOND: f64 = 30.0;

/// Page faults that mean nothing, however short the time.
const FEWEST_FAULTS: f64 = 64.0;

impl Usage {
    /// Whether the process got on since `earlier`, `elapsed` ago, by more than being asked for its
    /// health explains.
    pub fn progressed_since(&self, earlier: &Self, elapsed: Duration) -> bool {
        let seconds = elapsed.as_secs_f64();
        let cpu = self.cpu.saturating_sub(earlier.cpu);
        let faults = self.minor_faults.saturating_sub(earlier.minor_faults);
        cpu > CPU_PER_SECOND.mul_f64(seconds).max(SHORTEST_CPU)
            || faults as f64 > FEWEST_FAULTS + FAULTS_PER_SECOND * seconds
            || self.major_faults > earlier.major_faults
            || self.read_bytes > earlier.read_bytes
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
    // A process with another user or with file capabilities keeps this to itself.
    let io = procfs::text(format!("/proc/{pid}/io")).unwrap_or_default();
    Ok(Some(Usage {
        cpu: to_time(stat.cpu_ticks),
        minor_faults: stat.minor_faults,
        major_faults: stat.major_faults,
        read_bytes: field(&io, "read_bytes:").unwrap_or(0),
        resident_bytes: pages(1).saturating_mul(page),
        resident_file_bytes: pages(2).saturating_mul(page),
    }))
}

/// The CPU time alone, which takes a third of the reading; `None` if there is no such process.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn cpu(pid: u32) -> io::Result<Option<Duration>> {
    Ok(Stat::read(pid)?.map(|stat| to_time(stat.cpu_ticks)))
}

fn to_time(ticks: u64) -> Duration {
    let ticks_per_second = unit(SysconfVar::CLK_TCK, 100);
    Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, cpu_ms: u64, minor_faults: u64) -> bool {
        let usage = Usage {
            cpu: Duration::from_millis(cpu_ms),
            minor_faults,
            ..Usage::default()
        };
        usage.progressed_since(&Usage::default(), Duration::from_secs(seconds))
    }

    /// What was measured of a server that is asked 40 times a second and does nothing.
    #[test]
    fn answering_us_is_no_progress_however_long_it_goes_on() {
        assert!((1..1_000).all(|seconds| !after(seconds, 5 * seconds, 10 * seconds)));
    }

    #[test]
    fn loading_is_progress() {
        assert!(after(1, 900, 0));
        assert!(after(1, 0, 10_000));
    }
}
