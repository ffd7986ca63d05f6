//! Requests that are wrong, each with the status and the code that it is answered with. None of them
//! hurts anybody else.

use std::time::Duration;

use hyper::Method;
use magi_tests::harness::{Answer, Call, Fleet, Gateway, Resources, Server, chat_with, question};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const CHAT: &str = "/v1/chat/completions";

/// Two servers behind a gateway with these keys of gateway.toml.
async fn fleet(keys: &[(&str, Value)]) -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    fleet.save(&[
        Server::faulty("alpha").set("aliases", vec!["gpt-4o-mini"]),
        Server::faulty("beta"),
    ]);
    fleet.start().await;
    fleet.all_ready(2).await;
    let mut gateway = Gateway::new(&fleet, 0);
    for (key, value) in keys {
        gateway.set(key, value.clone());
    }
    gateway.spawn();
    gateway.attached(&fleet).await;
    (fleet, gateway)
}

/// What is wrong, and what it is answered with.
fn wrong() -> Vec<(&'static str, Call, u16, &'static str)> {
    let text = |body: &'static str| Call::text(CHAT, body);
    let post = |body: Value| Call::post(CHAT, &body);
    vec![
        ("no model", post(question(None, 4)), 400, "model-required"),
        ("no body", text(""), 400, "invalid-json"),
        ("no JSON", text("{model: alpha}"), 400, "invalid-json"),
        ("half of it", text(r#"{"model": "alp"#), 400, "invalid-json"),
        ("no object", text(r#"["alpha"]"#), 400, "invalid-json"),
        (
            "more after it",
            text(r#"{"model": "alpha"} {"model": "beta"}"#),
            400,
            "invalid-json",
        ),
        (
            "a number",
            post(json!({ "model": 7 })),
            400,
            "model-not-a-string",
        ),
        (
            "null",
            post(json!({ "model": null })),
            400,
            "model-not-a-string",
        ),
        (
            "an object",
            post(json!({ "model": { "model": "alpha" } })),
            400,
            "model-not-a-string",
        ),
        (
            "twice",
            text(r#"{"model": "alpha", "model": "alpha"}"#),
            400,
            "duplicate-model",
        ),
        (
            "twice in disguise",
            text(r#"{"model": "alpha", "mod\u0065l": "beta"}"#),
            400,
            "duplicate-model",
        ),
        (
            "a deep one",
            Call::text(CHAT, "[".repeat(100_000)),
            400,
            "invalid-json",
        ),
        (
            "nobody's name",
            post(question(Some("alhpa"), 4)),
            404,
            "no-such-model",
        ),
        (
            "another's case",
            post(question(Some("ALPHA"), 4)),
            404,
            "no-such-model",
        ),
        (
            "a path for a name",
            post(question(Some("../beta"), 4)),
            404,
            "no-such-model",
        ),
        (
            "a NUL",
            text(r#"{"model": "alpha\u0000"}"#),
            404,
            "no-such-model",
        ),
        ("GET", Call::get(CHAT), 405, "method-not-allowed"),
        (
            "no such path",
            Call::post("/v1/chat/complete", &question(Some("alpha"), 4)),
            404,
            "no-such-path",
        ),
        (
            "no such server",
            Call::get("/upstream/alhpa/health"),
            404,
            "no-such-model",
        ),
        (
            "too large",
            Call::text(CHAT, " ".repeat(2 << 20)),
            413,
            "body-too-large",
        ),
        (
            "another's host",
            post(question(Some("alpha"), 4)).header("host", "evil.example"),
            403,
            "host-not-allowed",
        ),
        (
            "another's page",
            post(question(Some("alpha"), 4)).header("origin", "https://evil.example"),
            403,
            "origin-not-allowed",
        ),
        (
            "a request that is not there",
            Call::new(Method::DELETE, "/api/requests/none"),
            404,
            "no-such-request",
        ),
    ]
}

#[tokio::test]
async fn each_wrong_request_has_its_status_and_its_code() {
    let (_fleet, gateway) = fleet(&[("max_body", "1MiB".into())]).await;
    let mut differing = Vec::new();
    for (what, call, status, code) in wrong() {
        let answer = call.answer(&gateway.url()).await;
        let Ok(answer) = answer else {
            differing.push(format!("{what}: {answer:?}"));
            continue;
        };
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let told = body["error"]["code"].as_str().or(body["reason"].as_str());
        if answer.status != status || told != Some(code) {
            differing.push(format!("{what}: wanted {status} {code}: {answer:?}"));
        }
        if answer.header("x-request-id").is_empty() {
            differing.push(format!("{what}: no x-request-id: {answer:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    chat_with(&gateway.url(), "alpha").await.unwrap();
}

#[tokio::test]
async fn anthropics_clients_are_refused_in_their_own_words() {
    let (_fleet, gateway) = fleet(&[]).await;
    let call = Call::post("/v1/messages", &question(Some("alhpa"), 4));
    let refused = call
        .answer(&gateway.url())
        .await
        .unwrap()
        .expect(404)
        .json();
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["error"]["type"], "not_found_error");
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("alpha")
    );
}

/// What is told of the request that was answered so, once it has ended.
async fn told(gateway: &Gateway, answer: &Answer) -> Value {
    let path = format!("/api/requests/{}", answer.header("x-request-id"));
    let telling = async {
        loop {
            let told = Call::get(&path).answer(&gateway.url()).await.unwrap();
            if told.status == 200 {
                return told.json()["finished"].clone();
            }
            assert_eq!(told.expect(404).json()["reason"], "no-such-request");
            sleep(Duration::from_millis(50)).await;
        }
    };
    let told = timeout(Duration::from_secs(20), telling).await;
    told.expect("it is told of")
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_told_of_by_its_id() {
    let (fleet, gateway) = fleet(&[]).await;
    let call = Call::text(CHAT, "{model: alpha}");
    let refused = call.answer(&gateway.url()).await.unwrap().expect(400);
    let finished = told(&gateway, &refused).await;
    for (member, value) in [
        ("path", json!(CHAT)),
        ("status", json!(400)),
        ("outcome", json!("refused")),
        ("reason", json!("invalid-json")),
        ("model", Value::Null),
        ("server", Value::Null),
    ] {
        assert_eq!(finished[member], value, "{finished}");
    }
    let id = refused.header("x-request-id");
    let shown = fleet.magictl(&["requests", id]).await;
    let line = shown.stdout.lines().last().unwrap_or_default();
    assert!(line.contains(" 400 "), "{line}");
    assert!(
        line.ends_with(&format!("refused: invalid-json  {CHAT}")),
        "{line}"
    );
    let one = fleet.magictl(&["requests", id, "-o", "json"]).await;
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(one["requests"], json!([finished]));
    let nothing = fleet.magictl(&["requests", "0123456789abcdef"]).await;
    nothing.expect_code(4);
}

/// Sends bytes, and gives what is answered until the end.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let address = gateway.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Whoever refuses early may close before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_hurts_nobody() {
    let (_fleet, gateway) = fleet(&[("header_timeout", "1s".into())]).await;
    let many = "x-flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(20_000);
    let flood = format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        flood.into_bytes(),
        long.into_bytes(),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}"
            .to_vec(),
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow".to_vec(),
    ] {
        let answer = raw(&gateway, &bytes).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(answer.is_empty() || status.starts_with('4'), "{answer}");
    }
    chat_with(&gateway.url(), "alpha").await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_writing_counts_as_gone() {
    // The same as one that closes, as far as can be told: and such a one frees its place at once.
    let (mut fleet, gateway) = fleet(&[]).await;
    let address = gateway.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = question(Some("alpha"), 4).to_string();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert!(answer.is_empty() || answer.contains("alpha"), "{answer}");
    fleet
        .wait_use("alpha", "is idle", |alpha| alpha.in_flight == Some(0))
        .await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
}

#[tokio::test]
async fn large_bodies_leave_nothing_behind() {
    let (_fleet, gateway) = fleet(&[]).await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
    let before = Resources::of(gateway.pid()).resident;
    for _ in 0..10 {
        let call = Call::text(CHAT, " ".repeat(100 << 20));
        // It is refused before it is sent, and the connection may be gone by then.
        if let Ok(answer) = call.answer(&gateway.url()).await {
            answer.expect(413);
        }
    }
    let after = Resources::of(gateway.pid()).resident;
    assert!(after < before + (16 << 20), "{before} -> {after} bytes");
    chat_with(&gateway.url(), "alpha").await.unwrap();
}
