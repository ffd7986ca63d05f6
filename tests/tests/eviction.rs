//! Room that idle servers make for those that are asked for.

use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse, Server as Shown, ServerState};
use magi_tests::harness::{Chat, Fleet, Gateway, Server, chat, chat_with, llama_server, send};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// A fleet of real servers, started by requests only, of which `most` may be loaded.
async fn fleet(names: &[&str], most: u32) -> Option<Fleet> {
    fleet_with(names, most, |server| server).await
}

async fn fleet_with(names: &[&str], most: u32, define: impl Fn(Server) -> Server) -> Option<Fleet> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    fleet.set("memory.max_loaded", most);
    let servers = names.iter().map(|name| {
        let server = Server::real(name, &program).set("autostart", false);
        define(server)
    });
    fleet.save(&servers.collect::<Vec<_>>());
    fleet.start().await;
    Some(fleet)
}

async fn ensure(fleet: &Fleet, server: &str) -> Result<EnsureReadyResponse, Status> {
    let server = server.to_owned();
    let mut gateways = fleet.gateways();
    let answer = gateways.ensure_ready(EnsureReadyRequest { server }).await;
    answer.map(tonic::Response::into_inner)
}

fn waits(server: &Shown) -> bool {
    server.state() == ServerState::Stopped && server.reason == "waiting-for-memory"
}

fn is_evicted(server: &Shown) -> bool {
    server.state() == ServerState::Stopped && server.reason == "evicted"
}

async fn explained(fleet: &Fleet, name: &str) -> Vec<String> {
    let explained = fleet.magictl(&["explain", name, "-o", "json"]).await;
    let told = explained.expect_code(0).json();
    serde_json::from_value(told["makingRoom"].clone()).unwrap()
}

#[tokio::test]
async fn a_request_has_an_idle_server_stopped_and_says_so() {
    let Some(mut fleet) = fleet(&["alpha", "beta"], 1).await else {
        return;
    };
    ensure(&fleet, "alpha").await.unwrap();
    let beta = ensure(&fleet, "beta").await.unwrap();
    chat(&beta.endpoint).await.unwrap();
    fleet.wait_for("alpha", "made room", is_evicted).await;
    fleet
        .event("tells who makes room for whom", |event| {
            event.server.as_deref() == Some("alpha")
                && event.reason == "evicted"
                && event
                    .message
                    .contains("makes room for beta, which needs a place; 1 of 1")
        })
        .await;
    let told = explained(&fleet, "beta").await;
    assert!(
        told[0].contains("1 of 1 that [memory] max_loaded"),
        "{told:?}"
    );
    let told = explained(&fleet, "alpha").await;
    assert!(told[0].contains("makes room for beta"), "{told:?}");
    // And back again, by an operator's word.
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    fleet.wait_for("beta", "made room", is_evicted).await;
}

#[tokio::test]
async fn a_server_that_answers_is_waited_for_although_no_gateway_tells_of_it() {
    let Some(mut fleet) = fleet(&["alpha", "beta"], 1).await else {
        return;
    };
    let alpha = ensure(&fleet, "alpha").await.unwrap();
    let mut answer = Chat::start(&alpha.endpoint, 400).await.unwrap();
    answer.next().await.unwrap();
    let mut beta = Box::pin(ensure(&fleet, "beta"));
    let text = tokio::select! {
        text = answer.rest() => text.unwrap(),
        beta = &mut beta => panic!("alpha was stopped while it answered: {beta:?}"),
    };
    assert!(text.contains("[DONE]"), "{text}");
    beta.as_mut().await.unwrap();
    drop(beta);
    fleet.wait_for("alpha", "made room", is_evicted).await;
}

#[tokio::test]
async fn the_lowest_priority_goes_first_and_then_who_was_used_least_recently() {
    let names = ["alpha", "beta", "gamma", "delta", "epsilon"];
    let define = |server: Server| match server.name() {
        "alpha" => server.set("priority", 5),
        _ => server,
    };
    let Some(mut fleet) = fleet_with(&names, 3, define).await else {
        return;
    };
    for name in ["alpha", "beta", "gamma", "delta"] {
        ensure(&fleet, name).await.unwrap();
    }
    fleet.wait_for("beta", "made room", is_evicted).await;
    fleet.ready("gamma").await;
    ensure(&fleet, "epsilon").await.unwrap();
    fleet.wait_for("gamma", "made room", is_evicted).await;
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn two_models_with_waiting_requests_take_turns_and_each_answers_all_that_waited() {
    let Some(mut fleet) = fleet(&["alpha", "beta"], 1).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let mut answers = JoinSet::new();
    for _ in 0..4 {
        for model in ["alpha", "beta"] {
            let url = gateway.url();
            answers.spawn(async move { chat_with(&url, model).await });
        }
    }
    while let Some(answer) = answers.join_next().await {
        answer.unwrap().unwrap();
    }
    for name in ["alpha", "beta"] {
        let was_loaded = |server: &Shown| server.incarnation.is_some();
        let server = fleet.wait_for(name, "was loaded", was_loaded).await;
        assert_eq!(server.incarnation, Some(1), "{server:?}");
    }
}

#[tokio::test]
async fn a_request_waits_for_one_that_answers_and_is_told_what_it_waits_for() {
    let define = |server: Server| server.set("ctx_size", 16384);
    let Some(mut fleet) = fleet_with(&["alpha", "beta"], 1, define).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let mut answer = Chat::with(&gateway.url(), "alpha", 12_000).await.unwrap();
    answer.next().await.unwrap();
    let url = gateway.url();
    let beta = tokio::spawn(async move { chat_with(&url, "beta").await });
    let waiting = fleet.wait_for("beta", "waits for memory", waits).await;
    let no_room = "no idle server could make enough room";
    assert!(waiting.detail.contains(no_room), "{waiting:?}");
    let told = explained(&fleet, "beta").await;
    let stays = |line: &String| line.starts_with("alpha stays: ") && line.contains("in flight");
    assert!(told.iter().any(stays), "{told:?}");
    assert!(answer.rest().await.unwrap().contains("[DONE]"));
    beta.await.unwrap().unwrap();
    fleet.wait_for("alpha", "made room", is_evicted).await;
}

#[tokio::test]
async fn what_starts_by_itself_has_nobody_stopped_until_it_is_asked_for() {
    let define = |server: Server| server.set("autostart", true);
    let Some(mut fleet) = fleet_with(&["alpha", "beta"], 1, define).await else {
        return;
    };
    let alpha = fleet.ready("alpha").await;
    fleet.wait_for("beta", "waits for memory", waits).await;
    send(alpha.pid.unwrap(), Signal::SIGKILL);
    fleet.ready_again(&alpha).await;
    fleet.wait_for("beta", "waits for memory", waits).await;
    ensure(&fleet, "beta").await.unwrap();
    fleet.wait_for("alpha", "made room", is_evicted).await;
    // It does not come back by itself.
    fleet.magictl(&["stop", "beta"]).await.expect_code(0);
    fleet.wait_for("alpha", "made room", is_evicted).await;
}

#[tokio::test]
async fn the_pinned_stay_and_those_that_are_started_together_spare_each_other() {
    let define = |server: Server| match server.name() {
        "alpha" => server.set("pin", true),
        _ => server,
    };
    let names = ["alpha", "beta", "gamma"];
    let Some(mut fleet) = fleet_with(&names, 2, define).await else {
        return;
    };
    ensure(&fleet, "alpha").await.unwrap();
    let both = fleet.magictl(&["start", "beta", "gamma"]).await;
    both.expect_code(1);
    fleet.ready("beta").await;
    fleet.wait_for("gamma", "waits for memory", waits).await;
    let told = explained(&fleet, "gamma").await;
    assert!(told.contains(&"alpha stays: pinned".to_owned()), "{told:?}");
    ensure(&fleet, "gamma").await.unwrap();
    fleet.wait_for("beta", "made room", is_evicted).await;
    fleet.ready("alpha").await;
}

#[tokio::test]
async fn nobody_is_stopped_for_what_cannot_fit_at_all() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("memory.ram", "80MiB");
    let large = Server::real("large", &program)
        .set("autostart", false)
        .set("ctx_size", 1 << 20);
    fleet.save(&[Server::real("alpha", &program), large]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let refused = ensure(&fleet, "large").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("allows 80.0 MiB"), "{refused}");
    assert_eq!(fleet.ready("alpha").await.pid, alpha.pid);
}
