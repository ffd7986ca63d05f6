//! Room that idle servers make for those that are asked for.

use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse, Server as Shown, ServerState};
use magi_tests::harness::{Chat, Fleet, Server, chat, llama_server};
use tonic::Status;

/// A fleet of so many real servers, started by requests only, of which `most` may be loaded.
fn fleet(names: &[&str], most: u32) -> Option<Fleet> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    fleet.set("memory.max_loaded", most);
    let servers = names.iter();
    let servers: Vec<_> = servers
        .map(|name| Server::real(name, &program).set("autostart", false))
        .collect();
    fleet.save(&servers);
    Some(fleet)
}

async fn ensure(fleet: &Fleet, server: &str) -> Result<EnsureReadyResponse, Status> {
    let server = server.to_owned();
    let mut gateways = fleet.gateways();
    let answer = gateways.ensure_ready(EnsureReadyRequest { server }).await;
    answer.map(tonic::Response::into_inner)
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
    let Some(mut fleet) = fleet(&["alpha", "beta"], 1) else {
        return;
    };
    fleet.start().await;
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
    let Some(mut fleet) = fleet(&["alpha", "beta"], 1) else {
        return;
    };
    fleet.start().await;
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
