//! The clients that people have, unchanged: the official ones of OpenAI and Anthropic for Python.

use std::time::Duration;

use magi_tests::harness::{Fleet, Gateway, Server, llama_server, python_clients};
use tokio::process::Command;
use tokio::time::timeout;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/clients.py");

#[tokio::test]
async fn the_official_python_clients_work_unchanged() {
    let (Some(program), Some(python)) = (llama_server(), python_clients()) else {
        return;
    };
    let mut fleet = Fleet::new();
    let real = |name| Server::real(name, &program).set("ctx_size", 1024);
    fleet.save(&[
        real("alpha").set("aliases", vec!["gpt-4o-mini"]),
        real("beta"),
        real("sleeper").set("autostart", false),
        real("vector")
            .set("embeddings", true)
            .arg("--pooling")
            .arg("mean"),
    ]);
    fleet.start().await;
    for name in ["alpha", "beta", "vector"] {
        fleet.ready(name).await;
    }
    let gateway = Gateway::start(&fleet).await;
    let run = Command::new(python)
        .arg(SCRIPT)
        .arg(gateway.url())
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(120), run).await;
    let output = output.expect("the clients end").expect("Python runs");
    let written = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{written}");
    println!("{written}");
}
