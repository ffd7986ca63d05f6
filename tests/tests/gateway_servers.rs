//! What requests and operators do to servers, seen through a real gateway.
#![allow(missing_docs)]

use std::time::Duration;

use magi_proto::v1::{Server as Shown, ServerState};
use magi_tests::harness::{
    Answer, Call, Chat, Fleet, Gateway, Server, chat_with, llama_server, question,
};
use serde_json::json;
use tokio::time::Instant;

/// Long enough for a request to come in time, and short enough to wait for.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

/// A fleet with one real server that is stopped when idle, and a gateway.
async fn with_idle_timeout() -> Option<(Fleet, Gateway)> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    let idle_timeout = format!("{}ms", IDLE_TIMEOUT.as_millis());
    let alpha = Server::real("alpha", &program)
        .set("ctx_size", 4096)
        .set("parallel", 1);
    fleet.save(&[alpha.set("idle_timeout", idle_timeout)]);
    fleet.start().await;
    let gateway = Gateway::start(&fleet).await;
    Some((fleet, gateway))
}

fn is_idle(alpha: &Shown) -> bool {
    (alpha.state(), &*alpha.reason) == (ServerState::Stopped, "idle")
}

#[tokio::test]
async fn a_server_that_nobody_uses_is_stopped_and_the_next_request_starts_it() {
    let Some((mut fleet, gateway)) = with_idle_timeout().await else {
        return;
    };
    let mut last = None;
    for _ in 0..2 {
        let said = chat_with(&gateway.url(), "alpha").await.unwrap();
        assert!(said.contains("alpha"), "{said}");
        let stopped = fleet.wait_for("alpha", "is idle", is_idle).await;
        assert!(stopped.incarnation > last, "{stopped:?}");
        assert_eq!(stopped.restarts, 0);
        last = stopped.incarnation;
    }
}

#[tokio::test]
async fn a_server_is_not_idle_while_it_answers() {
    let Some((mut fleet, gateway)) = with_idle_timeout().await else {
        return;
    };
    let mut stream = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
    stream.next().await.unwrap();
    let alpha = fleet.ready("alpha").await;
    let began = Instant::now();
    let rest = stream.rest().await.unwrap();
    assert!(rest.contains("[DONE]"));
    let took = began.elapsed();
    assert!(took > IDLE_TIMEOUT, "it proves nothing: {took:?}");
    let stopped = fleet.wait_for("alpha", "is idle", is_idle).await;
    assert_eq!(stopped.incarnation, alpha.incarnation);
}

#[tokio::test]
async fn what_is_held_is_refused_until_it_is_started() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.save(&[Server::real("alpha", &program)]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let gateway = Gateway::start(&fleet).await;
    let hold = ["stop", "--hold", "alpha"];
    fleet.magictl(&hold).await.expect_code(0);
    let call = Call::post("/v1/chat/completions", &question(Some("alpha"), 4));
    let refused = call.answer(&gateway.url()).await.unwrap().expect(503);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "held", "{refused:?}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("magictl start alpha"), "{message}");
    fleet.state("alpha", ServerState::Stopped).await;
    fleet.magictl(&["start", "alpha"]).await.expect_code(0);
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
}

#[tokio::test]
async fn over_gateway_sock_nothing_is_changed_until_magid_is_told_that_it_may() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut gateway = Gateway::new(&fleet, 0);
    gateway.connect_to(fleet.path("run/gateway.sock"));
    gateway.spawn();
    gateway.attached(&fleet).await;
    let list = Call::get("/api/models/servers");
    list.answer(&gateway.url()).await.unwrap().expect(200);
    let denied = stop(&gateway).await.expect(403);
    assert_eq!(denied.json()["reason"], "control-denied", "{denied:?}");
    let told = denied.json()["detail"].to_string();
    assert!(told.contains("under [control] in "), "{told}");
    assert!(told.contains("magid.toml"), "{told}");
    fleet.ready("alpha").await;
    // Requests to models are not what it is about.
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
    // The line that it names, and the same gateway.
    fleet.set("control.gateway", "administer");
    fleet.magictl(&["reload"]).await.expect_code(0);
    stop(&gateway).await.expect(200);
    fleet.state("alpha", ServerState::Stopped).await;
}

async fn stop(gateway: &Gateway) -> Answer {
    let call = Call::post("/api/models/alpha/stop", &json!({}));
    call.answer(&gateway.url()).await.unwrap()
}
