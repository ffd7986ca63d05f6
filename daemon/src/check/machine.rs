//! The machine: memory, descriptors, variables, and what the kernel lets magid do with processes.

use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::finding::{Check, Finding, Place};
use super::words::{count, names, size};
use crate::plan::Definition;
use crate::process::procfs;

/// Descriptors that magid has without any server.
const DESCRIPTORS: u64 = 64;

/// Descriptors that one server takes: its pidfd, its log, its questions.
const DESCRIPTORS_PER_SERVER: u64 = 8;

/// The models that start by themselves fit into memory.
pub(super) fn memory(facts: &Facts) -> Vec<Finding> {
    let definitions = facts.read.definitions.values();
    let needed = definitions.filter(|d| d.autostart).map(model_size).sum();
    let total = text("/proc/meminfo").and_then(|text| parse_total(&text));
    let limit = cgroup_limit(facts.pid);
    let Some(total) = total else {
        return vec![Finding::skipped(Check::Memory, "cannot read /proc/meminfo")];
    };
    let overcommit = text("/proc/sys/vm/overcommit_memory");
    let mut findings = vec![judge_memory(needed, total, limit)];
    if overcommit.is_some_and(|mode| mode.trim() == "2") {
        let finding = Finding::warning(
            Check::Memory,
            "the kernel promises no more memory than there is",
        )
        .because("vm.overcommit_memory is 2: a llama-server may be refused memory that is free")
        .help("sysctl vm.overcommit_memory=0");
        findings.push(finding);
    }
    findings
}

fn judge_memory(needed: u64, total: u64, cgroup: Option<u64>) -> Finding {
    let there = total.min(cgroup.unwrap_or(u64::MAX));
    let whose = match cgroup {
        Some(limit) if limit < total => "the memory of magid's control group",
        Some(_) | None => "the memory of this machine",
    };
    let numbers = format!("{} of models, {} is {whose}", size(needed), size(there));
    if needed <= there {
        return Finding::ok(Check::Memory, numbers);
    }
    Finding::warning(Check::Memory, "the models that start by themselves are larger than memory")
        .because(numbers)
        .help("set autostart = false for some of them, or take smaller ones; layers on a GPU do not count")
}

/// 0, if there is none or it cannot be seen: that is another check's to tell.
fn model_size(definition: &Definition) -> u64 {
    let file = definition.launch.model.file.as_ref().ok();
    file.and_then(|file| std::fs::metadata(file).ok())
        .map_or(0, |meta| meta.len())
}

fn parse_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least of the limits of magid's control group and those around it.
fn cgroup_limit(pid: Option<u32>) -> Option<u64> {
    let folder = cgroup_folder(pid)?;
    let folders = folder
        .ancestors()
        .take_while(|folder| *folder != Path::new("/sys/fs"));
    let limits = folders.filter_map(|folder| text(folder.join("memory.max"))?.trim().parse().ok());
    limits.min()
}

/// The folder of magid's control group; of ours, if none runs.
fn cgroup_folder(pid: Option<u32>) -> Option<PathBuf> {
    let groups = text(of_process(pid, "cgroup"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(group))
}

/// What is to be locked into memory may be.
pub(super) fn memory_lock(facts: &Facts) -> Vec<Finding> {
    let locking = |definition: &&Definition| {
        let mode = definition.launch.settings.get("load_mode");
        mode.is_some_and(|mode| mode.contains("mlock"))
    };
    let locked: Vec<_> = facts.read.definitions.values().filter(locking).collect();
    if locked.is_empty() {
        return vec![Finding::ok(
            Check::MemoryLock,
            "no server locks its model into memory",
        )];
    }
    let Some(limit) = hard_limit(facts, "Max locked memory") else {
        return vec![not_running(Check::MemoryLock)];
    };
    let refused = locked
        .iter()
        .filter(|definition| model_size(definition) > limit);
    let findings: Vec<_> = refused
        .map(|definition| judge_lock(definition, limit))
        .collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            Check::MemoryLock,
            format!("{} may", count(locked.len(), "server")),
        )],
        false => findings,
    }
}

fn judge_lock(definition: &Definition, limit: u64) -> Finding {
    let what = format!(
        "server {} may not lock its model into memory",
        definition.name
    );
    Finding::warning(Check::MemoryLock, what)
        .because(format!(
            "the model has {}, the limit is {}",
            size(model_size(definition)),
            size(limit)
        ))
        .help("LimitMEMLOCK=infinity in magid's unit; in a shell, as root, `ulimit -l unlimited`")
        .at(Place::of_definition(&definition.defined_at))
}

/// There are descriptors for all servers.
pub(super) fn descriptors(facts: &Facts) -> Vec<Finding> {
    let servers = facts.read.definitions.len();
    match hard_limit(facts, "Max open files") {
        Some(limit) => vec![judge_descriptors(servers, limit)],
        None => vec![not_running(Check::Descriptors)],
    }
}

fn judge_descriptors(servers: usize, limit: u64) -> Finding {
    let per_server = DESCRIPTORS_PER_SERVER.saturating_mul(servers as u64);
    let needed = DESCRIPTORS.saturating_add(per_server);
    let numbers = format!(
        "{needed} of {limit} file descriptors for {}",
        count(servers, "server")
    );
    if needed <= limit {
        return Finding::ok(Check::Descriptors, numbers);
    }
    Finding::error(Check::Descriptors, "there are not enough file descriptors")
        .because(numbers)
        .help("LimitNOFILE= in magid's unit; in a shell, as root, `ulimit -Hn 65536`")
}

/// A hard limit of magid; of ours, if we would be the one to start it.
fn hard_limit(facts: &Facts, name: &str) -> Option<u64> {
    if facts.pid.is_none() && !facts.account.is_us() {
        return None;
    }
    parse_limit(&text(of_process(facts.pid, "limits"))?, name)
}

fn parse_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn not_running(check: Check) -> Finding {
    Finding::skipped(check, "magid does not run, and its unit says what it may")
}

/// No variable stands in the way.
pub(super) fn environment(facts: &Facts) -> Vec<Finding> {
    let variables = facts.environment.iter().map(|(name, _)| name);
    vec![judge_environment(
        variables.filter(|name| name.starts_with("LLAMA_")),
    )]
}

fn judge_environment<'n>(variables: impl Iterator<Item = &'n str>) -> Finding {
    // These are magid's own.
    let known = ["LLAMA_SERVER_PATH", "LLAMA_SERVER_HOST", "LLAMA_CACHE"];
    let others: Vec<_> = variables.filter(|name| !known.contains(name)).collect();
    if others.is_empty() {
        return Finding::ok(
            Check::Environment,
            "no variable of llama-server stands in the way",
        );
    }
    Finding::warning(
        Check::Environment,
        format!("servers are not given {}", names(others)),
    )
    .because("magid keeps from them what would override their profile")
    .help("unset them, and write `args` in [defaults] of the profile")
}

/// Processes can be held and told apart.
pub(super) fn processes(facts: &Facts) -> Vec<Finding> {
    let kill = cgroup_folder(facts.pid).is_some_and(|folder| folder.join("cgroup.kill").exists());
    let mounts = text("/proc/self/mounts").unwrap_or_default();
    vec![judge_processes(
        kill,
        hidepid(&mounts),
        facts.account.uid == 0,
    )]
}

/// The option of the mount of /proc by which processes of others are hidden.
fn hidepid(mounts: &str) -> Option<&str> {
    let mut lines = mounts.lines();
    let options = lines.find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next() == Some("/proc") && fields.next() == Some("proc")).then(|| fields.next())?
    })?;
    let mut options = options.split(',');
    let value = options.find_map(|option| option.strip_prefix("hidepid="))?;
    (value != "0" && value != "off").then_some(value)
}

fn judge_processes(cgroup_kill: bool, hidepid: Option<&str>, is_root: bool) -> Finding {
    let how = match cgroup_kill {
        true => "held by their groups; the control group could end them too",
        false => "held by their groups",
    };
    match hidepid {
        Some(value) if !is_root => Finding::warning(
            Check::Processes,
            "magid cannot see who holds a port that it needs",
        )
        .because(format!("/proc is mounted with hidepid={value}"))
        .help("run magid with the group that `gid=` of that mount names"),
        Some(_) | None => Finding::ok(Check::Processes, how),
    }
}

fn of_process(pid: Option<u32>, file: &str) -> String {
    match pid {
        Some(pid) => format!("/proc/{pid}/{file}"),
        None => format!("/proc/self/{file}"),
    }
}

/// A small file of the kernel's.
fn text(path: impl AsRef<Path>) -> Option<String> {
    procfs::text(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    #[test]
    fn the_smaller_of_machine_and_control_group_counts() {
        assert_eq!(judge_memory(5, 10, None).level, Level::Ok);
        assert_eq!(judge_memory(5, 10, Some(4)).level, Level::Warning);
        let huge = judge_memory(1 << 40, 10, Some(20));
        assert!(huge.why.contains("this machine"), "{}", huge.why);
    }

    #[test]
    fn the_kernels_numbers_are_read() {
        assert_eq!(
            parse_total("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            Some(16384)
        );
        assert_eq!(parse_total("MemTotal: x"), None);
        let limits = "Limit     Soft Limit  Hard Limit  Units\n\
                      Max open files  1024  524288  files\nMax locked memory  8  unlimited  bytes\n";
        assert_eq!(parse_limit(limits, "Max open files"), Some(524_288));
        assert_eq!(parse_limit(limits, "Max locked memory"), Some(u64::MAX));
        assert_eq!(parse_limit(limits, "Max nothing"), None);
    }

    #[test]
    fn a_hundred_servers_need_more_than_a_small_limit() {
        assert_eq!(judge_descriptors(100, 512).level, Level::Error);
        assert_eq!(judge_descriptors(100, 4096).level, Level::Ok);
    }

    #[test]
    fn variables_of_llama_server_are_told_and_magids_own_are_not() {
        let level = |names: &[&str]| judge_environment(names.iter().copied()).level;
        assert_eq!(level(&["LLAMA_SERVER_PATH"]), Level::Ok);
        assert_eq!(level(&["LLAMA_ARG_CTX_SIZE"]), Level::Warning);
    }

    #[test]
    fn hidden_processes_are_a_warning_unless_magid_is_root() {
        let mounts = "sysfs /sys sysfs rw 0 0\nproc /proc proc rw,hidepid=invisible 0 0\n";
        assert_eq!(hidepid(mounts), Some("invisible"));
        assert_eq!(hidepid("proc /proc proc rw,hidepid=0 0 0\n"), None);
        assert_eq!(
            judge_processes(true, Some("2"), false).level,
            Level::Warning
        );
        assert_eq!(judge_processes(true, Some("2"), true).level, Level::Ok);
    }
}
