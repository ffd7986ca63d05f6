//! Servers that run because requests want them.

use std::time::Duration;

use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse, Server as Shown, ServerState};
use magi_tests::harness::{Fleet, Server, ask, chat, llama_server};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Has a server ready.
async fn ensure(fleet: &Fleet, server: &str) -> Result<EnsureReadyResponse, Status> {
    let server = server.to_owned();
    let mut gateways = fleet.gateways();
    let answer = gateways.ensure_ready(EnsureReadyRequest { server }).await;
    answer.map(tonic::Response::into_inner)
}

/// The code and the reason of a refusal.
fn reason(refused: &Status) -> (Code, String) {
    let info = refused.get_details_error_info();
    (refused.code(), info.map_or_else(String::new, |i| i.reason))
}

/// A server that is started by requests only.
fn on_demand(name: &str) -> Server {
    Server::faulty(name).set("autostart", false)
}

#[tokio::test]
async fn the_first_request_starts_a_server_and_others_join_the_load() {
    let mut fleet = Fleet::new();
    let alpha = on_demand("alpha").set("aliases", vec!["a"]);
    fleet.save(&[alpha.fault("load-time=300ms")]);
    fleet.start().await;
    fleet.state("alpha", ServerState::Stopped).await;
    let (first, second) = tokio::join!(ensure(&fleet, "alpha"), ensure(&fleet, "a"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first, second);
    assert_eq!(first.server, "alpha");
    let health = ask(&first.endpoint, "/health", None).await.unwrap();
    assert_eq!(health.status, 200);
    assert_eq!(ensure(&fleet, "alpha").await.unwrap(), first);
}

#[tokio::test]
async fn a_server_is_found_by_the_id_of_its_model() {
    let mut fleet = Fleet::new();
    fleet.make_model("beta");
    fleet.save(&[on_demand("alpha").set("model", "beta.gguf")]);
    fleet.start().await;
    let is_known = |alpha: &Shown| alpha.model_id.is_some();
    fleet.wait_for("alpha", "has a model", is_known).await;
    let ready = ensure(&fleet, "beta").await.unwrap();
    assert_eq!(ready.server, "alpha");
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_one_that_is_like_it() {
    let mut fleet = Fleet::new();
    fleet.save(&[on_demand("alpha")]);
    fleet.start().await;
    let refused = ensure(&fleet, "alpah").await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::NotFound, "no-such-server".to_owned())
    );
    assert!(refused.message().contains("\"alpha\""), "{refused}");
}

#[tokio::test]
async fn a_request_starts_what_an_operator_stopped_and_that_is_forgotten() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    let ready = ensure(&fleet, "alpha").await.unwrap();
    assert!(Some(ready.incarnation) > before.incarnation);
    fleet.terminate().await;
    fleet.start().await;
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn a_request_joins_a_backoff() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "300ms");
    fleet.save(&[on_demand("alpha")]);
    fleet.start().await;
    let first = ensure(&fleet, "alpha").await.unwrap();
    let alpha = fleet.ready("alpha").await;
    magi_tests::harness::send(alpha.pid.unwrap(), nix::sys::signal::Signal::SIGKILL);
    fleet.state("alpha", ServerState::Backoff).await;
    let again = ensure(&fleet, "alpha").await.unwrap();
    assert_eq!(again.incarnation, first.incarnation + 1);
    assert_eq!(fleet.ready("alpha").await.restarts, 1);
}

#[tokio::test]
async fn a_server_that_failed_refuses_requests_until_its_trial_is_due() {
    let mut fleet = Fleet::new();
    fleet.set("restart.initial_delay", "10ms");
    fleet.set("restart.max_failures", 2);
    fleet.set("restart.half_open_after", "2s");
    fleet.save(&[on_demand("alpha").fault("exit-loaded:code=3")]);
    fleet.start().await;
    let refused = ensure(&fleet, "alpha").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let details = refused.get_error_details();
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    let delay = delay.unwrap();
    assert!(delay <= Duration::from_secs(2), "{delay:?}");
    assert!(!details.debug_info().unwrap().stack_entries.is_empty());
    let failed = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(
        ensure(&fleet, "alpha").await.unwrap_err().code(),
        Code::Unavailable
    );
    let still = fleet.state("alpha", ServerState::Failed).await;
    assert_eq!(still.incarnation, failed.incarnation);
    // No timer, only a request has it tried again.
    tokio::time::sleep(delay).await;
    ensure(&fleet, "alpha").await.unwrap_err();
    let tried = fleet
        .wait_for("alpha", "was tried once more", |alpha: &Shown| {
            alpha.incarnation > failed.incarnation && alpha.state() == ServerState::Failed
        })
        .await;
    assert_eq!(
        tried.incarnation,
        failed.incarnation.map(|number| number + 1)
    );
}

#[tokio::test]
async fn what_can_never_fit_is_refused_with_the_numbers() {
    let mut fleet = Fleet::new();
    fleet.set("memory.ram", 1024);
    fleet.save(&[on_demand("alpha")]);
    fleet.start().await;
    let refused = ensure(&fleet, "alpha").await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::FailedPrecondition, "does-not-fit".to_owned())
    );
    assert!(refused.message().contains("MiB"), "{refused}");
}

#[tokio::test]
async fn whoever_waits_is_told_that_magid_ends() {
    let mut fleet = Fleet::new();
    fleet.save(&[on_demand("alpha").fault("load-time=60s")]);
    fleet.start().await;
    let mut gateways = fleet.gateways();
    let waiting = tokio::spawn(async move {
        let server = "alpha".to_owned();
        gateways.ensure_ready(EnsureReadyRequest { server }).await
    });
    fleet.state("alpha", ServerState::Starting).await;
    fleet.terminate().await;
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::Unavailable, "shutting-down".to_owned())
    );
}

#[tokio::test]
async fn a_server_without_requests_is_stopped_and_the_next_one_starts_it() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").set("idle_timeout", "300ms")]);
    fleet.start().await;
    let idle = |alpha: &Shown| (alpha.state(), &*alpha.reason) == (ServerState::Stopped, "idle");
    let stopped = fleet.wait_for("alpha", "is idle", idle).await;
    assert_eq!((stopped.incarnation, stopped.restarts), (Some(1), 0));
    // Neither a reload nor an edit starts it.
    fleet.save(&[Server::faulty("alpha")
        .set("idle_timeout", "1h")
        .set("ctx_size", 512)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.wait_for("alpha", "is idle", idle).await;
    let ready = ensure(&fleet, "alpha").await.unwrap();
    assert_eq!(ready.incarnation, 2);
    // And a longer time is taken by what runs.
    fleet.save(&[Server::faulty("alpha")
        .set("idle_timeout", "300ms")
        .set("ctx_size", 512)]);
    let stopped = fleet.wait_for("alpha", "is idle again", idle).await;
    assert_eq!(stopped.incarnation, Some(2));
}

#[tokio::test]
async fn clients_that_go_to_its_port_keep_a_server_from_being_idle() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.save(&[Server::real("alpha", &program).set("idle_timeout", "2s")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let answer = chat(alpha.endpoint.as_ref().unwrap()).await.unwrap();
        assert!(answer.contains("alpha"), "{answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let stopped = fleet.state("alpha", ServerState::Stopped).await;
    assert_eq!((&*stopped.reason, stopped.incarnation), ("idle", Some(1)));
    assert!(began.elapsed() > Duration::from_secs(6));
}

#[tokio::test]
async fn what_is_held_refuses_requests_over_a_restart_until_it_is_started() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let hold = ["stop", "--hold", "alpha"];
    fleet.magictl(&hold).await.expect_code(0);
    // A further stop asks for less.
    fleet.magictl(&["stop", "alpha"]).await.expect_code(0);
    for is_another_magid in [false, true] {
        if is_another_magid {
            fleet.terminate().await;
            fleet.start().await;
        }
        let alpha = fleet.state("alpha", ServerState::Stopped).await;
        assert!(alpha.held, "{alpha:?}");
        assert_eq!(alpha.reason, "held");
        let refused = ensure(&fleet, "alpha").await.unwrap_err();
        assert_eq!(
            reason(&refused),
            (Code::FailedPrecondition, "held".to_owned())
        );
    }
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    let alpha = fleet.ready("alpha").await;
    assert!(!alpha.held);
    ensure(&fleet, "alpha").await.unwrap();
}

#[tokio::test]
async fn an_activated_profile_lets_go_of_what_is_held() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha"), on_demand("beta")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let hold = ["stop", "--hold", "--all"];
    fleet.magictl(&hold).await.expect_code(0);
    assert!(fleet.state("beta", ServerState::Stopped).await.held);
    let activate = ["profiles", "activate", "test"];
    fleet.magictl(&activate).await.expect_code(0);
    assert!(!fleet.ready("alpha").await.held);
    fleet
        .wait_for("beta", "is not held", |beta| !beta.held)
        .await;
    ensure(&fleet, "beta").await.unwrap();
}

#[tokio::test]
async fn of_several_servers_of_a_model_a_ready_one_is_preferred() {
    let mut fleet = Fleet::new();
    fleet.make_model("word");
    fleet.settle("models");
    let server = |name| on_demand(name).set("model", "word");
    fleet.save(&[server("alpha"), server("beta")]);
    fleet.start().await;
    ensure(&fleet, "beta").await.unwrap();
    assert_eq!(ensure(&fleet, "word").await.unwrap().server, "beta");
    fleet.magictl(&["stop", "beta"]).await.expect_code(0);
    assert_eq!(ensure(&fleet, "word").await.unwrap().server, "alpha");
}

#[tokio::test]
async fn who_had_a_server_run_is_logged_and_who_joined_is_not() {
    let mut fleet = Fleet::new();
    fleet.save(&[on_demand("alpha")]);
    fleet.start().await;
    for _ in 0..3 {
        ensure(&fleet, "alpha").await.unwrap();
    }
    ensure(&fleet, "unknown").await.unwrap_err();
    let output = fleet.output();
    let told = |words| output.lines().filter(|line| line.contains(words)).count();
    assert_eq!(told("is wanted by"), 1, "{output}");
    assert_eq!(told("was refused"), 0, "{output}");
    let line = output.lines().find(|line| line.contains("is wanted by"));
    let pid = format!("pid {}", std::process::id());
    assert!(line.unwrap().contains(&pid), "{line:?}");
}
