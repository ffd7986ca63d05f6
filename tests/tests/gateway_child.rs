//! `magid --gateway`: one command, and every model of a folder at one address.

use std::time::Duration;

use magi_proto::v1::{Gateway, ServerState};
use magi_tests::harness::{
    DEADLINE, Fleet, chat_with, faulty_llama_server, is_alive, program, send,
};
use nix::sys::signal::Signal;
use tokio::time::timeout;

/// A fleet of whatever is in its folder of models, and where its gateway listens.
fn fleet() -> (Fleet, String) {
    let mut fleet = Fleet::new();
    fleet.make_model("alpha");
    let program = faulty_llama_server();
    fleet.without_configuration(&["--gateway", "models"], &program);
    fleet.env("LLAMA_SERVER_PATH", program.display().to_string());
    let port = fleet.port(0);
    fleet.env("BACKEND_PORT", port.to_string());
    (fleet, format!("http://127.0.0.1:{port}"))
}

/// The gateway, once it is attached and is not that process.
async fn attached(fleet: &mut Fleet, not: Option<u32>) -> Gateway {
    let is_another = |gateway: &Gateway| Some(gateway.pid) != not;
    let status = fleet
        .wait_status("a gateway is attached", |status| {
            status.gateways.iter().any(is_another)
        })
        .await;
    status.gateways.into_iter().find(is_another).unwrap()
}

/// Has a model answer, once the first scan has found it and the gateway knows.
async fn answers(url: &str) {
    let answered = async {
        while chat_with(url, "alpha").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, answered).await.expect("it answers");
}

#[tokio::test]
async fn one_command_serves_a_folder_of_models_on_demand() {
    let (mut fleet, url) = fleet();
    fleet.start().await;
    let gateway = attached(&mut fleet, None).await;
    assert_eq!(gateway.addresses, std::slice::from_ref(&url));
    fleet.state("alpha", ServerState::Stopped).await;
    answers(&url).await;
    fleet.ready("alpha").await;
    assert!(fleet.terminate().await.success());
    assert!(!is_alive(gateway.pid));
    fleet.wait_no_processes().await;
}

#[tokio::test]
async fn a_gateway_that_ends_is_started_again() {
    let (mut fleet, url) = fleet();
    fleet.start().await;
    let gateway = attached(&mut fleet, None).await;
    send(gateway.pid, Signal::SIGKILL);
    let next = attached(&mut fleet, Some(gateway.pid)).await;
    assert_ne!(next.id, gateway.id);
    answers(&url).await;
    assert!(fleet.output().contains("the gateway was ended by signal 9"));
}

#[tokio::test]
async fn a_gateway_outlives_a_killed_magid_and_is_taken_over() {
    let (mut fleet, url) = fleet();
    fleet.start().await;
    let gateway = attached(&mut fleet, None).await;
    answers(&url).await;
    fleet.kill().await;
    assert!(is_alive(gateway.pid));
    fleet.start().await;
    assert_eq!(attached(&mut fleet, None).await.pid, gateway.pid);
    answers(&url).await;
    assert!(fleet.terminate().await.success());
    assert!(!is_alive(gateway.pid));
}

#[tokio::test]
async fn under_systemd_the_gateway_is_a_unit_of_its_own() {
    let (mut fleet, _) = fleet();
    let socket = fleet.path("notify").display().to_string();
    fleet.env("NOTIFY_SOCKET", socket);
    let ran = fleet.run_magid().await.expect_code(1);
    assert!(ran.stderr.contains("magi-gateway"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_missing_gateway_is_a_clear_error() {
    let (fleet, _) = fleet();
    let alone = fleet.path("magid");
    std::fs::copy(program("magid"), &alone).unwrap();
    let ran = tokio::process::Command::new(alone)
        .args(["--gateway", "models"])
        .env_clear()
        .env("STATE_DIRECTORY", fleet.path("state"))
        .env("RUNTIME_DIRECTORY", fleet.path("run"))
        .env("LOGS_DIRECTORY", fleet.path("log"))
        .current_dir(fleet.dir())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        told.contains("there is no magi-gateway beside magid in"),
        "{told}"
    );
}
