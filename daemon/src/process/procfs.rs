//! Bounded reads of `/proc`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// More than the kernel writes into `stat`, `statm`, `io` and the like.
const SMALL: u64 = 16 * 1024;

/// The most of an environment that is searched. The kernel allows more only to processes that were
/// given an unusual stack limit.
const ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// What `/proc/PID/stat` says, as far as we need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    /// The name of the program, cut by the kernel at 15 bytes.
    pub(super) comm: String,
    /// The kernel's letter: `R`, `S`, `D`, `Z`, ….
    pub(super) state: char,
    pub(super) ppid: u32,
    pub(super) pgrp: u32,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// User and system time, in clock ticks.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// Clock ticks after boot.
    pub(super) start_time: u64,
}

impl Stat {
    /// Reads the stat of `pid`; `None` if there is no such process.
    pub(super) fn read(pid: u32) -> io::Result<Option<Self>> {
        let Some(bytes) = vanishing(read(format!("/proc/{pid}/stat"), SMALL))? else {
            return Ok(None);
        };
        Self::parse(&bytes).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has an unknown form"),
            )
        })
    }

    /// Parses one line of `stat`. The name may hold spaces and parentheses, so the fields after it
    /// are counted from the last parenthesis.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, tail) = text.rsplit_once(')')?;
        let (pid, comm) = head.split_once(" (")?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and the state is the third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            comm: comm.to_owned(),
            state: fields.first()?.chars().next()?,
            ppid: u32::try_from(number(4)?).ok()?,
            pgrp: u32::try_from(number(5)?).ok()?,
            minor_faults: number(10)?,
            major_faults: number(12)?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            start_time: number(22)?,
        })
    }

    /// Whether any thread of it is left. A main thread that is a zombie beside living threads is
    /// what a process looks like that was killed and hangs in a driver.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }
}

/// All processes that can be seen. Those that end during the scan are left out.
pub(super) fn processes() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        found.extend(Stat::read(pid)?);
    }
    Ok(found)
}

/// The environment of `pid`, as the kernel keeps it: `NAME=value` entries, each ended by a NUL. It is
/// the one that the process was started with.
pub(super) fn environment(pid: u32) -> io::Result<Vec<u8>> {
    read(format!("/proc/{pid}/environ"), ENVIRONMENT)
}

/// The value of `name` in an environment.
pub(super) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Reads a small file of `/proc` as text.
pub(super) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path, SMALL)?).into_owned())
}

/// A process can end between being listed and being read: that is an answer, not an error.
pub(super) fn vanishing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = b"42 (a) R (b) S 7 40 40 0 -1 4194560 11 0 12 0 13 14 0 0 20 0 3 0 999 1 2 3\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.comm.as_str(), stat.state),
            (42, "a) R (b", 'S')
        );
        assert_eq!(
            (stat.ppid, stat.pgrp, stat.threads, stat.start_time),
            (7, 40, 3, 999)
        );
        assert_eq!(
            (stat.minor_faults, stat.major_faults, stat.cpu_ticks),
            (11, 12, 27)
        );
    }

    #[test]
    fn we_find_ourselves() {
        let us = std::process::id();
        let stat = processes()
            .unwrap()
            .into_iter()
            .find(|stat| stat.pid == us)
            .unwrap();
        assert!(stat.is_live());
        assert_eq!(Stat::read(us).unwrap().unwrap().start_time, stat.start_time);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = b"XTOKEN=no\0TOKEN=yes\0";
        assert_eq!(variable(environment, "TOKEN"), Some(&b"yes"[..]));
        assert_eq!(variable(environment, "TOKE"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&bytes);
        }
    }
}
