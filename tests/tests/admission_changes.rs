//! What memory does to changes of the configuration, and to what an earlier magid left.

use std::path::Path;

use magi_proto::v1::{ConfigState, GetStatusResponse, Server as Told, ServerState};
use magi_tests::harness::{
    DEADLINE, Fleet, Server, Servers, is_alive, llama_server_with_fit, post, send,
};
use magi_tests::model::slow_model;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Room for one and two servers with a tiny model, which is thought to need 37.5 MiB.
const ONE: &str = "50MiB";
const TWO: &str = "80MiB";

async fn started(ram: &str, servers: &[Server]) -> Fleet {
    let mut fleet = Fleet::new();
    fleet.set("memory.ram", ram);
    fleet.save(servers);
    fleet.start().await;
    fleet
}

fn server(name: &str, priority: i32) -> Server {
    Server::faulty(name).set("priority", priority)
}

/// One that needs some 57 MiB.
fn larger(name: &str) -> Server {
    Server::faulty(name).set("ctx_size", 16_000)
}

fn waits(server: &Told) -> bool {
    server.state() == ServerState::Stopped && server.reason == "waiting-for-memory"
}

async fn waiting(fleet: &mut Fleet, name: &str) -> Told {
    fleet.wait_for(name, "waits for memory", waits).await
}

async fn runs_and_waits(fleet: &mut Fleet, ready: &str, waiting: &str) -> Servers {
    fleet
        .wait(
            &format!("{ready} is ready, and {waiting} waits"),
            |servers| {
                let is = |name: &str, wanted: &dyn Fn(&Told) -> bool| {
                    servers.get(name).is_some_and(wanted)
                };
                is(ready, &|server| server.state() == ServerState::Ready) && is(waiting, &waits)
            },
        )
        .await
}

async fn config(fleet: &mut Fleet) -> ConfigState {
    fleet.status().await.config.unwrap().state()
}

async fn explained(fleet: &Fleet, name: &str) -> Value {
    let explained = fleet.magictl(&["explain", name, "-o", "json"]).await;
    explained.expect_code(0).json()
}

/// What would become of these servers, without doing it.
async fn planned(fleet: &Fleet, servers: &[Server]) -> Value {
    fleet.save_profile("other", servers);
    let activate = ["profiles", "activate", "other", "--dry-run", "-o", "json"];
    fleet.magictl(&activate).await.expect_code(0).json()
}

#[tokio::test]
async fn a_plan_tells_the_memory_and_whether_both_fit() {
    let mut fleet = started("90MiB", &[server("a", 0), server("b", 0)]).await;
    fleet.all_ready(2).await;
    let changed = |name: &str| server(name, 0).set("ctx_size", 8192);
    let plan = planned(&fleet, &[changed("a"), server("c", 0)]).await;
    let bytes = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{plan:#}"));
    let [replace, stop, start] = &plan["steps"].as_array().unwrap()[..] else {
        panic!("{plan:#}");
    };
    assert_eq!(replace["method"], "drain-restart");
    assert!(bytes(&replace["memoryAfter"]) > bytes(&replace["memoryBefore"]));
    assert_eq!(stop["memoryAfter"], Value::Null);
    assert_eq!(start["memoryBefore"], Value::Null);
    let sum = |key: &str| {
        [replace, stop, start]
            .iter()
            .filter_map(|step| step[key].as_u64())
            .sum::<u64>()
    };
    assert_eq!(plan["memoryBefore"], sum("memoryBefore"));
    assert_eq!(plan["memoryAfter"], sum("memoryAfter"));
    assert_eq!(plan["memoryBudget"], 90 << 20);

    fleet.magictl(&["stop", "b"]).await.expect_code(0);
    let plan = planned(&fleet, &[changed("a")]).await;
    assert_eq!(plan["steps"][0]["method"], "blue-green", "{plan:#}");
}

#[tokio::test]
async fn a_server_that_does_not_fit_twice_is_stopped_before_its_successor_starts() {
    let mut fleet = started(ONE, &[server("a", 0)]).await;
    let old = fleet.ready("a").await;
    fleet.save(&[server("a", 0).set("ctx_size", 8192)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let new = fleet.ready_again(&old).await;
    assert_eq!(new.endpoint, old.endpoint);
    assert_eq!(config(&mut fleet).await, ConfigState::Applied);
}

/// Each of both would fit beside itself, but not both at a time.
#[tokio::test]
async fn a_successor_for_which_there_is_no_room_after_all_follows_its_predecessor() {
    let both = [server("a", 0), server("b", 0)];
    let mut fleet = started("120MiB", &both).await;
    let before = fleet.all_ready(2).await;
    fleet.save(&both.map(|server| server.set("ctx_size", 2048)));
    fleet.magictl(&["reload"]).await.expect_code(0);
    let after = fleet.all_ready(2).await;
    let moved = |name: &str| after[name].endpoint != before[name].endpoint;
    assert!(
        ["a", "b"]
            .iter()
            .all(|name| after[*name].pid != before[*name].pid)
    );
    assert!(moved("a") != moved("b"), "{after:?}");
    assert_eq!(config(&mut fleet).await, ConfigState::Applied);
}

#[tokio::test]
async fn a_new_server_that_waits_is_no_reason_to_take_a_change_back() {
    let mut fleet = started(ONE, &[server("a", 5)]).await;
    let old = fleet.ready("a").await;
    fleet.save(&[server("a", 5), server("b", 0)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let servers = runs_and_waits(&mut fleet, "a", "b").await;
    assert_eq!(servers["a"].pid, old.pid);
    assert_eq!(config(&mut fleet).await, ConfigState::Applied);
}

#[tokio::test]
async fn a_change_that_raises_the_budget_is_judged_by_the_new_one() {
    let mut fleet = started(ONE, &[server("a", 0)]).await;
    fleet.ready("a").await;
    fleet.save(&[server("a", 0), larger("b")]);
    let vetoed = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(vetoed.stderr.contains("b: does-not-fit"), "{vetoed:?}");
    fleet.set("memory.ram", "120MiB");
    fleet.save(&[server("a", 0), larger("c")]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.all_ready(2).await;
}

#[tokio::test]
async fn a_change_for_which_a_server_would_have_to_wait_is_taken_back() {
    let mut fleet = started(TWO, &[server("a", 0), server("b", 0)]).await;
    let before = fleet.all_ready(2).await;
    fleet.save(&[larger("a"), server("b", 0)]);
    let vetoed = fleet.magictl(&["reload"]).await.expect_code(1);
    assert!(
        vetoed.stderr.contains("a: waiting-for-memory: needs"),
        "{vetoed:?}"
    );
    let after = fleet.all_ready(2).await;
    assert_eq!(after["b"].pid, before["b"].pid);
    assert_eq!(config(&mut fleet).await, ConfigState::Vetoed);
    let told = fleet.magictl(&["explain", "a"]).await.expect_code(0);
    assert!(!told.stdout.contains("16000"), "{told:?}");
}

#[tokio::test]
async fn a_server_that_waits_asks_anew_by_its_new_definition() {
    let mut fleet = started(TWO, &[server("a", 9), larger("b")]).await;
    runs_and_waits(&mut fleet, "a", "b").await;
    fleet.save(&[server("a", 9), server("b", 0), server("c", 1)]);
    fleet.magictl(&["reload"]).await.expect_code(0);
    // Which of both is first is decided when room appears, by the priority that it has then.
    let waiting = match fleet
        .wait("one waits", |servers| servers.values().any(waits))
        .await
    {
        servers if waits(&servers["b"]) => "b",
        _ => "c",
    };
    let all = ["a", "b", "c"].map(|name| server(name, if name == waiting { 9 } else { 1 }));
    fleet.save(&all);
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet.magictl(&["restart", "a"]).await.expect_code(1);
    runs_and_waits(&mut fleet, waiting, "a").await;
}

#[tokio::test]
async fn those_that_wait_wait_again_after_a_restart_of_magid() {
    let mut fleet = started(ONE, &[server("a", 0), server("b", 5)]).await;
    runs_and_waits(&mut fleet, "b", "a").await;
    assert!(fleet.terminate().await.success());
    fleet.start().await;
    runs_and_waits(&mut fleet, "b", "a").await;
}

/// Waits until a server has a process.
async fn runs(fleet: &mut Fleet, name: &str) -> u32 {
    let server = fleet.wait_for(name, "has a process", |server| server.pid.is_some());
    server.await.pid.unwrap()
}

fn stubborn(name: &str, priority: i32) -> Server {
    server(name, priority).fault("ignore-sigterm")
}

#[tokio::test]
async fn what_an_earlier_magid_left_has_its_memory_until_it_is_gone() {
    let mut fleet = started(ONE, &[stubborn("a", 9), server("b", 0)]).await;
    fleet.set("llama_server.stop_timeout", "1s");
    let old = runs_and_waits(&mut fleet, "a", "b").await["a"].clone();
    fleet.kill().await;
    fleet.start().await;
    // It keeps its place, since nobody that waited comes before it.
    let servers = fleet
        .wait("a runs again", |servers| {
            servers["a"].state() == ServerState::Ready && servers["a"].pid != old.pid
        })
        .await;
    assert_eq!(servers["b"].incarnation, None);
    // Now one does, but not while that which is left is still there.
    let old = servers["a"].pid.unwrap();
    fleet.kill().await;
    fleet.save(&[stubborn("a", 0), server("b", 9)]);
    fleet.start().await;
    runs(&mut fleet, "b").await;
    assert!(!is_alive(old));
    runs_and_waits(&mut fleet, "b", "a").await;
}

#[tokio::test]
async fn what_is_left_of_a_server_that_is_not_defined_any_more_has_what_it_uses() {
    let mut fleet = started(ONE, &[stubborn("a", 0).fault("allocate=30MiB")]).await;
    let old = fleet.ready("a").await.pid.unwrap();
    fleet.kill().await;
    fleet.save(&[server("c", 0).set("model", "a.gguf")]);
    fleet.start().await;
    waiting(&mut fleet, "c").await;
    assert!(is_alive(old));
    send(old, Signal::SIGKILL);
    fleet.ready("c").await;
}

#[tokio::test]
async fn a_server_that_does_not_die_keeps_its_memory_until_it_is_gone() {
    let mut fleet = started(ONE, &[stubborn("a", 9), server("b", 0)]).await;
    fleet.set("llama_server.stop_timeout", "1s");
    let old = runs_and_waits(&mut fleet, "a", "b").await["a"].pid.unwrap();
    fleet.magictl(&["reload"]).await.expect_code(0);
    fleet
        .magictl(&["stop", "a", "--no-wait"])
        .await
        .expect_code(0);
    fleet.state("a", ServerState::Stopping).await;
    waiting(&mut fleet, "b").await;
    runs(&mut fleet, "b").await;
    assert!(!is_alive(old));
}

#[tokio::test]
async fn devices_decide_whose_budget_it_is() {
    let mut fleet = Fleet::new();
    fleet.set("memory.vram.CUDA0", "1GiB");
    let on_device = |name: &str, priority: i32| {
        let server = server(name, priority).set("devices", json!(["CUDA0"]));
        server.set("n_gpu_layers", 99)
    };
    fleet.save(&[
        on_device("a", 9),
        on_device("b", 5),
        on_device("c", 1),
        server("d", 0),
    ]);
    fleet.start().await;
    fleet.ready("d").await;
    let wait = waiting(&mut fleet, "c").await;
    assert!(
        wait.detail.contains("of CUDA0") && wait.detail.ends_with("of 1.0 GiB are reserved"),
        "{wait:?}"
    );
    let (on, off) = (explained(&fleet, "a").await, explained(&fleet, "d").await);
    assert!(
        on["deviceMemory"]["CUDA0"].as_u64() > Some(384 << 20),
        "{on:#}"
    );
    assert_eq!(off["deviceMemory"], json!({}), "{off:#}");
    fleet.set("memory.vram.CUDA0", "2GiB");
    fleet.all_ready(4).await;
}

/// A real one, which is worth weighing. It has no prompts to cache.
fn real(name: &str, program: &Path) -> Server {
    let server = Server::real(name, program).set("ctx_size", 2048);
    server.arg("-np").arg("1")
}

#[tokio::test]
async fn real_servers_get_what_llama_fit_params_tells_and_then_what_they_used() {
    let Some(program) = llama_server_with_fit() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.set("memory.ram", "500MiB");
    fleet.set("liveness.interval", "1s");
    for name in ["a", "b"] {
        slow_model(&fleet.path(&format!("models/{name}.gguf")), name).unwrap();
    }
    fleet.save(&[real("a", &program).set("priority", 9), real("b", &program)]);
    fleet.start().await;
    let servers = runs_and_waits(&mut fleet, "a", "b").await;
    // What waits was weighed exactly before that was decided.
    assert!(
        servers["b"].detail.starts_with("needs 353.1 MiB of RAM; "),
        "{servers:?}"
    );
    fn of<'a>(status: &'a GetStatusResponse, name: &str) -> &'a Told {
        let mut servers = status.servers.iter();
        servers.find(|server| server.name == name).unwrap()
    }
    let is = |source: &'static str| {
        move |status: &GetStatusResponse| of(status, "a").memory_source == source
    };
    fleet.wait_status("a by llama-fit-params", is("fit")).await;
    let body = json!({ "prompt": "x".repeat(700), "n_predict": 4 });
    let (status, text) = post(servers["a"].endpoint(), "/completion", &body)
        .await
        .unwrap();
    assert_eq!(status, 200, "{text}");
    // The figure is for the next incarnation: what is reserved for this one is not lowered.
    let file = fleet.path("state/memory_estimates.json");
    let observed = |text: &str| {
        serde_json::from_str::<Value>(text).is_ok_and(|known| {
            let mut entries = known["entries"].as_array().into_iter().flatten();
            entries.any(|entry| entry["observed"] != json!([]))
        })
    };
    fleet
        .wait_status("an observation", |_| {
            std::fs::read_to_string(&file).is_ok_and(|text| observed(&text))
        })
        .await;
    assert!(fleet.terminate().await.success());
    fleet.start().await;
    runs_and_waits(&mut fleet, "a", "b").await;
    let status = fleet.wait_status("a as observed", is("observed")).await;
    let a = of(&status, "a");
    assert!(a.memory_needed < Some(353 << 20), "{a:?}");

    // What is broken is set aside, and found out anew.
    assert!(fleet.terminate().await.success());
    std::fs::write(&file, "{").unwrap();
    fleet.start().await;
    fleet.wait_status("a by llama-fit-params", is("fit")).await;
    assert!(file.with_extension("broken").exists());
}

/// The models, once there are any: a file that was just written is none yet.
async fn known_models(fleet: &Fleet) -> Value {
    loop {
        fleet.magictl(&["models", "rescan"]).await.expect_code(0);
        let models = fleet.magictl(&["models", "list", "-o", "json"]).await;
        let models = models.expect_code(0).json()["models"].take();
        if models != json!([]) {
            return models;
        }
    }
}

#[tokio::test]
async fn models_tell_what_they_would_need() {
    let mut fleet = started(TWO, &[server("a", 0)]).await;
    fleet.ready("a").await;
    let models = timeout(DEADLINE, known_models(&fleet)).await.unwrap();
    assert_eq!(models[0]["memorySource"], "estimate", "{models:#}");
    assert!(
        models[0]["memoryBytes"].as_u64() > Some(30 << 20),
        "{models:#}"
    );
    let profiles = fleet.magictl(&["profiles", "list", "-o", "json"]).await;
    let profiles = profiles.expect_code(0).json();
    assert!(profiles.to_string().contains("memoryBytes"), "{profiles:#}");
}
