//! Who is started when there is not memory for all, seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use magi_proto::v1::{ServerState, StopServersRequest};
use magi_tests::harness::{Fleet, Server, Servers, pids_with, send};
use nix::sys::signal::Signal;
use tokio::time::Instant;

/// What a server with a tiny model is thought to need, as people are told, and room for one and two.
const NEEDS: &str = "needs 37.5 MiB of RAM";
const ONE: &str = "50MiB";
const TWO: &str = "80MiB";

/// A fleet with so much main memory for all its servers.
fn limited(ram: &str) -> Fleet {
    let mut fleet = Fleet::new();
    fleet.set("memory.ram", ram);
    fleet
}

fn server(name: &str, priority: i32) -> Server {
    Server::faulty(name).set("priority", priority)
}

/// One that makes no room for what an operator starts.
fn pinned(name: &str, priority: i32) -> Server {
    server(name, priority).set("pin", true)
}

fn waits(server: &magi_proto::v1::Server) -> bool {
    server.state() == ServerState::Stopped && server.reason == "waiting-for-memory"
}

async fn waiting(fleet: &mut Fleet, name: &str) -> magi_proto::v1::Server {
    fleet.wait_for(name, "waits for memory", waits).await
}

/// Whether these are ready, and all others wait.
fn only_these_run(servers: &Servers, ready: &[&str]) -> bool {
    servers
        .values()
        .all(|server| match ready.contains(&server.name.as_str()) {
            true => server.state() == ServerState::Ready,
            false => waits(server),
        })
}

async fn only(fleet: &mut Fleet, ready: &[&str]) -> Servers {
    let what = format!("{ready:?} are ready, and the others wait");
    fleet
        .wait(&what, |servers| only_these_run(servers, ready))
        .await
}

async fn explained(fleet: &Fleet, name: &str) -> serde_json::Value {
    let explained = fleet.magictl(&["explain", name, "-o", "json"]).await;
    explained.expect_code(0).json()
}

#[tokio::test]
async fn what_does_not_fit_waits_with_the_numbers_and_starts_when_there_is_room() {
    let mut fleet = limited(TWO);
    fleet.save(&[pinned("a-low", 0), pinned("b-mid", 5), pinned("c-high", 9)]);
    fleet.start().await;
    let low = only(&mut fleet, &["b-mid", "c-high"]).await["a-low"].clone();
    let numbers = format!("{NEEDS}; 75.0 MiB of 80.0 MiB are reserved");
    assert_eq!(low.detail, numbers);
    fleet
        .event("tells of the wait", |event| {
            event.server.as_deref() == Some("a-low")
                && event.reason == "waiting-for-memory"
                && event.message.contains(&numbers)
        })
        .await;
    let status = fleet.magictl(&["status"]).await.expect_code(0).stdout;
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&numbers), "{status}");
    let told = explained(&fleet, "a-low").await;
    assert_eq!(told["server"]["reason"], "waiting-for-memory");
    assert_eq!(told["memoryBudget"], 80 << 20);
    let needed = told["server"]["memoryNeeded"].as_u64().unwrap();
    assert_eq!(told["memoryReserved"], 2 * needed);

    // A stop of another makes room, and a start without room is answered at once.
    fleet.magictl(&["stop", "c-high"]).await.expect_code(0);
    fleet.ready("a-low").await;
    let begin = Instant::now();
    let refused = fleet.magictl(&["start", "c-high"]).await.expect_code(1);
    assert!(begin.elapsed() < Duration::from_secs(10), "{refused:?}");
    assert!(refused.stderr.contains(&numbers), "{refused:?}");
    // So does a higher budget.
    fleet.set("memory.ram", "120MiB");
    fleet.all_ready(3).await;
}

#[tokio::test]
async fn the_higher_priority_has_the_room_that_gets_free() {
    let mut fleet = limited(ONE);
    fleet.save(&[pinned("a", 9), pinned("b", 1), pinned("c", 5)]);
    fleet.start().await;
    only(&mut fleet, &["a"]).await;
    fleet.magictl(&["stop", "a"]).await.expect_code(0);
    fleet.ready("c").await;
    waiting(&mut fleet, "b").await;
    // One that waits can be stopped, and is not started by room that gets free.
    fleet.magictl(&["start", "a"]).await.expect_code(1);
    let stopped = fleet.magictl(&["stop", "a"]).await.expect_code(0);
    assert!(stopped.stdout.contains("requested"), "{stopped:?}");
    fleet.magictl(&["stop", "c"]).await.expect_code(0);
    fleet.ready("b").await;
    assert_eq!(
        fleet.state("a", ServerState::Stopped).await.reason,
        "requested"
    );
}

#[tokio::test]
async fn a_server_that_is_restarted_keeps_its_place_before_lower_ones() {
    let mut fleet = limited(ONE);
    fleet.set("restart.initial_delay", "100ms");
    fleet.save(&[server("a", 5), server("b", 1)]);
    fleet.start().await;
    let first = only(&mut fleet, &["a"]).await["a"].clone();
    fleet.magictl(&["restart", "a"]).await.expect_code(0);
    let second = fleet.ready_again(&first).await;
    // Crashed, it waits for its next try, and keeps its place meanwhile.
    send(second.pid.unwrap(), Signal::SIGKILL);
    fleet.ready_again(&second).await;
    let low = waiting(&mut fleet, "b").await;
    assert_eq!(low.incarnation, None, "{low:?}");
    // One that comes first is first.
    fleet.save(&[server("a", 5), server("b", 9)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.magictl(&["restart", "a"]).await.expect_code(1);
    only(&mut fleet, &["b"]).await;
}

#[tokio::test]
async fn max_loaded_counts() {
    let mut fleet = Fleet::new();
    fleet.set("memory.max_loaded", 1);
    fleet.save(&[server("a", 1), server("b", 0)]);
    fleet.start().await;
    let low = only(&mut fleet, &["a"]).await["b"].clone();
    let numbers = "needs a place; 1 of 1 that [memory] max_loaded allows are taken";
    assert_eq!(low.detail, numbers);
    fleet.set("memory.max_loaded", 0);
    fleet.all_ready(2).await;
}

/// A model that needs 548 MiB for its context, in a profile beside a small one.
fn large(name: &str) -> Server {
    server(name, 9).set("ctx_size", 1 << 20)
}

#[tokio::test]
async fn what_can_never_fit_is_told_so_at_once_and_heals() {
    let mut fleet = limited(TWO);
    fleet.save(&[large("large"), large("larger"), server("small", 0)]);
    fleet.start().await;
    fleet.ready("small").await;
    let failed = fleet.state("large", ServerState::Failed).await;
    assert_eq!(failed.reason, "does-not-fit");
    assert!(
        failed.detail.contains("[memory] ram allows 80.0 MiB"),
        "{failed:?}"
    );
    let asked = fleet.magictl(&["start", "large"]).await.expect_code(1);
    assert!(asked.stderr.contains("80.0 MiB"), "{asked:?}");
    // A smaller definition heals the one, a higher budget the other.
    fleet.save(&[server("large", 9), large("larger"), server("small", 0)]);
    let small = fleet.ready("small").await;
    fleet.ready("large").await;
    fleet.set("memory.ram", "2GiB");
    assert_eq!(fleet.all_ready(3).await["small"].pid, small.pid);
    // A lower one stops nothing, and is told to whoever starts again.
    fleet.set("memory.ram", TWO);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.magictl(&["restart", "larger"]).await.expect_code(1);
    fleet.state("larger", ServerState::Failed).await;
    assert_eq!(fleet.ready("small").await.pid, small.pid);
}

#[tokio::test]
async fn a_server_that_has_its_memory_and_waits_for_a_turn_says_so() {
    let mut fleet = limited(ONE);
    fleet.set("llama_server.concurrent_starts", 1);
    let slow = |name: &str, priority| server(name, priority).fault("load-time=30s");
    fleet.save(&[slow("a", 9), slow("b", 5)]);
    fleet.start().await;
    waiting(&mut fleet, "b").await;
    fleet.set("memory.ram", TWO);
    fleet
        .wait_for("b", "waits for its turn", |server| {
            server.state() == ServerState::Starting && server.reason == "waiting-for-turn"
        })
        .await;
}

/// The llama-servers of this fleet that live now.
fn llama_servers(mark: &str) -> usize {
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--model")
    };
    let pids = pids_with(mark);
    pids.iter().filter(|pid| is_one(pid)).count()
}

/// Counts them until it is told to end; the most that there were.
fn census(mark: String, end: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut most = 0;
        while !end.load(Relaxed) {
            most = most.max(llama_servers(&mark));
        }
        most
    })
}

#[tokio::test]
async fn twenty_servers_that_start_at_once_never_exceed_the_budget() {
    const AT_A_TIME: usize = 5;
    let mut fleet = limited("190MiB");
    let name = |n: usize| format!("s{n:02}");
    let servers: Vec<_> = (0..20).map(|n| server(&name(n), n as i32)).collect();
    fleet.save(&servers);
    let end = Arc::new(AtomicBool::new(false));
    let census = census(fleet.dir().display().to_string(), end.clone());
    fleet.start().await;
    for round in (0..4).rev() {
        let names: Vec<_> = (0..AT_A_TIME)
            .map(|n| name(AT_A_TIME * round + n))
            .collect();
        fleet
            .wait("those that come next are ready", |servers| {
                let ready = |name: &String| {
                    let server = servers.get(name);
                    server.is_some_and(|server| server.state() == ServerState::Ready)
                };
                names.iter().all(ready)
            })
            .await;
        let told = explained(&fleet, &names[0]).await;
        assert!(told["memoryReserved"].as_u64() <= told["memoryBudget"].as_u64());
        let request = StopServersRequest {
            names,
            ..StopServersRequest::default()
        };
        fleet.servers().stop_servers(request).await.unwrap();
    }
    end.store(true, Relaxed);
    assert_eq!(census.join().unwrap(), AT_A_TIME);
}
