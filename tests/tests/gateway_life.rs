//! What becomes of requests when something ends: a server, a client, the gateway, magid.

use std::time::Duration;

use magi_proto::v1::ServerState;
use magi_tests::harness::{
    Call, Chat, DEADLINE, Fleet, Gateway, Server, chat_with, llama_server, question, send,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A fleet with one real server that has one slot and a long context, and a gateway.
async fn fleet() -> Option<(Fleet, Gateway)> {
    fleet_with(&[]).await
}

/// The same, with keys of gateway.toml.
async fn fleet_with(keys: &[(&str, &str)]) -> Option<(Fleet, Gateway)> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    fleet.save(&[alpha(&program), sleeper(&program)]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut gateway = Gateway::new(&fleet, 0);
    for (key, value) in keys {
        gateway.set(key, *value);
    }
    gateway.spawn();
    gateway.attached(&fleet).await;
    Some((fleet, gateway))
}

fn alpha(program: &std::path::Path) -> Server {
    let server = Server::real("alpha", program).set("ctx_size", 4096);
    server.set("parallel", 1)
}

fn sleeper(program: &std::path::Path) -> Server {
    let server = Server::real("sleeper", program).set("ctx_size", 1024);
    server.set("autostart", false)
}

#[tokio::test]
async fn an_answer_may_take_longer_than_the_head_of_a_request() {
    let Some((_fleet, gateway)) = fleet_with(&[("header_timeout", "200ms")]).await else {
        return;
    };
    let header_timeout = Duration::from_millis(200);
    let began = Instant::now();
    let stream = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
    assert!(stream.rest().await.unwrap().contains("[DONE]"));
    let took = began.elapsed();
    assert!(took > header_timeout * 2, "it proves nothing: {took:?}");
}

#[tokio::test]
async fn a_killed_server_breaks_its_streams_and_never_ends_them() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let alpha = fleet.ready("alpha").await;
    let mut stream = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
    let first = stream.next().await.unwrap();
    assert!(first.is_some());
    send(alpha.pid(), Signal::SIGKILL);
    let (text, ended) = stream.to_its_end().await;
    assert!(ended.is_err(), "it looks complete: {text}");
    assert!(!text.contains("[DONE]"), "{text}");
    let last = text.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("data: "), "{text}");
    assert!(last.contains("upstream-broken"), "{last}");
    // The next one is answered by the next incarnation.
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
    assert_eq!(fleet.ready_again(&alpha).await.restarts, 1);
}

#[tokio::test]
async fn a_request_of_which_nothing_was_answered_goes_to_the_next_incarnation() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha").fault("token-time=20ms")]);
    fleet.start().await;
    let alpha = fleet.ready("alpha").await;
    let gateway = Gateway::start(&fleet).await;
    let call = Call::post("/v1/chat/completions", &question(Some("alpha"), 40));
    let url = gateway.url();
    let asked = tokio::spawn(async move { call.answer(&url).await });
    fleet
        .wait_use("alpha", "is busy", |alpha| alpha.in_flight == Some(1))
        .await;
    send(alpha.pid(), Signal::SIGKILL);
    let answer = asked.await.unwrap().unwrap().expect(200);
    assert!(answer.text.contains("alpha"), "{answer:?}");
    assert!(fleet.ready("alpha").await.incarnation > alpha.incarnation);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    for _ in 0..3 {
        let mut stream = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
        stream.next().await.unwrap();
        drop(stream);
        // There is one slot: an answer means that it is free.
        chat_with(&gateway.url(), "alpha").await.unwrap();
    }
    fleet
        .wait_use("alpha", "is idle", |alpha| alpha.in_flight == Some(0))
        .await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_leaves_the_queue() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let mut first = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
    first.next().await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let url = gateway.url();
            tokio::spawn(async move { chat_with(&url, "alpha").await })
        })
        .collect();
    fleet
        .wait_use("alpha", "has a queue", |alpha| alpha.waiting == Some(3))
        .await;
    waiting.iter().for_each(|request| request.abort());
    fleet
        .wait_use("alpha", "has none", |alpha| alpha.waiting == Some(0))
        .await;
    drop(first);
    chat_with(&gateway.url(), "alpha").await.unwrap();
}

#[tokio::test]
async fn a_burst_at_a_stopped_model_starts_it_once() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let url = gateway.url();
        requests.spawn(async move { chat_with(&url, "sleeper").await });
    }
    while let Some(said) = requests.join_next().await {
        let said = said.unwrap().unwrap();
        assert!(said.contains("sleeper"), "{said}");
    }
    let sleeper = fleet.ready("sleeper").await;
    assert_eq!(sleeper.incarnation, Some(1));
    assert_eq!(sleeper.restarts, 0);
}

#[tokio::test]
async fn a_gateway_that_is_killed_takes_only_its_own_requests_with_it() {
    let Some((mut fleet, mut gateway)) = fleet().await else {
        return;
    };
    let before = fleet.ready("alpha").await;
    let mut stream = Chat::with(&gateway.url(), "alpha", 4000).await.unwrap();
    stream.next().await.unwrap();
    gateway.kill().await;
    let (_, ended) = stream.to_its_end().await;
    assert!(ended.is_err());
    fleet
        .wait_status("no gateway is attached", |status| {
            status.gateways.is_empty()
        })
        .await;
    gateway.spawn();
    gateway.attached(&fleet).await;
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
    assert_eq!(fleet.ready("alpha").await.pid, before.pid);
}

#[tokio::test]
async fn a_gateway_that_is_ended_finishes_its_answers() {
    let Some((_fleet, mut gateway)) = fleet().await else {
        return;
    };
    let mut stream = Chat::with(&gateway.url(), "alpha", 1000).await.unwrap();
    stream.next().await.unwrap();
    gateway.signal(Signal::SIGTERM);
    let (status, rest) = tokio::join!(gateway.ended(), stream.rest());
    assert!(rest.unwrap().contains("[DONE]"));
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn what_is_ready_is_served_while_magid_is_gone() {
    let Some((mut fleet, mut gateway)) = fleet().await else {
        return;
    };
    fleet.kill().await;
    for _ in 0..3 {
        let said = chat_with(&gateway.url(), "alpha").await.unwrap();
        assert!(said.contains("alpha"), "{said}");
    }
    let call = Call::post("/v1/chat/completions", &question(Some("sleeper"), 4));
    let refused = call.answer(&gateway.url()).await.unwrap().expect(503);
    assert_eq!(refused.json()["error"]["code"], "magid-away", "{refused:?}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    fleet.start().await;
    fleet.ready("alpha").await;
    gateway.attached(&fleet).await;
    for name in ["alpha", "sleeper"] {
        let said = chat_with(&gateway.url(), name).await.unwrap();
        assert!(said.contains(name), "{said}");
    }
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_a_request_after_it_starts_the_server() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let before = fleet.ready("alpha").await;
    let mut stream = Chat::with(&gateway.url(), "alpha", 1000).await.unwrap();
    stream.next().await.unwrap();
    let (stopped, rest) = tokio::join!(fleet.magictl(&["stop", "alpha"]), stream.rest());
    stopped.expect_code(0);
    assert!(rest.unwrap().contains("[DONE]"));
    fleet.state("alpha", ServerState::Stopped).await;
    let said = chat_with(&gateway.url(), "alpha").await.unwrap();
    assert!(said.contains("alpha"), "{said}");
    assert!(fleet.ready("alpha").await.incarnation > before.incarnation);
}

#[tokio::test]
async fn requests_are_told_of_when_they_have_ended() {
    let Some((fleet, gateway)) = fleet().await else {
        return;
    };
    let call = Call::post("/v1/chat/completions", &question(Some("alpha"), 8));
    let answer = call.answer(&gateway.url()).await.unwrap().expect(200);
    let id = answer.header("x-request-id").to_owned();
    let unknown = Call::post("/v1/chat/completions", &question(Some("alhpa"), 8));
    unknown.answer(&gateway.url()).await.unwrap().expect(404);
    let done = finished(&fleet, "model", "alpha").await;
    let refused = finished(&fleet, "reason", "no-such-model").await;
    assert_eq!(done["id"], id.as_str(), "{done}");
    assert_eq!(done["outcome"], "done");
    assert_eq!(done["status"], 200);
    assert_eq!(done["tokens"], 8);
    assert!(done["tokensPerSecond"].as_f64().unwrap() > 0.0);
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["reason"], "no-such-model");
}

/// The request of which this is told. They come to magid after their answers, in their own time.
async fn finished(fleet: &Fleet, field: &str, value: &str) -> Value {
    let looked = timeout(DEADLINE, async {
        loop {
            let ran = fleet.magictl(&["requests", "-o", "json"]).await;
            let told = ran.expect_code(0).json();
            let requests = told["requests"].as_array().unwrap();
            if let Some(request) = requests.iter().find(|one| one[field] == value) {
                return request.clone();
            }
        }
    });
    match looked.await {
        Ok(request) => request,
        Err(_) => {
            fleet
                .fail(&format!("no request is told of with {field} {value}"))
                .await
        }
    }
}
