//! Far more connections than a gateway takes.

use std::time::Duration;

use magi_tests::figure;
use magi_tests::harness::{DEADLINE, Fleet, Gateway, Resources, Server, chat_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// So many come.
const CROWD: u64 = 10_000;

/// So many of them are taken at a time. The others wait in the kernel.
const TAKEN: u64 = 4096;

/// What one connection that says nothing may cost.
const EACH: u64 = 16 << 10;

/// Has this process have as many descriptors as the crowd needs. False: it may not.
fn raise_descriptors() -> bool {
    let wanted = CROWD + 1000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return true;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).is_ok()
}

/// Asks over a connection that is there already.
async fn ask(stream: &mut TcpStream) -> String {
    let question = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(question).await.unwrap();
    let mut answer = [0; 4096];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await;
    let count = read.expect("it is answered").unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

async fn crowd(address: &str) -> JoinSet<Option<TcpStream>> {
    let mut crowd = JoinSet::new();
    for n in 0..CROWD {
        let address = address.to_owned();
        crowd.spawn(async move { TcpStream::connect(address).await.ok() });
        // Else the kernel's queue overflows before the gateway has looked once.
        if n % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    crowd
}

#[tokio::test]
async fn ten_thousand_connections_cost_a_bounded_amount_and_keep_nobody_out_for_long() {
    if !raise_descriptors() {
        eprintln!("SKIPPED: {CROWD} connections need more descriptors than this may have");
        return;
    }
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    fleet.ready("alpha").await;
    let mut gateway = Gateway::new(&fleet, 0);
    gateway.set("max_connections", i64::try_from(TAKEN).unwrap());
    gateway.set("header_timeout", "3s");
    gateway.spawn();
    gateway.attached(&fleet).await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
    let before = Resources::of(gateway.pid());

    let address = gateway.url().replace("http://", "");
    let mut early = TcpStream::connect(&address).await.unwrap();
    assert!(ask(&mut early).await.starts_with("HTTP/1.1 200"));
    let mut crowd = crowd(&address).await;
    let full = async {
        while Resources::of(gateway.pid()).descriptors < TAKEN as usize {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, full).await.expect("it takes so many");
    // Who was there before is answered, and who comes now is as soon as silent ones were sent away.
    assert!(ask(&mut early).await.starts_with("HTTP/1.1 200"));
    let during = Resources::of(gateway.pid());
    chat_with(&gateway.url(), "alpha").await.unwrap();
    figure!(
        "gateway: {} KiB before, {} KiB with {TAKEN} silent connections taken of {CROWD}",
        before.resident >> 10,
        during.resident >> 10,
    );
    let bound = before.resident + TAKEN * EACH + (8 << 20);
    assert!(during.resident < bound, "{before:?} -> {during:?}");
    let most = before.descriptors + TAKEN as usize + 16;
    assert!(during.descriptors < most, "{before:?} -> {during:?}");

    crowd.shutdown().await;
    drop(early);
    let over = async {
        while Resources::of(gateway.pid()).descriptors > before.descriptors + 8 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, over).await.expect("all are closed");
    let after = Resources::of(gateway.pid());
    assert_eq!(after.threads, before.threads);
    assert!(after.resident < bound, "{before:?} -> {after:?}");
    chat_with(&gateway.url(), "alpha").await.unwrap();
}
