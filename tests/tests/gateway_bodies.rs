//! Bodies of requests: so much of all of them is held at a time, and who finds no room waits for it.

use std::time::Duration;

use magi_tests::figure;
use magi_tests::harness::{Answer, Call, Fleet, Gateway, Raw, Server, peak_memory, question};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

const CHAT: &str = "/v1/chat/completions";

/// Longer than any of these tests should take.
const PATIENCE: Duration = Duration::from_secs(120);

/// One large body.
const LARGE: usize = 2 << 20;

/// So many of them come at once.
const CLIENTS: usize = 40;

async fn fleet(keys: &[(&str, Value)]) -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")
        .set("max_in_flight", 2)
        .set("max_queue", 1000)]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut gateway = Gateway::new(&fleet, 0);
    for (key, value) in keys {
        gateway.set(key, value.clone());
    }
    gateway.spawn();
    gateway.attached(&fleet).await;
    (fleet, gateway)
}

/// A question of so many bytes.
fn padded(bytes: usize) -> String {
    let question = question(Some("alpha"), 4).to_string();
    let padding = " ".repeat(bytes - question.len());
    format!("{question}{padding}")
}

/// Sends a body in chunks, without saying how long it is.
async fn in_chunks(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(100_000) {
        let size = format!("{:x}\r\n", piece.len());
        stream.write_all(size.as_bytes()).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn many_large_bodies_wait_their_turn_in_little_memory_and_none_is_lost() {
    let keys = [("max_body", json!("2MiB")), ("max_bodies", json!("4MiB"))];
    let (_fleet, gateway) = fleet(&keys).await;
    let small = Call::post(CHAT, &question(Some("alpha"), 4));
    small.answer(&gateway.url()).await.unwrap().expect(200);
    let before = peak_memory(gateway.pid());

    let mut clients = JoinSet::new();
    let body = padded(LARGE);
    for n in 0..CLIENTS {
        let (url, body) = (gateway.url(), body.clone());
        clients.spawn(async move {
            if n % 2 == 0 {
                let address = url.replace("http://", "");
                let answer = in_chunks(&address, &body).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            } else {
                let reply = Call::text(CHAT, body).send_patiently(&url).await.unwrap();
                reply.whole().await.unwrap().expect(200);
            }
        });
    }
    let all = async {
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("each has its turn");

    let after = peak_memory(gateway.pid());
    figure!(
        "gateway: {} KiB before, {} KiB at most with {CLIENTS} bodies of {} KiB and room for two",
        before >> 10,
        after >> 10,
        LARGE >> 10
    );
    // What is held, buffers of each connection, and what the allocator keeps of bodies that grew.
    let bound = before + (16 << 20) + CLIENTS as u64 * (128 << 10);
    assert!(after < bound, "{before} -> {after} bytes");
    small.answer(&gateway.url()).await.unwrap().expect(200);
}

#[tokio::test]
async fn who_finds_no_room_for_too_long_is_told_when_to_come_again() {
    let keys = [
        ("max_body", json!("1MiB")),
        ("max_bodies", json!("1MiB")),
        ("body_timeout", json!("2s")),
    ];
    let (_fleet, gateway) = fleet(&keys).await;
    // It takes all the room there is, and is slow.
    let mut slow = TcpStream::connect(gateway.url().replace("http://", ""))
        .await
        .unwrap();
    let body = padded(1 << 20);
    let (first, rest) = body.split_at(1000);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let call = Call::post(CHAT, &question(Some("alpha"), 4));
    let (url, mut sent) = (gateway.url(), rest.bytes());
    let mut refused = None;
    // It may come first once, before the slow one's head is read.
    while refused.is_none() {
        let mut answer = std::pin::pin!(call.answer(&url));
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer.unwrap(),
                () = sleep(Duration::from_millis(500)) => {
                    slow.write_all(&[sent.next().unwrap()]).await.unwrap();
                }
            }
        };
        refused = Some(answer).filter(|answer: &Answer| answer.status != 200);
    }
    let refused = refused.unwrap().expect(503);
    assert_eq!(refused.header("retry-after"), "1");
    let told = refused.json();
    assert_eq!(told["error"]["code"], "bodies-full", "{told}");
    assert_eq!(told["error"]["type"], "server_error", "{told}");
    let rest: Vec<u8> = sent.collect();
    slow.write_all(&rest).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    call.answer(&url).await.unwrap().expect(200);
}

#[tokio::test]
async fn who_is_slow_gives_way_to_those_who_wait() {
    let keys = [("max_body", json!("1MiB")), ("max_bodies", json!("1MiB"))];
    let (_fleet, gateway) = fleet(&keys).await;
    let mut slow = Raw::connect(&gateway).await;
    let head = "content-type: application/json\r\ncontent-length: 1048576\r\n\r\n{\"prompt\":\"";
    slow.say(&format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{head}"
    ))
    .await;
    let mut byte = interval(Duration::from_millis(200));
    let trickle = async {
        // As long as it is let.
        loop {
            byte.tick().await;
            if !slow.try_say("x").await {
                return;
            }
        }
    };
    let call = Call::post(CHAT, &question(Some("alpha"), 4));
    let url = gateway.url();
    let others = async {
        // The first may come before the slow one's head is read.
        for _ in 0..3 {
            call.answer(&url).await.unwrap().expect(200);
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = trickle => panic!("it is told why before its connection ends"),
        done = timeout(PATIENCE, others) => done.unwrap(),
    }
    let told = slow.until("others wait").await;
    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
}
