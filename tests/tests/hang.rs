//! R9: a server that hangs is found and replaced; one that works is left alone, however long it
//! lets everybody wait.

use std::time::Duration;

use magi_proto::v1::ServerState;
use magi_tests::figure;
use magi_tests::harness::{
    Chat, Fleet, Percentiles, Server, bar, full, llama_server, post, post_patiently,
    raise_descriptor_limit, send,
};
use magi_tests::model::slow_model;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

/// A magid that looks often, and is soon out of patience.
fn watchful() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.set("liveness.interval", "200ms");
    fleet.set("liveness.timeout", "200ms");
    fleet.set("liveness.failures", 2);
    fleet.set("liveness.stall", "1s");
    fleet.set("llama_server.stop_timeout", "500ms");
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_delay", "10ms");
    fleet.set("restart.max_failures", 1000);
    fleet
}

#[tokio::test]
async fn r09_a_stopped_process_is_found_and_replaced() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = watchful();
    fleet.save(&[Server::real("alpha", &program).set("ctx_size", 512)]);
    fleet.start().await;
    let mut times = Percentiles::default();
    let mut alpha = fleet.ready("alpha").await;
    for _ in 0..full(3, 100) {
        let begin = Instant::now();
        send(alpha.pid(), Signal::SIGSTOP);
        let after = fleet.ready_again(&alpha).await;
        times.add(begin.elapsed());
        assert_eq!(after.last_exit.as_ref().unwrap().class, "hung");
        alpha = after;
    }
    figure!("R9: from SIGSTOP to a new incarnation that is ready: {times}");
    // Two looks, each with its interval and time-out, one interval until the first, and the backoff:
    // SIGCONT lets it end at once.
    assert!(times.p99() <= bar(Duration::from_secs(2)), "{times}");
}

#[tokio::test]
async fn r09_a_wedged_slot_is_found_although_health_is_fine() {
    let mut fleet = watchful();
    fleet.save(&[Server::faulty("alpha").fault("wedge=2")]);
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let endpoint = before.endpoint.clone().unwrap();
    let stuck = tokio::spawn(async move {
        let mut stream = Chat::start(&endpoint, 100).await?;
        while stream.next().await?.is_some() {}
        anyhow::Ok(())
    });
    let after = fleet.ready_again(&before).await;
    assert_eq!(after.last_exit.unwrap().class, "hung");
    assert!(stuck.await.unwrap().is_err());
}

/// llama-server has 1024 threads for requests beyond those it is asked for. When all of them wait for
/// the one slot, nobody is left who would answer `/health`.
#[tokio::test]
async fn r09_a_saturated_server_is_left_alone() {
    let Some(program) = llama_server() else {
        return;
    };
    raise_descriptor_limit();
    let mut fleet = watchful();
    fleet.save(&[Server::real("alpha", &program)
        .set("parallel", 1)
        .set("ctx_size", 4096)
        .arg("--threads-http")
        .arg("1")]);
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let clients: Vec<_> = (0..1100)
        .map(|_| tokio::spawn(ask_for_ever(before.endpoint().to_owned())))
        .collect();
    let misses = full(5, 50);
    let seen = fleet
        .wait_for("alpha", "is saturated for long, or replaced", |server| {
            unanswered(server) >= misses || server.pid != before.pid
        })
        .await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(seen.pid, before.pid, "{seen:?}");
    figure!("R9: a saturated server left /health unanswered {misses} times, and was left alone");
}

async fn ask_for_ever(endpoint: String) {
    let body = json!({ "prompt": "hi", "n_predict": 3000 });
    loop {
        // Most of them wait longer than they have patience.
        let _ = post(&endpoint, "/completion", &body).await;
    }
}

/// How many looks in a row went unanswered, as the note on the server says.
fn unanswered(server: &magi_proto::v1::Server) -> u32 {
    let words = server.notes.iter().flat_map(|note| note.split(' '));
    words
        .filter_map(|word| word.parse().ok())
        .max()
        .unwrap_or(0)
}

#[tokio::test]
async fn r09_a_server_deep_in_a_prompt_is_left_alone() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = watchful();
    fleet.save(&[Server::real("alpha", &program)
        .set("parallel", 1)
        .set("ctx_size", 65_536)
        .arg("--no-warmup")]);
    slow_model(&fleet.path("models/alpha.gguf"), "alpha").unwrap();
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let begin = Instant::now();
    let prompt = "x".repeat(full(2_000, 20_000));
    let body = json!({ "prompt": prompt, "n_predict": 1 });
    let answer = post_patiently(before.endpoint(), "/completion", &body).await;
    let (status, text) = answer.unwrap();
    assert_eq!(status, 200, "{text}");
    let after = fleet.ready("alpha").await;
    assert_eq!((after.pid, after.state()), (before.pid, ServerState::Ready));
    figure!(
        "R9: a server was deep in a prompt for {:.1?}, {} times the time-outs, and left alone",
        begin.elapsed(),
        begin.elapsed().as_millis() / 1000,
    );
}
