//! `magictl run` with real llama-servers, and without any gateway.

use std::process::Stdio;

use magi_proto::v1::ServerState;
use magi_tests::harness::{Fleet, Server, is_alive, llama_server};
use tokio::io::AsyncReadExt;

/// A fleet in which `alpha` runs and `beta` is started by whoever asks for it.
async fn fleet() -> Option<Fleet> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    let real = |name| Server::real(name, &program).set("ctx_size", 2048);
    fleet.save(&[
        real("alpha").set("parallel", 1),
        real("beta")
            .set("autostart", false)
            .set("aliases", vec!["other"]),
    ]);
    fleet.start().await;
    fleet.ready("alpha").await;
    Some(fleet)
}

#[tokio::test]
async fn whoever_is_ready_answers_and_whoever_is_not_is_started() {
    let Some(mut fleet) = fleet().await else {
        return;
    };
    let ran = fleet.magictl(&["run", "alpha", "hi", "-n", "4"]).await;
    let ran = ran.expect_code(0);
    assert_eq!(ran.stdout.trim(), "alpha alpha alpha alpha");
    assert!(ran.stderr.starts_with("4 tokens at "), "{ran:?}");
    let ran = fleet.magictl(&["run", "other", "hi", "-n", "4"]).await;
    let ran = ran.expect_code(0);
    assert_eq!(ran.stdout.trim(), "beta beta beta beta");
    assert!(ran.stderr.contains("beta: starting"), "{ran:?}");
    fleet.ready("beta").await;
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_the_reason() {
    let Some(mut fleet) = fleet().await else {
        return;
    };
    let unknown = fleet.magictl(&["run", "bet", "hi"]).await.expect_code(4);
    assert!(unknown.stderr.contains("beta"), "{unknown:?}");
    let hold = ["stop", "beta", "--hold"];
    fleet.magictl(&hold).await.expect_code(0);
    let held = fleet.magictl(&["run", "beta", "hi"]).await.expect_code(1);
    assert!(held.stderr.contains("beta"), "{held:?}");
    fleet.state("beta", ServerState::Stopped).await;
    std::fs::write(fleet.path("models/gamma.gguf"), "no model").unwrap();
    let program = llama_server().unwrap();
    fleet.save(&[
        Server::real("alpha", &program).set("ctx_size", 2048),
        Server::real("gamma", &program).set("autostart", false),
    ]);
    fleet
        .wait("gamma is there", |servers| servers.contains_key("gamma"))
        .await;
    let broken = fleet.magictl(&["run", "gamma", "hi"]).await.expect_code(1);
    assert!(broken.stderr.contains("gamma"), "{broken:?}");
}

#[tokio::test]
async fn a_server_stops_working_for_whoever_is_gone() {
    let Some(mut fleet) = fleet().await else {
        return;
    };
    let mut run = fleet
        .magictl_command(&["run", "alpha", "hi"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    let mut stdout = run.stdout.take().unwrap();
    stdout.read_exact(&mut first).await.unwrap();
    let pid = run.id().unwrap();
    run.kill().await.unwrap();
    assert!(!is_alive(pid));
    // It has one slot: an answer means that the slot is free.
    let ran = fleet.magictl(&["run", "alpha", "hi", "-n", "1"]).await;
    ran.expect_code(0);
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").fault("token-time=50ms")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let mut run = fleet
        .magictl_command(&["run", "alpha", "hi", "-n", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    run.stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .await
        .unwrap();
    magi_tests::harness::send(alpha.pid(), nix::sys::signal::Signal::SIGKILL);
    let output = run.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the answer broke off"), "{stderr}");
}
