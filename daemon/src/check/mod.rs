//! What `magictl check` looks at: everything that can be known to go wrong before it does.
//!
//! A check starts from [`Subject`], what the one who asks knows, and needs no magid that runs. Facts
//! are gathered once: the configuration as magid itself would read it, as whom magid runs, which
//! servers have a process. Then each check makes findings of them, all at the same time, since some
//! wait for programs or for file systems; one that is not done in time is told as such and waited for
//! no longer. What is judged is apart from what is gathered, and is tested without files and processes
//! where that can be.
//!
//! The whole of it blocks; only asking ready servers for a token ([`live`]) is asynchronous.

mod access;
mod account;
mod backups;
mod engine;
mod facts;
mod finding;
mod flags;
mod folders;
mod keys;
pub mod live;
mod machine;
mod models;
mod ports;
mod syntax;
mod words;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

pub use account::Account;
pub use facts::{Magid, Running, Subject};
pub use finding::{Check, Finding, Level, Place};
pub use ports::{PortRow, PortState};

use facts::Facts;

/// What all checks have together, gathering included.
const LIMIT: Duration = Duration::from_secs(9);

type Judge = fn(&Facts) -> Vec<Finding>;

/// Every check, in the order of the report.
const CHECKS: [(Check, Judge); 17] = [
    (Check::Syntax, syntax::syntax),
    (Check::Models, models::models),
    (Check::Ports, ports::ports),
    (Check::CrossFile, syntax::cross_file),
    (Check::PortConflicts, ports::conflicts),
    (Check::ModelAccess, models::model_access),
    (Check::LlamaServer, engine::present),
    (Check::Flags, engine::flags),
    (Check::Memory, machine::memory),
    (Check::MemoryLock, machine::memory_lock),
    (Check::Descriptors, machine::descriptors),
    (Check::Folders, folders::folders),
    (Check::Secrets, folders::secrets),
    (Check::Keys, keys::keys),
    (Check::Environment, machine::environment),
    (Check::Processes, machine::processes),
    (Check::Backups, backups::backups),
];

/// What came of all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the checks; at least one for each.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub duration: Duration,
}

impl Report {
    /// How many findings are of this level.
    pub fn count(&self, level: Level) -> usize {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.level == level).count()
    }

    /// Whether something is wrong that a reload would refuse.
    pub fn is_configuration_invalid(&self) -> bool {
        let is_error = |finding: &Finding| finding.level == Level::Error;
        let mut findings = self.findings.iter();
        findings.any(|finding| is_error(finding) && finding.check.is_of_configuration())
    }
}

/// Runs the checks; of files that are named, only whether they can be read. Blocks for ten seconds at
/// the most.
pub fn run(subject: Subject) -> Report {
    let began = Instant::now();
    let only_files = !subject.files.is_empty();
    let checks = if only_files {
        &CHECKS[..1]
    } else {
        &CHECKS[..]
    };
    let mut findings = match gather(subject, began + LIMIT) {
        Some(facts) => all_of(checks, &facts, began + LIMIT),
        None => vec![late(Check::Syntax)],
    };
    // Stable: the findings of one check stay as it made them.
    findings.sort_by_key(|finding| finding.check);
    Report {
        findings,
        duration: began.elapsed(),
    }
}

/// Every port that the configuration speaks of or that a server has. None: gathering took too long.
/// Blocks for ten seconds at the most.
pub fn port_table(subject: Subject) -> Option<Vec<PortRow>> {
    let facts = gather(subject, Instant::now() + LIMIT)?;
    Some(ports::table(&facts))
}

fn gather(subject: Subject, latest: Instant) -> Option<Arc<Facts>> {
    let (sender, facts) = mpsc::sync_channel(1);
    // A file system that hangs keeps this thread, and nobody else.
    thread::spawn(move || sender.send(Arc::new(Facts::gather(subject))));
    facts
        .recv_timeout(latest.saturating_duration_since(Instant::now()))
        .ok()
}

fn all_of(checks: &[(Check, Judge)], facts: &Arc<Facts>, latest: Instant) -> Vec<Finding> {
    let (sender, results) = mpsc::sync_channel(checks.len());
    for &(check, judge) in checks {
        let (sender, facts) = (sender.clone(), facts.clone());
        thread::spawn(move || {
            let needs_configuration = check != Check::Syntax && check != Check::CrossFile;
            let findings = match facts.is_readable() || !needs_configuration {
                true => judge(&facts),
                false => vec![unreadable(check)],
            };
            sender.send((check, findings))
        });
    }
    drop(sender);
    let mut waiting: Vec<Check> = checks.iter().map(|(check, _)| *check).collect();
    let mut findings = Vec::new();
    while !waiting.is_empty() {
        let left = latest.saturating_duration_since(Instant::now());
        let Ok((check, found)) = results.recv_timeout(left) else {
            break;
        };
        waiting.retain(|other| *other != check);
        findings.extend(found);
    }
    findings.extend(waiting.into_iter().map(late));
    findings
}

fn unreadable(check: Check) -> Finding {
    Finding::skipped(check, "not looked at").because("the configuration is invalid")
}

fn late(check: Check) -> Finding {
    Finding::warning(check, "was not done in time")
        .because("a file system or a program does not answer")
        .help("see which of the folders in the configuration hangs: `timeout 2 ls FOLDER`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    /// The facts of a configuration with these profiles, and the folder that it is in.
    pub(super) fn facts_of(daemon: &str, profiles: &[(&str, &str)]) -> (tempfile::TempDir, Facts) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("profiles")).unwrap();
        let state = dir.path().join("state");
        let daemon = format!("state_dir = {state:?}\n{daemon}");
        std::fs::write(dir.path().join("magid.toml"), daemon).unwrap();
        for (name, text) in profiles {
            let path = dir.path().join(format!("profiles/{name}.toml"));
            std::fs::write(path, text).unwrap();
        }
        let facts = Facts::gather(Subject {
            config: Some(dir.path().join("magid.toml")),
            environment: Environment::default(),
            current_dir: dir.path().to_path_buf(),
            ..Subject::default()
        });
        (dir, facts)
    }

    #[test]
    fn every_check_answers_once_at_least_and_in_order() {
        let (_dir, facts) = facts_of("", &[]);
        let facts = Arc::new(facts);
        let findings = all_of(&CHECKS, &facts, Instant::now() + LIMIT);
        for (check, _) in CHECKS {
            assert!(
                findings.iter().any(|finding| finding.check == check),
                "{check:?}"
            );
        }
        assert!(CHECKS.is_sorted_by_key(|(check, _)| *check));
    }

    #[test]
    fn what_is_not_done_in_time_is_told_and_not_waited_for() {
        let (_dir, facts) = facts_of("", &[]);
        let facts = Arc::new(facts);
        let stuck: Judge = |_| loop {
            thread::park();
        };
        let findings = all_of(&[(Check::Memory, stuck)], &facts, Instant::now());
        assert_eq!(findings, [late(Check::Memory)]);
    }

    #[test]
    fn with_a_broken_configuration_only_the_files_are_judged() {
        let (_dir, facts) = facts_of("active_profil = 1\n", &[]);
        let facts = Arc::new(facts);
        let findings = all_of(&CHECKS, &facts, Instant::now() + LIMIT);
        let level = |check| {
            let mut findings = findings.iter();
            findings
                .find(|finding| finding.check == check)
                .unwrap()
                .level
        };
        assert_eq!(level(Check::Syntax), Level::Error);
        assert_eq!(level(Check::Memory), Level::Skipped);
    }
}
