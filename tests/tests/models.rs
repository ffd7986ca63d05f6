//! Models that come, go and change while magid runs.

use std::fs;

use magi_proto::v1::ServerState;
use magi_tests::harness::{Fleet, Server, chat, llama_server, skipped};

#[tokio::test]
async fn a_model_that_is_overwritten_in_place_is_stopped_at_once_and_served_when_it_is_complete() {
    let Some(program) = llama_server() else {
        return skipped("there is no llama-server");
    };
    let mut fleet = Fleet::new();
    fleet.save(&[Server::real("alpha", &program)]);
    let other = fs::read(fleet.make_model("gamma")).unwrap();
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let model = fleet.path("models").join("alpha.gguf");
    fs::write(&model, &other[..other.len() / 2]).unwrap();
    let failed = fleet.state("alpha", ServerState::Failed).await;
    assert!(
        ["model-overwritten", "model-invalid"].contains(&&*failed.reason),
        "{failed:?}"
    );
    let exits = fleet.events().await.unwrap();
    let exit = exits.iter().find(|event| event.kind == "server-exited");
    assert_eq!(exit.unwrap().reason, "model-overwritten");
    fs::write(&model, &other).unwrap();
    let after = fleet.ready_again(&before).await;
    assert!(chat(after.endpoint()).await.unwrap().contains("gamma"));
}

#[tokio::test]
async fn a_model_that_is_only_touched_is_served_on() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha"), Server::faulty("beta")]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    let models = fleet.path("models");
    let file = fs::File::options()
        .write(true)
        .open(models.join("alpha.gguf"));
    file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    // Something that is noticed in the same folder comes after it.
    fs::write(models.join("beta.gguf"), "nothing").unwrap();
    fleet.state("beta", ServerState::Failed).await;
    let alpha = fleet.ready("alpha").await;
    assert_eq!(alpha.pid, before["alpha"].pid);
}
