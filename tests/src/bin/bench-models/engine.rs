//! Programs that answer HTTP, started by hand.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use magi_tests::harness::{Answer, ask};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::table::milliseconds;

/// How often it is looked at while it starts.
const LOOK: Duration = Duration::from_millis(1);

/// How long llama-server takes from its start until it is ready, each time.
pub(crate) async fn load_times(program: &Path, model: &Path, port: u16, times: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for _ in 0..times {
        let mut command = Command::new(program);
        command.arg("--model").arg(model);
        command.args(["-t", "1", "-tb", "1", "--ctx-size", "512"]);
        let (time, _) = answered(command, port, "/health").await;
        values.push(time);
    }
    values
}

/// How long a program takes from its start until it answers a path with 200, and what it answers. It
/// is ended then.
pub(crate) async fn answered(mut command: Command, port: u16, path: &str) -> (f64, Answer) {
    command
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let begin = Instant::now();
    let mut program = command.spawn().expect("llama-server can be run");
    let answer = first_answer(&mut program, port, path).await;
    let time = milliseconds(begin);
    program.kill().await.expect("a child can be killed");
    (time, answer)
}

async fn first_answer(program: &mut Child, port: u16, path: &str) -> Answer {
    let endpoint = format!("http://127.0.0.1:{port}");
    loop {
        match ask(&endpoint, path, None).await {
            Ok(answer) if answer.status == 200 => return answer,
            Ok(_) | Err(_) => sleep(LOOK).await,
        }
        let ended = program.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "llama-server ended by itself: {ended:?}");
    }
}
