//! Running a program of llama.cpp for what it prints.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Pid, setpriority_process};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::ExitStatus;
use crate::process::{self, Process, Signal, SpawnError, SpawnRequest, Token};
use crate::text::one_line;

/// The most bytes that a program may print: some hundred times what it does.
const MOST: u64 = 64 * 1024;

/// How long it may take. A model of a hundred gigabytes takes a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a program that was killed is waited for when magid ends: nothing else is left then.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// It runs beside servers that answer, and nobody waits for it as urgently.
const NICENESS: i32 = 10;

/// Why a program did not tell what it was run for.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There is nothing that its output could be caught in.
    #[error("cannot catch what {} prints: {reason}", .program.display())]
    Output {
        /// The program.
        program: PathBuf,
        /// The system's word.
        reason: io::Error,
    },
    /// magid ends, and nobody wants to know any more.
    #[error("cannot ask {}: magid ends", .0.display())]
    Ending(PathBuf),
    /// It took too long, and was killed.
    #[error("cannot wait longer than {} s for {}", PATIENCE.as_secs(), .0.display())]
    TimedOut(PathBuf),
    /// It says that it cannot do it.
    #[error("cannot use {}: it ended by {status:?}, saying {last:?}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last line that it printed.
        last: String,
    },
}

/// Killed when it is not waited for any more. To a process that has ended, that does nothing.
struct Running(Process);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::KILL);
    }
}

/// What `program` prints on both streams, if it ends well. Once `ending` is cancelled nothing is run, and
/// what runs is killed.
///
/// # Errors
///
/// Says why there is nothing to be read. It runs no more then.
pub(super) async fn printed_by(
    program: &Path,
    args: Vec<OsString>,
    env: BTreeMap<String, String>,
    ending: &CancellationToken,
) -> Result<String, RunError> {
    if ending.is_cancelled() {
        return Err(RunError::Ending(program.to_path_buf()));
    }
    let unheard = |reason| RunError::Output {
        program: program.to_path_buf(),
        reason,
    };
    let mut output = output().map_err(unheard)?;
    let request = SpawnRequest {
        program: program.to_path_buf(),
        args,
        env,
        token: Token::random().map_err(unheard)?,
        output: output.try_clone().map_err(unheard)?,
        current_dir: None,
    };
    let running = Running(process::spawn(request).await?);
    // It may have ended already.
    let pid = i32::try_from(running.0.pid()).ok().and_then(Pid::from_raw);
    let _ = setpriority_process(pid, NICENESS);
    // Both arms are cancel-safe: they only wait.
    let exited = tokio::select! {
        exited = timeout(PATIENCE, running.0.exited()) => exited,
        () = ending.cancelled() => {
            let _ = running.0.signal(Signal::KILL);
            let _ = timeout(LAST_PATIENCE, running.0.exited()).await;
            return Err(RunError::Ending(program.to_path_buf()));
        }
    };
    let Ok(status) = exited else {
        return Err(RunError::TimedOut(program.to_path_buf()));
    };
    let text = text(&mut output).map_err(unheard)?;
    if status == ExitStatus::Code(0) {
        return Ok(text);
    }
    Err(RunError::Failed {
        program: program.to_path_buf(),
        status,
        last: one_line(text.trim_end().lines().next_back().unwrap_or_default()),
    })
}

/// A file in memory that cannot grow: a program that prints for ever fails to.
fn output() -> io::Result<File> {
    let file = memfd_create(
        "magid-output",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    ftruncate(&file, MOST)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

fn text(output: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0))?;
    output.take(MOST).read_to_end(&mut bytes)?;
    // What was not written is zero.
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    bytes.truncate(end);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<String, RunError> {
        let args = ["-c", script].map(OsString::from).to_vec();
        let ending = CancellationToken::new();
        printed_by(Path::new("/bin/sh"), args, BTreeMap::new(), &ending).await
    }

    #[tokio::test]
    async fn nothing_is_left_when_magid_ends() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
        let ending = CancellationToken::new();
        let end = async {
            while std::fs::read_to_string(&pid).map_or(true, |text| text.is_empty()) {
                tokio::task::yield_now().await;
            }
            ending.cancel();
        };
        let args = || ["-c", script.as_str()].map(OsString::from).to_vec();
        let run = || printed_by(Path::new("/bin/sh"), args(), BTreeMap::new(), &ending);
        let (told, ()) = tokio::join!(run(), end);
        assert!(matches!(told, Err(RunError::Ending(_))), "{told:?}");
        let left = std::fs::read_to_string(&pid).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", left.trim()));
        assert!(state.map_or(true, |state| state.contains(") Z ")));
        assert!(matches!(run().await, Err(RunError::Ending(_))));
    }

    #[tokio::test]
    async fn both_streams_are_read() {
        assert_eq!(
            shell("echo a; echo b >&2; echo c").await.unwrap(),
            "a\nb\nc\n"
        );
    }

    #[tokio::test]
    async fn a_program_that_prints_for_ever_comes_to_an_end() {
        let endless = shell("yes || exit 3").await;
        assert!(
            matches!(endless, Err(RunError::Failed { .. })),
            "{endless:?}"
        );
    }

    #[tokio::test]
    async fn a_failure_is_told_with_the_last_line() {
        let error = shell("echo first; echo 'no such model' >&2; exit 1")
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("it ended by Code(1), saying \"no such model\""),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_killed() {
        let hangs = shell("kill -STOP $$").await;
        assert!(matches!(hangs, Err(RunError::TimedOut(_))), "{hangs:?}");
    }
}
