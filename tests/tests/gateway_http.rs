//! HTTP/1.1 as clients speak it, and as some should not.

use std::time::Duration;

use magi_tests::harness::{Fleet, Gateway, Raw, Server, question};

const CHAT: &str = "/v1/chat/completions";

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn fleet() -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let gateway = Gateway::start(&fleet).await;
    (fleet, gateway)
}

/// A question whose answer has two tokens.
fn body() -> String {
    question(Some("alpha"), 2).to_string()
}

/// The head of a request that asks it, with these lines, which say how long the body is.
fn head(lines: &str) -> String {
    format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n")
}

fn length(body: &str) -> String {
    format!("content-length: {}\r\n", body.len())
}

/// What was said before the body, and the body, which is as long as that says.
fn split(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{answer}"
    );
    (head, body)
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    let (body, last) = (body(), "connection: close\r\n");
    let first = head(&length(&body)) + &body;
    let second = head(&(length(&body) + last)) + &body;
    client
        .say(&format!("{first}{HEALTH}{second}{HEALTH}"))
        .await;
    let (text, end) = client.rest().await;
    assert!(end.is_ok());
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{text}");
    assert_eq!(text.matches("\"usage\"").count(), 2, "{text}");
    assert_eq!(text.matches("connection: close\r\n").count(), 1, "{text}");
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_those_byte_by_byte() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    let body = body();
    let (begin, end) = body.split_at(10);
    let chunks = format!(
        "A;x=y\r\n{begin}\r\n{:x}\r\n{end}\r\n0\r\nx-trailer: 1\r\n\r\n",
        end.len()
    );
    let request = head("transfer-encoding: chunked\r\n") + &chunks;
    for _ in 0..2 {
        for n in 0..request.len() {
            client.say(&request[n..=n]).await;
        }
        let text = client.until("\"usage\"").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    let broken = head("transfer-encoding: chunked\r\n") + "zz\r\n";
    client.say(&broken).await;
    let (text, _) = client.rest().await;
    assert!(text.contains("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("connection: close\r\n"), "{text}");
}

#[tokio::test]
async fn a_body_in_chunks_may_not_be_too_large_and_what_is_broken_behind_that_is_not_read() {
    let (fleet, _) = fleet().await;
    let mut gateway = Gateway::new(&fleet, 0);
    gateway.set("max_body", "1KiB");
    gateway.spawn();
    gateway.attached(&fleet).await;
    let large = format!("{:x}\r\n{}\r\n", 2048, "x".repeat(2048));
    for behind in ["0\r\n\r\n", "broken"] {
        let mut client = Raw::connect(&gateway).await;
        let request = head("transfer-encoding: chunked\r\nconnection: close\r\n") + &large;
        client.say(&(request + behind)).await;
        let (text, end) = client.rest().await;
        assert!(end.is_ok());
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_send_its_body_and_not_if_it_is_too_large() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    let body = body();
    let expect = "expect: 100-continue\r\n";
    client.say(&head(&(length(&body) + expect))).await;
    let told = client.until("\r\n\r\n").await;
    assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say(&body).await;
    client.until("\"usage\"").await;
    let large = format!("content-length: {}\r\n{expect}", 1_u64 << 40);
    client.say(&head(&large)).await;
    let (text, end) = client.rest().await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(end.is_ok(), "{text}");
}

#[tokio::test]
async fn an_old_client_keeps_its_connection_if_it_asks_for_that() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    let ask = "GET /health HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n";
    for _ in 0..2 {
        client.say(ask).await;
        let text = client.until("\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
        assert!(text.contains("connection: keep-alive\r\n"), "{text}");
    }
    client
        .say("GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await;
    let (text, end) = client.rest().await;
    assert!(
        end.is_ok() && text.contains("connection: close\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn who_asks_for_a_head_gets_no_body() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    client
        .say("HEAD /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let text = client.until("\r\n\r\n").await;
    assert!(
        text.ends_with("\r\n\r\n") && !text.contains("alpha"),
        "{text}"
    );
    client
        .say("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let (text, _) = client.rest().await;
    assert!(split(&text).1.contains("alpha"), "{text}");
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read() {
    let (_fleet, gateway) = fleet().await;
    let body = body();
    for lines in [
        length(&body) + "transfer-encoding: chunked\r\n",
        length(&body) + "content-length: 1\r\n",
        length(&body) + "host: elsewhere\r\n",
        "transfer-encoding: gzip, chunked\r\n".to_owned(),
    ] {
        let mut client = Raw::connect(&gateway).await;
        client.say(&(head(&lines) + &body + HEALTH)).await;
        let (text, end) = client.rest().await;
        assert!(end.is_ok());
        let (head, told) = split(&text);
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
        assert!(told.contains("invalid-http"), "{text}");
    }
}

#[tokio::test]
async fn who_is_refused_before_his_body_is_read_gets_to_know_why() {
    let (_fleet, gateway) = fleet().await;
    let large = "x".repeat(3 << 20);
    let mut client = Raw::connect(&gateway).await;
    let refused = format!(
        "PUT {CHAT} HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        length(&large)
    );
    client.say(&(refused + &large)).await;
    let (text, end) = client.rest().await;
    assert!(end.is_ok());
    assert!(split(&text).0.starts_with("HTTP/1.1 405 "), "{text}");

    // A small one that is there already is passed over, and the connection goes on.
    let mut client = Raw::connect(&gateway).await;
    let refused =
        format!("PUT {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}");
    client.say(&refused).await;
    client.until("method-not-allowed").await;
    client.say(HEALTH).await;
    let text = client.until("\r\n\r\n").await;
    assert!(text.contains("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_waited_for() {
    let (_fleet, gateway) = fleet().await;
    let mut client = Raw::connect(&gateway).await;
    let body = body();
    let (begin, end) = body.split_at(10);
    client.say(&(head(&length(&body)) + begin)).await;
    assert!(!client.hears_within(Duration::from_millis(300)).await);
    client.say(end).await;
    client.until("\"usage\"").await;
}
