//! The output of servers: lines of clean text, however the bytes arrive.

use crate::lifecycle::classify::{Evidence, classify};
use crate::lifecycle::{Exit, ExitClass, ExitStatus};
use crate::logs::journal;
use crate::logs::lines::{LONGEST, Splitter, clean};

/// What may be added to a line or a sentence to say that it was cut, or how a process ended, in bytes.
const ADDED: usize = 100;

/// More characters than an explanation of an end repeats of a line.
const LONGEST_DETAIL: usize = 300;

/// The output of an incarnation, and what its end is taken for.
///
/// # Panics
///
/// If a promise is broken.
pub fn log_lines(data: &[u8]) {
    let lines = split([data]);
    let pieces = usize::from(data.first().copied().unwrap_or_default()) + 1;
    assert_eq!(lines, split(data.chunks(pieces)));
    let text: Vec<u8> = data.iter().copied().filter(|&byte| byte != 0).collect();
    assert_eq!(lines, split([&*text]), "NULs are no output");
    for line in &lines {
        assert!(line.len() <= LONGEST + ADDED);
        assert!(line.chars().all(|char| char == '\t' || !char.is_control()));
        if line.len() <= LONGEST {
            assert_eq!(clean(line.as_bytes()), *line, "it is clean");
        }
        let _ = journal::level(line);
    }
    for status in [
        ExitStatus::Code(1),
        ExitStatus::Signal(6),
        ExitStatus::Signal(9),
        ExitStatus::Unknown,
    ] {
        for reached_ready in [false, true] {
            assert_is_explained(&classify(&Evidence {
                status,
                reached_ready,
                lines: &lines,
                oom_kills_during_life: 0,
            }));
        }
    }
}

fn split<'d>(pieces: impl IntoIterator<Item = &'d [u8]>) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut lines = Vec::new();
    for piece in pieces {
        splitter.push(piece, |line| lines.push(line));
    }
    lines.extend(splitter.finish());
    lines
}

fn assert_is_explained(exit: &Exit) {
    // Nobody asked for it, and only a process that ran has output.
    assert!(!matches!(
        exit.class,
        ExitClass::Requested | ExitClass::SpawnFailed
    ));
    assert!(!exit.detail.is_empty());
    assert!(exit.detail.chars().count() <= LONGEST_DETAIL + ADDED);
    assert!(exit.last_lines.len() <= Exit::LAST_LINES);
}
