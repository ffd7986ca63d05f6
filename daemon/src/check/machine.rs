//! The machine: memory, descriptors, variables, and what the kernel lets magid do with processes.

use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::finding::{Check, Finding, Place};
use super::words::{count, names, size};
use crate::memory;
use crate::plan::Definition;
use crate::process::procfs;
use crate::supervisor::server::inputs;

/// Descriptors that magid has without any server.
const DESCRIPTORS: u64 = 64;

/// Descriptors that one server takes: its pidfd, its log, its questions.
const DESCRIPTORS_PER_SERVER: u64 = 8;

/// The servers that start by themselves fit into memory, and each of the others does alone.
pub(super) fn memory(facts: &Facts) -> Vec<Finding> {
    let definitions: Vec<_> = facts.read.definitions.values().collect();
    let asked = definitions.iter().map(|definition| inputs(definition));
    let (budget, needs) = memory::survey(&facts.daemon.memory, asked.collect());
    let servers = definitions.iter().zip(&needs);
    let servers: Vec<_> = servers
        .map(|(definition, need)| Need {
            server: definition.name.as_str(),
            starts: definition.autostart,
            bytes: need.ram,
        })
        .collect();
    let mut findings = judge_memory(&servers, budget.ram);
    let overcommit = text("/proc/sys/vm/overcommit_memory");
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

/// What a server needs of main memory.
struct Need<'a> {
    server: &'a str,
    starts: bool,
    bytes: u64,
}

fn judge_memory(needs: &[Need<'_>], budget: u64) -> Vec<Finding> {
    let never = needs.iter().filter(|need| need.bytes > budget);
    let mut findings: Vec<Finding> = never
        .map(|need| {
            let what = format!("server {} can never be started", need.server);
            Finding::error(Check::Memory, what)
                .because(format!(
                    "it needs about {}, and all servers together may have {}",
                    size(need.bytes),
                    size(budget)
                ))
                .help("take a smaller model or a shorter ctx_size, or raise [memory] ram")
        })
        .collect();
    let starting = needs.iter().filter(|need| need.starts);
    let together = starting.map(|need| need.bytes).fold(0, u64::saturating_add);
    let numbers = format!(
        "the servers that start by themselves need about {} of {}",
        size(together),
        size(budget)
    );
    if together > budget {
        let finding = Finding::warning(Check::Memory, numbers)
            .because("they start by their priority; the others wait until there is room")
            .help("set autostart = false for some of them, or raise [memory] ram");
        findings.push(finding);
    } else if findings.is_empty() {
        findings.push(Finding::ok(Check::Memory, numbers));
    }
    findings
}

/// 0, if there is none or it cannot be seen: that is another check's to tell.
fn model_size(definition: &Definition) -> u64 {
    let file = definition.launch.model.file.as_ref().ok();
    file.and_then(|file| std::fs::metadata(file).ok())
        .map_or(0, |meta| meta.len())
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

    fn need(server: &str, starts: bool, bytes: u64) -> Need<'_> {
        Need {
            server,
            starts,
            bytes,
        }
    }

    #[test]
    fn what_starts_by_itself_is_weighed_together_and_the_others_alone() {
        let levels = |needs: &[Need<'_>]| -> Vec<Level> {
            let found = judge_memory(needs, 10);
            found.iter().map(|finding| finding.level).collect()
        };
        let fits = [need("a", true, 5), need("b", false, 9)];
        assert_eq!(levels(&fits), [Level::Ok]);
        let together = [need("a", true, 5), need("b", true, 6)];
        assert_eq!(levels(&together), [Level::Warning]);
        let never = [need("a", true, 5), need("b", false, 11)];
        assert_eq!(levels(&never), [Level::Error]);
        assert!(judge_memory(&never, 10)[0].what.contains('b'));
    }

    #[test]
    fn the_kernels_numbers_are_read() {
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
