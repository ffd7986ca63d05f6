//! What a client sees of its connection: heads that cannot be read or do not come, and answers that
//! break off.

use std::io::ErrorKind;
use std::time::Duration;

use magi_tests::harness::{Fleet, Gateway, Raw, Server, chat_with, question};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

const CHAT: &str = "/v1/chat/completions";

/// Nothing here takes longer, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

async fn fleet(alpha: Server, header_timeout: &str) -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    fleet.save(&[alpha]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut gateway = Gateway::new(&fleet, 0);
    gateway.set("header_timeout", header_timeout);
    gateway.spawn();
    gateway.attached(&fleet).await;
    (fleet, gateway)
}

fn ask(version: &str, tokens: u32) -> String {
    let mut question = question(Some("alpha"), tokens);
    question["stream"] = true.into();
    let body = question.to_string();
    let length = body.len();
    format!("POST {CHAT} {version}\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_in_words() {
    let (_fleet, gateway) = fleet(Server::faulty("alpha"), "2s").await;
    let many = "x-flood: 1\r\n".repeat(101);
    let large = format!("x-flood: {}\r\n", "a".repeat(1 << 20));
    let heads = [
        ("hello\r\n\r\n".to_owned(), "400", "invalid-http"),
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".into(),
            "400",
            "invalid-http",
        ),
        (
            format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            "431",
            "head-too-large",
        ),
        (
            format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{large}\r\n"),
            "431",
            "head-too-large",
        ),
    ];
    let good = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (head, status, code) in heads {
        // Alone, and behind a request that is answered.
        for before in ["", good] {
            let mut stream = Raw::connect(&gateway).await;
            let whole = format!("{before}{head}");
            stream.say(&whole).await;
            let mut text = stream.until(code).await;
            text.push_str(&stream.rest().await.0);
            assert_eq!(
                text.starts_with("HTTP/1.1 200"),
                !before.is_empty(),
                "{text}"
            );
            let at = text.find("HTTP/1.1 4").unwrap();
            let (head, body) = text[at..].split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("x-request-id: "), "{head}");
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
            let told: Value = serde_json::from_str(body).unwrap();
            assert_eq!(told["error"]["code"], code, "{told}");
            assert_eq!(told["error"]["type"], "invalid_request_error", "{told}");
        }
    }
    chat_with(&gateway.url(), "alpha").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_good_end_for_an_old_client_either() {
    let alpha = Server::faulty("alpha").fault("exit-mid-stream:code=3");
    let (_fleet, gateway) = fleet(alpha, "10s").await;
    let mut stream = Raw::connect(&gateway).await;
    stream.say(&ask("HTTP/1.0", 50)).await;
    let (text, end) = stream.rest().await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{text}");
    assert!(text.contains("upstream-broken"), "{text}");
}

#[tokio::test]
async fn an_old_client_gets_a_whole_answer_and_a_good_end() {
    let (_fleet, gateway) = fleet(Server::faulty("alpha"), "10s").await;
    let mut stream = Raw::connect(&gateway).await;
    stream.say(&ask("HTTP/1.0", 4)).await;
    let (text, end) = stream.rest().await;
    assert!(end.is_ok() && text.contains("[DONE]"), "{end:?} {text}");
}

#[tokio::test]
async fn every_head_has_its_time_and_neither_answers_nor_silence_count() {
    let alpha = Server::faulty("alpha").fault("token-time=200ms");
    let (_fleet, gateway) = fleet(alpha, "1s").await;
    let mut stream = Raw::connect(&gateway).await;
    for _ in 0..2 {
        // It is answered for longer than a head may take.
        stream.say(&ask("HTTP/1.1", 10)).await;
        stream.until("[DONE]").await;
        // So much silence is no head.
        sleep(Duration::from_millis(1200)).await;
    }
    stream.say("POST /v1/chat").await;
    let begun = Instant::now();
    let more = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            if !stream.try_say("x").await {
                return;
            }
        }
    };
    timeout(PATIENCE, more).await.expect("it is closed");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Asks over a connection. False: nobody answers for a while.
async fn is_answered(stream: &mut Raw, patience: Duration) -> bool {
    stream
        .say("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    stream.hears_within(patience).await
}

#[tokio::test]
async fn an_edit_of_max_connections_is_applied_at_once() {
    const MOMENT: Duration = Duration::from_millis(500);
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let mut gateway = Gateway::new(&fleet, 0);
    gateway.set("max_connections", 2);
    gateway.spawn();
    gateway.listening().await;
    let mut first = Raw::connect(&gateway).await;
    let mut second = Raw::connect(&gateway).await;
    assert!(is_answered(&mut first, PATIENCE).await);
    assert!(is_answered(&mut second, PATIENCE).await);
    let mut third = Raw::connect(&gateway).await;
    assert!(
        !is_answered(&mut third, MOMENT).await,
        "there are two places"
    );
    gateway.set("max_connections", 3);
    // Its question waits in the socket.
    third.until("HTTP/1.1 200").await;

    gateway.set("max_connections", 1);
    // It takes a moment until the file is read, and all who are there may stay.
    sleep(Duration::from_secs(2)).await;
    assert!(is_answered(&mut first, PATIENCE).await);
    let mut fourth = Raw::connect(&gateway).await;
    drop((first, second));
    assert!(
        !is_answered(&mut fourth, MOMENT).await,
        "there is one place"
    );
    drop(third);
    fourth.until("HTTP/1.1 200").await;
}

#[tokio::test]
async fn a_connection_is_closed_when_it_was_not_used_for_long_enough() {
    let (_fleet, mut gateway) = fleet(Server::faulty("alpha"), "10s").await;
    let keep_alive = Duration::from_secs(1);
    gateway.set("keep_alive", "1s");
    gateway.kill().await;
    gateway.spawn();
    gateway.listening().await;
    let mut stream = Raw::connect(&gateway).await;
    let begun = Instant::now();
    while begun.elapsed() < keep_alive * 2 {
        let request = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.say(request).await;
        stream.until("\r\n\r\n").await;
        sleep(keep_alive / 4).await;
    }
    let (_, end) = stream.rest().await;
    assert!(end.is_ok());
}
