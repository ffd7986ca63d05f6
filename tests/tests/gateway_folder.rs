//! `magid --gateway FOLDER`: no configuration at all, and every model there at one address.

use magi_proto::v1::ServerState;
use magi_tests::harness::{Call, DEADLINE, Fleet, chat_with, llama_server, question};
use nix::sys::signal::Signal;
use tokio::time::timeout;

/// A magid that is to serve the folder of models, its gateway at the address that is given with it.
fn not_started(models: &[&str]) -> Option<(Fleet, String)> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    for model in models {
        fleet.make_model(model);
    }
    let folder = fleet.path("models").display().to_string();
    fleet.without_configuration(&["--gateway", &folder], &program);
    let port = fleet.port(0);
    std::fs::create_dir_all(fleet.path("etc")).unwrap();
    let listen = format!("listen = [\"127.0.0.1:{port}\"]\n");
    std::fs::write(fleet.path("etc/gateway.toml"), listen).unwrap();
    Some((fleet, format!("http://127.0.0.1:{port}")))
}

/// The same, when it knows them and its gateway is there.
async fn folder(models: &[&str]) -> Option<(Fleet, String)> {
    let (mut fleet, url) = not_started(models)?;
    fleet.settle("models");
    fleet.start().await;
    for model in models {
        fleet.state(model, ServerState::Stopped).await;
    }
    fleet
        .wait_status("the gateway is attached", |status| {
            status.gateways.len() == 1
        })
        .await;
    Some((fleet, url))
}

#[tokio::test]
async fn who_asks_before_a_new_model_is_taken_in_waits_for_it() {
    let Some((mut fleet, url)) = not_started(&["alpha"]) else {
        return;
    };
    fleet.spawn();
    let question = question(Some("alpha"), 4);
    let first = async {
        loop {
            // Until somebody listens.
            let call = Call::post("/v1/chat/completions", &question);
            if let Ok(answer) = call.answer(&url).await {
                return answer;
            }
        }
    };
    let first = timeout(DEADLINE, first).await.unwrap();
    assert!(first.status.is_success(), "{}", first.text);
}

#[tokio::test]
async fn every_model_of_a_folder_is_served_on_demand() {
    let Some((mut fleet, url)) = folder(&["alpha", "beta"]).await else {
        return;
    };
    for model in ["alpha", "beta"] {
        let said = chat_with(&url, model).await.unwrap();
        assert!(said.contains(model), "{said}");
    }
    fleet.all_ready(2).await;
    let status = fleet.magictl(&["status"]).await.expect_code(0);
    assert!(status.stdout.contains(&url), "{status:?}");
    // A file that is copied there is served too.
    fleet.make_model("gamma");
    fleet.settle("models");
    fleet.state("gamma", ServerState::Stopped).await;
    let said = chat_with(&url, "gamma").await.unwrap();
    assert!(said.contains("gamma"), "{said}");
}

#[tokio::test]
async fn a_gateway_of_magid_that_is_killed_comes_back_and_ends_with_it() {
    let Some((mut fleet, url)) = folder(&["alpha"]).await else {
        return;
    };
    chat_with(&url, "alpha").await.unwrap();
    let gateway = fleet.status().await.gateways.remove(0);
    magi_tests::harness::send(gateway.pid, Signal::SIGKILL);
    fleet
        .wait_status("another gateway is attached", |status| {
            let mut gateways = status.gateways.iter();
            gateways.any(|other| other.pid != gateway.pid)
        })
        .await;
    chat_with(&url, "alpha").await.unwrap();
    assert!(fleet.terminate().await.success());
    assert_eq!(fleet.processes(), Vec::<u32>::new());
    assert!(Call::get("/health").answer(&url).await.is_err());
}
