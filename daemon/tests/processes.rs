//! Real processes: how they start and end, and how their trees are found and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use magid::lifecycle::{ExitStatus, Prospect};
use magid::process::{
    ExecStage, Identity, Process, Scanner, Scope, Signal, SpawnError, SpawnRequest, Token, Tree,
    find_survivors, reaper, spawn,
};
use tempfile::TempDir;

/// Long enough for anything that is going to happen at all.
const LIMIT: Duration = Duration::from_secs(20);

/// The reaper of this test process, which is a subreaper like magid.
fn with_reaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        reaper::become_subreaper().unwrap();
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(reaper::run()).unwrap();
        });
    });
}

/// One process, with a folder for its output.
struct Started {
    process: Process,
    tree: Tree,
    folder: TempDir,
}

fn log_of(folder: &TempDir) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.path().join("log"))
        .unwrap()
}

fn request(program: impl Into<PathBuf>, args: &[&str], folder: &TempDir) -> SpawnRequest {
    SpawnRequest {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: BTreeMap::new(),
        token: Token::random().unwrap(),
        output: log_of(folder),
        current_dir: None,
    }
}

async fn sh(script: &str) -> Started {
    with_reaper();
    let folder = TempDir::new().unwrap();
    let mut request = request("/bin/sh", &["-c", script], &folder);
    request.current_dir = Some(folder.path().to_owned());
    let token = request.token.clone();
    let process = spawn(request).await.unwrap();
    let tree = Tree {
        token,
        main: process.identity().clone(),
    };
    Started {
        process,
        tree,
        folder,
    }
}

/// The failure of a start. A file that was just written can be busy for a moment: while another test
/// forks, the fork holds it open for writing.
async fn failure(program: impl Into<PathBuf>) -> SpawnError {
    with_reaper();
    let folder = TempDir::new().unwrap();
    let program = program.into();
    loop {
        let error = spawn(request(&program, &[], &folder)).await.unwrap_err();
        if error.cause.kind() != ErrorKind::ExecutableFileBusy {
            return error;
        }
    }
}

impl Started {
    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The pid that the script writes to `name`.
    async fn pid_in(&self, name: &str) -> u32 {
        let path = self.folder.path().join(name);
        until(|| fs::read_to_string(&path).ok()?.trim().parse().ok()).await
    }

    async fn exited(&self) -> ExitStatus {
        within(self.process.exited()).await
    }

    async fn killed(&self) {
        within(self.tree.kill(&Scanner::spawn(), Scope::Owned, |obstacle| {
            panic!("{obstacle}")
        }))
        .await;
        self.exited().await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Waits for a state.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn the_exit_status_is_exact_and_remembered() {
    for code in [0, 1, 17, 255] {
        let started = sh(&format!("exit {code}")).await;
        assert_eq!(started.exited().await, ExitStatus::Code(code));
        assert_eq!(
            started.process.clone().exited().await,
            ExitStatus::Code(code)
        );
    }
    for (name, number) in [("ABRT", 6), ("SEGV", 11), ("KILL", 9), ("TERM", 15)] {
        let started = sh(&format!("ulimit -c 0; kill -{name} $$")).await;
        assert_eq!(started.exited().await, ExitStatus::Signal(number));
    }
}

#[tokio::test]
async fn many_can_wait_for_one_end() {
    let started = sh("exec sleep 1000").await;
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let process = started.process.clone();
            tokio::spawn(async move { process.exited().await })
        })
        .collect();
    started.process.signal(Signal::TERM).unwrap();
    for waiter in waiters {
        assert_eq!(within(waiter).await.unwrap(), ExitStatus::Signal(15));
    }
    started.process.signal(Signal::TERM).unwrap();
}

#[tokio::test]
async fn both_streams_go_to_the_file_and_the_input_is_empty() {
    let started = sh("cat; echo out; echo err >&2").await;
    started.exited().await;
    assert_eq!(started.output(), "out\nerr\n");
}

#[tokio::test]
async fn a_process_leads_a_group_and_runs_where_it_is_told() {
    let started = sh("pwd; cut -d' ' -f5 /proc/$$/stat").await;
    started.exited().await;
    let folder = started.folder.path().canonicalize().unwrap();
    assert_eq!(
        started.output(),
        format!("{}\n{}\n", folder.display(), started.process.pid())
    );
}

#[tokio::test]
async fn an_adopted_process_that_is_no_child_ends_with_an_unknown_status() {
    let started = sh("sleep 1000 & echo $! > pid; wait").await;
    let identity = Identity::of(started.pid_in("pid").await).unwrap().unwrap();
    let adopted = Process::adopt(&identity).unwrap().unwrap();
    adopted.signal(Signal::KILL).unwrap();
    assert_eq!(within(adopted.exited()).await, ExitStatus::Unknown);
    // Its parent reaps it in its own time.
    until(|| Process::adopt(&identity).unwrap().is_none().then_some(())).await;
    started.killed().await;
}

#[tokio::test]
async fn an_adopted_child_ends_with_its_status() {
    let started = sh("exec sleep 1000").await;
    let adopted = Process::adopt(started.process.identity()).unwrap().unwrap();
    drop(started.process);
    // Not the signal of Ctrl-C, which a shell that is about to become another program may forget.
    adopted.signal(Signal::TERM).unwrap();
    assert_eq!(within(adopted.exited()).await, ExitStatus::Signal(15));
}

#[tokio::test]
async fn a_pid_that_names_another_process_now_is_refused() {
    let started = sh("exec sleep 1000").await;
    let now = started.process.identity().clone();
    let earlier = Identity {
        start_time: now.start_time - 1,
        ..now.clone()
    };
    assert!(Process::adopt(&earlier).unwrap().is_none());
    let last_boot = Identity {
        boot_id: "another".to_owned(),
        ..now
    };
    assert!(Process::adopt(&last_boot).unwrap().is_none());

    let stranger = Tree {
        token: Token::random().unwrap(),
        main: earlier,
    };
    assert_eq!(stranger.members(Scope::Owned).unwrap(), []);
    assert_eq!(stranger.members(Scope::Recovery).unwrap(), []);
    within(stranger.kill(&Scanner::spawn(), Scope::Recovery, |_| ())).await;
    assert!(exists(started.process.pid()));
    started.killed().await;
}

#[tokio::test]
async fn a_grandchild_that_left_the_group_is_gone_before_the_tree_is() {
    let script = "(setsid sh -c 'echo $$ > far; exec sleep 1000' &) ; sleep 1000 & echo $! > near; exec sleep 1000";
    let started = sh(script).await;
    let (near, far) = (started.pid_in("near").await, started.pid_in("far").await);
    let pids: BTreeSet<u32> = until(|| {
        let pids: BTreeSet<u32> = started
            .tree
            .members(Scope::Owned)
            .unwrap()
            .iter()
            .map(|member| member.pid)
            .collect();
        (pids.len() == 3).then_some(pids)
    })
    .await;
    assert_eq!(pids, BTreeSet::from([started.process.pid(), near, far]));
    started.killed().await;
    assert!(!exists(started.process.pid()));
    until(|| (!exists(near) && !exists(far)).then_some(())).await;
}

#[tokio::test]
async fn what_is_left_of_a_tree_is_found_when_the_main_process_has_ended() {
    let started = sh("(setsid sh -c 'echo $$ > far; exec sleep 1000' &) ; env -i sleep 1000 & echo $! > near; while ! [ -s far ]; do sleep 0.01; done; exit 3").await;
    let (near, far) = (started.pid_in("near").await, started.pid_in("far").await);
    assert_eq!(started.exited().await, ExitStatus::Code(3));
    let found: BTreeSet<u32> = started
        .tree
        .members(Scope::Owned)
        .unwrap()
        .iter()
        .map(|member| member.pid)
        .collect();
    assert_eq!(found, BTreeSet::from([near, far]));
    started.killed().await;
    assert_eq!(started.tree.members(Scope::Recovery).unwrap(), []);
}

#[tokio::test]
async fn a_tree_that_keeps_forking_is_killed_all_the_same() {
    let started = sh("while :; do (setsid sleep 1000 &); done").await;
    until(|| (started.tree.members(Scope::Owned).unwrap().len() > 20).then_some(())).await;
    started.killed().await;
    assert_eq!(started.tree.members(Scope::Recovery).unwrap(), []);
}

#[tokio::test]
async fn a_stopped_tree_is_killed() {
    let started = sh("sleep 1000 & kill -STOP $$").await;
    until(|| {
        started
            .tree
            .members(Scope::Owned)
            .unwrap()
            .iter()
            .any(|member| member.state == 'T')
            .then_some(())
    })
    .await;
    started.killed().await;
    assert_eq!(started.exited().await, ExitStatus::Signal(9));
}

#[tokio::test]
async fn gone_waits_for_the_last_and_signals_none() {
    let started = sh("(setsid sh -c 'echo $$ > far; exec sleep 1000' &); exit 0").await;
    let far = Identity::of(started.pid_in("far").await).unwrap().unwrap();
    started.exited().await;
    let scanner = Scanner::spawn();
    let gone = started.tree.gone(&scanner, Scope::Owned);
    tokio::pin!(gone);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut gone)
            .await
            .is_err()
    );
    Process::adopt(&far)
        .unwrap()
        .unwrap()
        .signal(Signal::TERM)
        .unwrap();
    within(gone).await;
}

#[tokio::test]
async fn orphans_are_reaped_and_incarnations_are_not() {
    let main = sh("(sh -c 'echo $$ > orphan; exit 5' &); exit 7").await;
    let orphan = main.pid_in("orphan").await;
    until(|| (!exists(orphan)).then_some(())).await;
    until(|| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", main.process.pid())).ok()?;
        stat.contains(") Z ").then_some(())
    })
    .await;
    assert_eq!(main.exited().await, ExitStatus::Code(7));
    assert!(!exists(main.process.pid()));
}

#[tokio::test]
async fn the_status_of_a_process_that_ends_at_once_is_never_lost_to_the_reaper() {
    for _ in 0..100 {
        let (first, second) = tokio::join!(sh("exit 9"), sh("(true &); exit 8"));
        assert_eq!(first.exited().await, ExitStatus::Code(9));
        assert_eq!(second.exited().await, ExitStatus::Code(8));
    }
}

#[tokio::test]
async fn a_child_that_everybody_forgot_is_reaped() {
    let started = sh("exec sleep 1000").await;
    let pid = started.process.pid();
    started.process.signal(Signal::KILL).unwrap();
    drop(started.process);
    until(|| (!exists(pid)).then_some(())).await;
}

#[tokio::test]
async fn survivors_are_found_by_their_token_alone() {
    let first = sh("sleep 1000 & exec sleep 1000").await;
    let second = sh("exec sleep 1000").await;
    let tokens = BTreeSet::from([first.tree.token.clone(), Token::random().unwrap()]);
    let found = find_survivors(&tokens).unwrap();
    assert_eq!(
        found,
        BTreeMap::from([(first.tree.token.clone(), first.tree.clone())])
    );
    first.killed().await;
    second.killed().await;
}

#[tokio::test]
async fn a_failed_start_says_where_it_stopped_and_whether_to_try_again() {
    let missing = failure("/nonexistent/llama-server").await;
    assert_eq!(
        missing.to_string(),
        "cannot start /nonexistent/llama-server: executing: No such file or directory; \
         set [llama_server] path or install llama.cpp"
    );
    assert_eq!(
        (missing.stage, missing.prospect()),
        (ExecStage::Executing, Prospect::Permanent)
    );

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("llama-server");
    let with = |content: &[u8], mode: u32| {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    with(b"#!/bin/sh\n", 0o644);
    let closed = failure(&file).await;
    assert!(
        closed
            .to_string()
            .contains("Permission denied; make it executable (chmod a+x /"),
        "{closed}"
    );
    with(b"garbage", 0o755);
    let garbage = failure(&file).await;
    assert!(
        garbage
            .to_string()
            .contains("not a program for this machine"),
        "{garbage}"
    );
    with(b"#!/nonexistent/python\n", 0o755);
    let interpreter = failure(&file).await;
    assert!(
        interpreter
            .to_string()
            .contains("its interpreter or loader is not"),
        "{interpreter}"
    );
    let below = failure(file.join("x")).await;
    for error in [closed, garbage, interpreter, below] {
        assert_eq!(
            (error.stage, error.prospect()),
            (ExecStage::Executing, Prospect::Permanent),
            "{error}"
        );
    }

    let mut elsewhere = request("/bin/true", &[], &folder);
    elsewhere.current_dir = Some("/nonexistent".into());
    let elsewhere = spawn(elsewhere).await.unwrap_err();
    assert_eq!(
        (elsewhere.stage, elsewhere.prospect()),
        (ExecStage::EnteringDirectory, Prospect::Blocked)
    );
}

#[tokio::test]
async fn a_program_that_is_being_written_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("llama-server");
    fs::copy("/bin/true", &file).unwrap();
    let writer = OpenOptions::new().append(true).open(&file).unwrap();
    let busy = spawn(request(&file, &[], &folder)).await.unwrap_err();
    assert_eq!(
        (busy.stage, busy.prospect()),
        (ExecStage::Executing, Prospect::Transient)
    );
    drop(writer);
    let process = within(async {
        loop {
            // Another test that forks just now may hold the file open a little longer.
            if let Ok(process) = spawn(request(&file, &[], &folder)).await {
                return process;
            }
        }
    })
    .await;
    assert_eq!(within(process.exited()).await, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_no_process() {
    with_reaper();
    let folder = TempDir::new().unwrap();
    let request = request("/bin/sleep", &["1000"], &folder);
    let tokens = BTreeSet::from([request.token.clone()]);
    let mut start = Box::pin(spawn(request));
    // Polled once, so that it is under way; or done already, where the machine is busy elsewhere.
    let polled = std::future::poll_fn(|context| {
        std::task::Poll::Ready(match start.as_mut().poll(context) {
            std::task::Poll::Ready(started) => Some(started),
            std::task::Poll::Pending => None,
        })
    });
    if let Some(started) = polled.await {
        started.unwrap().signal(Signal::KILL).unwrap();
    }
    drop(start);
    until(|| find_survivors(&tokens).unwrap().is_empty().then_some(())).await;
}
