//! Models that are both in use and do not fit in memory beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use magi_proto::v1::{Server as Shown, ServerState};
use magi_tests::harness::{Call, Chat, DEADLINE, Fleet, Gateway, Server, chat_with, llama_server};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Two real servers, started by requests only, of which the memory holds one.
async fn fleet(define: impl Fn(Server) -> Server) -> Option<Fleet> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    // One needs 40 MiB, and was seen to take more than half of this.
    fleet.set("memory.ram", "45MiB");
    let servers = ["alpha", "beta"].map(|name| {
        let server = Server::real(name, &program).set("autostart", false);
        define(server.set("ctx_size", 8192).set("parallel", 2))
    });
    fleet.save(&servers);
    fleet.start().await;
    Some(fleet)
}

/// Has a model answered without a pause until it is told to end. How many answers there were.
fn uses(url: String, model: &'static str, ends: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let ends = ends.clone();
    tokio::spawn(async move {
        let mut answers = 0;
        while !ends.load(Ordering::Relaxed) {
            let answer = Chat::with(&url, model, 300).await.unwrap();
            let text = answer.rest().await.unwrap();
            assert!(text.contains("[DONE]"), "{text}");
            answers += 1;
        }
        answers
    })
}

async fn metrics(gateway: &Gateway) -> String {
    let scrape = Call::get("/metrics").answer(&gateway.url()).await;
    scrape.unwrap().expect(200).text
}

#[tokio::test]
async fn two_models_in_constant_use_take_turns_and_nobody_is_cut_off() {
    let Some(mut fleet) = fleet(|server| server.set("swap_after", "500ms")).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let ends = Arc::new(AtomicBool::new(false));
    let clients = ["alpha", "beta", "alpha", "beta", "alpha", "beta"]
        .map(|model| uses(gateway.url(), model, &ends));
    let had_turns = |server: &Shown| server.incarnation >= Some(3);
    for name in ["alpha", "beta"] {
        fleet.wait_for(name, "had three turns", had_turns).await;
    }
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    for name in ["alpha", "beta"] {
        let swapped = |event: &magi_proto::v1::Event| {
            event.server.as_deref() == Some(name)
                && (&*event.kind, &*event.reason) == ("making-room", "swapped")
        };
        let told = fleet.event("tells who makes room for whom", swapped).await;
        assert!(told.message.contains("its swap_after is 500ms"), "{told:?}");
        let exits =
            fleet.events().await.unwrap().into_iter().filter(|event| {
                event.server.as_deref() == Some(name) && event.kind == "server-exited"
            });
        for exit in exits {
            assert_eq!(exit.reason, "requested", "{exit:?}");
        }
    }
    let metrics = metrics(&gateway).await;
    let counted =
        |line: &str| line.starts_with("magi_unloads_total") && line.contains("reason=\"swapped\"");
    assert!(metrics.lines().any(counted), "{metrics}");
}

#[tokio::test]
async fn who_is_swapped_out_finishes_its_answer_and_answers_what_waits_after_the_other() {
    let Some(mut fleet) = fleet(|server| server.set("swap_after", "300ms")).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let url = gateway.url();
    let mut answer = Chat::with(&url, "alpha", 6000).await.unwrap();
    answer.next().await.unwrap();
    let beta = tokio::spawn({
        let url = url.clone();
        async move { chat_with(&url, "beta").await }
    });
    let is_swapped_out =
        |alpha: &Shown| (alpha.state(), &*alpha.reason) == (ServerState::Draining, "swapped");
    fleet
        .wait_for("alpha", "is swapped out", is_swapped_out)
        .await;
    let again = tokio::spawn(async move { chat_with(&url, "alpha").await });
    assert!(answer.rest().await.unwrap().contains("[DONE]"));
    beta.await.unwrap().unwrap();
    again.await.unwrap().unwrap();
    let is_back = |alpha: &Shown| alpha.incarnation == Some(2);
    fleet.wait_for("alpha", "is there again", is_back).await;
    let loads: Vec<_> = fleet.events().await.unwrap().into_iter().collect();
    let loads = loads
        .iter()
        .filter(|event| event.to() == ServerState::Ready && event.from() != event.to())
        .filter(|event| event.from() == ServerState::Starting)
        .filter_map(|event| event.server.as_deref());
    assert_eq!(loads.collect::<Vec<_>>(), ["alpha", "beta", "alpha"]);
}

#[tokio::test]
async fn who_is_in_use_is_not_swapped_out_for_clients_that_have_gone() {
    let Some(mut fleet) = fleet(|server| server.set("swap_after", "1s")).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let url = gateway.url();
    let ends = Arc::new(AtomicBool::new(false));
    // More than are answered at a time, so that it is never idle in between.
    let clients = ["alpha"; 6].map(|model| uses(url.clone(), model, &ends));
    fleet.ready("alpha").await;
    let beta = tokio::spawn(async move { chat_with(&url, "beta").await });
    let waits = |beta: &Shown| beta.reason == "waiting-for-memory";
    fleet.wait_for("beta", "waits for memory", waits).await;
    beta.abort();
    let explained = || async {
        let told = fleet.magictl(&["explain", "beta"]).await;
        told.expect_code(0).stdout.clone()
    };
    let began = Instant::now();
    while !explained().await.contains("and nobody waits") {
        assert!(began.elapsed() < DEADLINE);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(fleet.ready("alpha").await.incarnation, Some(1));
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn who_is_in_use_is_not_swapped_out_for_one_of_lower_priority() {
    let define = |server: Server| match server.name() {
        "alpha" => server.set("swap_after", "100ms").set("priority", 1),
        _ => server.set("swap_after", "100ms"),
    };
    let Some(mut fleet) = fleet(define).await else {
        return;
    };
    let gateway = Gateway::start(&fleet).await;
    let url = gateway.url();
    let mut answer = Chat::with(&url, "alpha", 6000).await.unwrap();
    answer.next().await.unwrap();
    let beta = tokio::spawn(async move { chat_with(&url, "beta").await });
    assert!(answer.rest().await.unwrap().contains("[DONE]"));
    beta.await.unwrap().unwrap();
    let events = fleet.events().await.unwrap();
    let swapped = events.iter().find(|event| event.reason == "swapped");
    assert_eq!(swapped, None);
    let is_evicted = |alpha: &Shown| alpha.reason == "evicted";
    fleet.wait_for("alpha", "made room", is_evicted).await;
}
