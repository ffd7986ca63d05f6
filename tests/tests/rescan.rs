//! `magictl models rescan` where no magid runs, as before the first start in a container.

use std::fs;
use std::process::{Command, Output};

use magi_tests::harness::{Fleet, faulty_llama_server, program};

/// Runs `magictl models rescan` as the account of that fleet's magid would.
fn rescan(fleet: &Fleet) -> Output {
    Command::new(program("magictl"))
        .args(["models", "rescan"])
        .env_clear()
        .env("STATE_DIRECTORY", fleet.path("state"))
        .env("RUNTIME_DIRECTORY", fleet.path("run"))
        .env("LOGS_DIRECTORY", fleet.path("log"))
        .env("CONFIGURATION_DIRECTORY", fleet.path("etc"))
        .env("MODEL_SCAN_PATH", fleet.path("models"))
        .env("MAGI_SOCKET", fleet.path("nobody.sock"))
        .current_dir(fleet.dir())
        .output()
        .unwrap()
}

#[test]
fn without_a_magid_it_looks_itself_and_writes_what_it_found() {
    let fleet = Fleet::new();
    fleet.make_model("alpha");
    let first = rescan(&fleet);
    assert!(first.status.success(), "{first:?}");
    let told = String::from_utf8(first.stdout).unwrap();
    assert_eq!(told, "added    alpha\n1 model\n");
    let written = fs::read_to_string(fleet.path("state/model_registry.json")).unwrap();
    assert!(written.contains("alpha.gguf"), "{written}");
    let again = rescan(&fleet);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "1 model\n");
}

#[tokio::test]
async fn it_does_not_look_behind_the_back_of_a_magid() {
    let mut fleet = Fleet::new();
    fleet.make_model("alpha");
    fleet.without_configuration(&["models"], &faulty_llama_server());
    fleet.start().await;
    let refused = rescan(&fleet);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("another magid"), "{told}");
}
