//! Bounded reads of `/proc`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::text::one_line;

/// More than the kernel writes into `statm`, `io` and the like.
const SMALL: u64 = 16 * 1024;

/// More than the kernel writes into `stat`: fifty numbers and a short name.
const STAT: usize = 2048;

/// The most of an environment that is searched. The kernel allows more only to processes that were
/// given an unusual stack limit.
const ENVIRONMENT: u64 = 2 * 1024 * 1024;

/// What `/proc/PID/stat` says, as far as we need it. It owns nothing on the heap: there are hundreds of
/// them in one look, taken on one thread and dropped on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    /// The name of the program. It is whatever the program says.
    pub(crate) comm: Comm,
    /// The kernel's letter: `R`, `S`, `D`, `Z`, ….
    pub(super) state: char,
    pub(crate) ppid: u32,
    /// 0 for one that the kernel is about to forget: it belongs to no group then.
    pub(super) pgrp: u32,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// User and system time, in clock ticks.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// Clock ticks after boot.
    pub(crate) start_time: u64,
}

impl Stat {
    /// Reads the stat of `pid`; `None` if there is no such process.
    pub(super) fn read(pid: u32) -> io::Result<Option<Self>> {
        let mut buffer = [0; STAT];
        let Some(length) = vanishing(read_into(format!("/proc/{pid}/stat"), &mut buffer))? else {
            return Ok(None);
        };
        Self::parse(&buffer[..length]).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has an unknown form"),
            )
        })
    }

    /// Parses one line of `stat`. The name may hold spaces and parentheses, so the fields after it
    /// are counted from the last parenthesis.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.windows(2).position(|pair| pair == b" (")?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let comm = bytes.get(open + 2..close)?;
        // proc(5) counts from 1, and the state is the third; the last that is needed is the 22nd.
        let mut fields = [&b""[..]; 20];
        let words = bytes[close + 1..].split(u8::is_ascii_whitespace);
        for (field, word) in fields.iter_mut().zip(words.filter(|word| !word.is_empty())) {
            *field = word;
        }
        let number = |field: usize| to_number(fields[field - 3]);
        Some(Self {
            pid: u32::try_from(to_number(&bytes[..open])?).ok()?,
            comm: Comm::new(comm),
            state: char::from(*fields[0].first()?),
            ppid: u32::try_from(number(4)?).ok()?,
            pgrp: match fields[5 - 3] {
                b"-1" => 0,
                _ => u32::try_from(number(5)?).ok()?,
            },
            minor_faults: number(10)?,
            major_faults: number(12)?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            start_time: number(22)?,
        })
    }

    /// Whether any thread of it is left. A main thread that is a zombie beside living threads is
    /// what a process looks like that was killed and hangs in a driver.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }
}

/// The name of a program, which the kernel cuts at 15 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comm {
    bytes: [u8; 15],
    length: usize,
}

impl Comm {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; 15];
        let length = name.len().min(bytes.len());
        bytes[..length].copy_from_slice(&name[..length]);
        Self { bytes, length }
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&String::from_utf8_lossy(
            &self.bytes[..self.length],
        )))
    }
}

fn to_number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
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
pub(crate) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The variables that `pid` was started with, as far as they are text.
///
/// # Errors
///
/// If the process is gone, or is another user's.
pub(crate) fn environment_of(pid: u32) -> io::Result<Vec<(String, String)>> {
    let bytes = environment(pid)?;
    let entries = bytes.split(|&byte| byte == 0);
    let variable = |entry: &[u8]| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Ok(entries.filter_map(variable).collect())
}

/// The words that `pid` was started with, its own name first.
///
/// # Errors
///
/// If the process is gone.
pub(crate) fn command_line_of(pid: u32) -> io::Result<Vec<String>> {
    let text = text(format!("/proc/{pid}/cmdline"))?;
    let words = text.strip_suffix('\0').unwrap_or(&text).split('\0');
    Ok(words.map(str::to_owned).collect())
}

/// Reads a small file of `/proc` as text.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
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

/// Fills the buffer as far as the file goes, and gives how far that is.
fn read_into(path: impl AsRef<Path>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_about_to_be_forgotten_belongs_to_no_group_and_is_not_live() {
        // As fs/proc/array.c writes it once the process is released.
        let line = b"42 (a) X 0 -1 -1 0 -1 4194560 11 0 12 0 13 14 0 0 20 0 0 0 999 1 2 3\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pgrp, stat.start_time), (0, 999));
        assert!(!stat.is_live());
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = b"42 (a) R (b) S 7 40 40 0 -1 4194560 11 0 12 0 13 14 0 0 20 0 3 0 999 1 2 3\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.comm.to_string().as_str(), stat.state),
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
}
