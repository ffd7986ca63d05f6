//! llama-server: it is there, runs, and knows the flags it is given.
//!
//! What a build says of itself is asked once and remembered beside the user's other caches, by the
//! file's identity and time: asking one that talks to a GPU takes a second. It is asked as the user that
//! magid runs as, since those who may edit a profile choose the program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use serde::{Deserialize, Serialize};

use super::access::{EXECUTE, Way, remedy};
use super::facts::Facts;
use super::finding::{Check, Finding, Level, Place};
use super::flags::{Flags, Misfit};
use super::words::names;
use crate::files;
use crate::plan::{Definition, OWN_FLAGS};
use crate::process::is_withheld;
use crate::reload::lookup::program;
use crate::text::one_line;

/// How long a program may take to tell its version or its flags.
const LIMIT: Duration = Duration::from_secs(4);

/// The most that is read of what it prints, in bytes.
const MOST_OUTPUT: u64 = 512 * 1024;

/// The version of the file of what is remembered.
const VERSION: u32 = 1;

/// The largest such file that is read, in bytes.
const LARGEST_CACHE: u64 = 4 * 1024 * 1024;

/// Of how many programs something is remembered.
const MOST_REMEMBERED: usize = 16;

/// What a build says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Build {
    stamp: Stamp,
    version: String,
    flags: Flags,
}

/// By what a program is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
    modified_ns: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    programs: BTreeMap<PathBuf, Build>,
}

/// Why a program is no llama-server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// Skipped, if it cannot be told from here.
    level: Level,
    why: String,
    help: String,
}

/// What each program that servers use says of itself.
pub(super) type Builds = BTreeMap<PathBuf, Result<Build, Unfit>>;

/// Each llama-server is there and runs.
pub(super) fn present(facts: &Facts) -> Vec<Finding> {
    let judge = |(path, build): (&PathBuf, &Result<Build, Unfit>)| match build {
        Ok(build) => {
            let what = format!("{}, version {}", path.display(), build.version);
            Finding::ok(Check::LlamaServer, what)
        }
        Err(unfit) => {
            let users: Vec<_> = users(facts, path).collect();
            let servers = match users.is_empty() {
                true => String::new(),
                false => format!(" for {}", names(users.iter().map(|user| &user.name))),
            };
            let what = format!("cannot run {}{servers}", path.display());
            Finding::new(Check::LlamaServer, unfit.level, what)
                .because(&*unfit.why)
                .help(&*unfit.help)
                .at(users
                    .first()
                    .and_then(|d| Place::of_definition(&d.defined_at)))
        }
    };
    facts.builds().iter().map(judge).collect()
}

/// Each llama-server knows the flags that it is given, by magid too.
pub(super) fn flags(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut judged = 0;
    for (path, build) in facts.builds() {
        let Ok(build) = build else {
            continue;
        };
        judged += 1;
        findings.extend(too_old(path, build));
        for definition in users(facts, path) {
            let misfits = build.flags.misfits(&definition.launch.arguments);
            findings.extend(
                misfits
                    .iter()
                    .map(|misfit| judge_misfit(misfit, definition, build)),
            );
        }
    }
    match (judged, findings.is_empty()) {
        (0, _) => vec![Finding::skipped(
            Check::Flags,
            "there is no llama-server to ask",
        )],
        (_, true) => vec![Finding::ok(
            Check::Flags,
            "llama-server knows every flag it is given",
        )],
        (_, false) => findings,
    }
}

fn judge_misfit(misfit: &Misfit, definition: &Definition, build: &Build) -> Finding {
    let what = format!(
        "llama-server would refuse {} of server {}",
        misfit.flag, definition.name
    );
    Finding::error(Check::Flags, what)
        .because(format!("{}: version {}", misfit.why, build.version))
        .help(&*misfit.help)
        .at(Place::of_definition(&definition.defined_at))
}

/// What magid itself passes has to be known as well.
fn too_old(path: &Path, build: &Build) -> Option<Finding> {
    let own = OWN_FLAGS.map(str::to_owned);
    let misfits = build.flags.misfits(&own);
    let flags: BTreeSet<_> = misfits.iter().map(|misfit| &misfit.flag).collect();
    (!flags.is_empty()).then(|| {
        let what = format!("{} is not one that magid can work with", path.display());
        Finding::error(Check::Flags, what)
            .because(format!(
                "version {} does not know {}",
                build.version,
                names(flags)
            ))
            .help("install a newer llama.cpp, or set [llama_server] path to one")
    })
}

fn users<'f>(facts: &'f Facts, engine: &Path) -> impl Iterator<Item = &'f Definition> {
    let definitions = facts.read.definitions.values();
    definitions.filter(move |definition| definition.launch.engine == engine)
}

/// Asks each program that servers use; without servers, the one that they would. Blocks.
pub(super) fn ask_all(facts: &Facts) -> Builds {
    let definitions = facts.read.definitions.values();
    let mut engines: BTreeSet<_> = definitions.map(|d| d.launch.engine.clone()).collect();
    if engines.is_empty() {
        let path = &facts.daemon.llama_server.path;
        engines.insert(program(path, facts.environment.get("PATH")));
    }
    let file = cache_file(facts);
    let mut remembered = file.as_deref().map(recall).unwrap_or_default();
    let asked: Builds = thread::scope(|scope| {
        let ask = |engine: PathBuf| {
            let known = remembered.programs.get(&engine);
            let asking = scope.spawn({
                let engine = engine.clone();
                move || ask(&engine, known, facts)
            });
            (engine, asking)
        };
        let asking: Vec<_> = engines.into_iter().map(ask).collect();
        let answer = |(engine, asking): (PathBuf, thread::ScopedJoinHandle<'_, _>)| {
            let answer = asking
                .join()
                .unwrap_or_else(|_| Err(Unfit::new("it could not be asked", "")));
            (engine, answer)
        };
        asking.into_iter().map(answer).collect()
    });
    let mut is_new = false;
    for (path, build) in &asked {
        if let Ok(build) = build {
            is_new |= remembered
                .programs
                .insert(path.clone(), build.clone())
                .as_ref()
                != Some(build);
        }
    }
    if let Some(file) = file.filter(|_| is_new) {
        remember(&file, remembered);
    }
    asked
}

fn ask(engine: &Path, known: Option<&Build>, facts: &Facts) -> Result<Build, Unfit> {
    let stamp = runnable(engine, facts)?;
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known.clone());
    }
    let (version, help) = thread::scope(|scope| {
        let version = scope.spawn(|| output(engine, "--version", facts));
        let help = output(engine, "--help", facts);
        (version.join().unwrap_or_else(|_| Ok(String::new())), help)
    });
    let flags = Flags::parse(&help?);
    if !flags.are_of_llama_server() {
        let why = "its --help is not that of a llama-server";
        return Err(Unfit::new(why, "set [llama_server] path to a llama-server"));
    }
    Ok(Build {
        stamp,
        version: version_of(&version?),
        flags,
    })
}

/// `version: 11434 (abc)` is one of the lines of `--version`.
fn version_of(output: &str) -> String {
    let version = output
        .lines()
        .find_map(|line| line.strip_prefix("version:"));
    version.map_or_else(|| "unknown".to_owned(), |version| one_line(version.trim()))
}

/// It is a file, and magid may run it.
fn runnable(engine: &Path, facts: &Facts) -> Result<Stamp, Unfit> {
    let set_path = "install llama.cpp, or set [llama_server] path";
    if !engine.is_absolute() {
        return Err(Unfit::new("it is not in PATH", set_path));
    }
    let way = Way::to(engine);
    let obstacles = way.obstacles(&facts.account, EXECUTE);
    if !obstacles.is_empty() {
        let paths = names(obstacles.iter().map(|(step, _)| step.path.display()));
        let why = format!("{} is not let in by {paths}", facts.account.name);
        return Err(Unfit::new(
            why,
            remedy(&facts.account, &obstacles, facts.has_program("setfacl")),
        ));
    }
    let meta = std::fs::metadata(engine).map_err(|error| Unfit {
        level: match error.kind() {
            // Closed to us, and not to magid.
            ErrorKind::PermissionDenied => Level::Skipped,
            _ => Level::Error,
        },
        ..Unfit::new(error.to_string(), set_path)
    })?;
    if !meta.is_file() {
        return Err(Unfit::new("it is not a file", set_path));
    }
    Ok(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: meta.mtime(),
        modified_ns: meta.mtime_nsec(),
    })
}

/// Everything that the program prints when it is run with one argument. Its process group is killed
/// when it is late, and when it says too much.
fn output(engine: &Path, argument: &str, facts: &Facts) -> Result<String, Unfit> {
    let failed =
        |error: std::io::Error| Unfit::new(error.to_string(), "see whether it runs in a shell");
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(engine);
    command
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .env_clear()
        .envs(
            facts
                .environment
                .iter()
                .filter(|(name, _)| !is_withheld(name.as_ref())),
        )
        .process_group(0);
    if Uid::effective().is_root() && facts.account.uid != 0 {
        command.uid(facts.account.uid);
        command.gid(facts.account.group().unwrap_or(facts.account.uid));
    }
    let mut child = command.spawn().map_err(failed)?;
    // It holds the other end of the pipe, which else would never end.
    drop(command);
    let (sender, read) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = reader.take(MOST_OUTPUT).read_to_end(&mut bytes);
        sender.send(read.map(|_| bytes))
    });
    let printed = read.recv_timeout(LIMIT);
    // Nobody waited for it yet, so the number is still its own.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let status = child.wait().map_err(failed)?;
    let Ok(printed) = printed else {
        let why = format!("`{argument}` was not answered within {LIMIT:?}");
        return Err(Unfit::new(why, "see whether it runs in a shell"));
    };
    let text = String::from_utf8_lossy(&printed.map_err(failed)?).into_owned();
    match status.code() {
        Some(code) if code != 0 => {
            let first = text
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default();
            let why = format!("`{argument}` ended with {code}: {}", one_line(first));
            Err(Unfit::new(
                why,
                "install what it lacks, or set [llama_server] path to another build",
            ))
        }
        // Killed by us behind its last word, at the latest.
        Some(_) | None => Ok(text),
    }
}

impl Unfit {
    fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            why: why.into(),
            help: help.into(),
        }
    }
}

/// Where it is remembered, for the one who asks. None: nowhere.
fn cache_file(facts: &Facts) -> Option<PathBuf> {
    let variable = |name| facts.subject.environment.get(name).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let file = cache?.join("magi/llama-servers.json");
    file.is_absolute().then_some(file)
}

fn recall(file: &Path) -> Remembered {
    let text = files::read_stable(file, LARGEST_CACHE).unwrap_or_default();
    let remembered: Remembered = serde_json::from_str(&text).unwrap_or_default();
    match remembered.version {
        VERSION => remembered,
        _ => Remembered::default(),
    }
}

/// What cannot be remembered is asked again.
fn remember(file: &Path, mut remembered: Remembered) {
    remembered.version = VERSION;
    while remembered.programs.len() > MOST_REMEMBERED {
        remembered.programs.pop_first();
    }
    let folder = file.parent().unwrap_or(file);
    if let (Ok(()), Ok(text)) = (
        std::fs::create_dir_all(folder),
        serde_json::to_vec(&remembered),
    ) {
        let _ = files::replace(file, &text);
    }
}
