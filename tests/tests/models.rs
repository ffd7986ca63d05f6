//! Models that come, go and change while magid runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use magi_proto::v1::{
    ConfigState, Event, GetStatusResponse, ListModelsResponse, ServerState, WatchServersRequest,
};
use magi_tests::figure;
use magi_tests::harness::{Fleet, Server, ask, bar, chat, llama_server, post};
use magi_tests::model::{
    embedding_model, model_in_two_shards, projector, rerank_model, tiny_model,
};
use serde_json::json;
use tokio::time::Instant;

/// A folder of files of all kinds that a real llama-server loads, each called after its word.
fn folder_of_all_kinds(models: &Path) {
    let cache = models.join("hub/models--org--epsilon-GGUF");
    let snapshot = cache.join("snapshots/0123abcd");
    for folder in ["seeing", "Mine & yours"] {
        fs::create_dir_all(models.join(folder)).unwrap();
    }
    fs::create_dir_all(cache.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    tiny_model(&models.join("alpha.gguf"), "alpha").unwrap();
    tiny_model(&models.join("Mine & yours/Mein Modell ä.gguf"), "beta").unwrap();
    model_in_two_shards(models, "gamma", "gamma").unwrap();
    tiny_model(&models.join("seeing/delta-Q4.gguf"), "delta").unwrap();
    projector(&models.join("seeing/mmproj-delta.gguf")).unwrap();
    tiny_model(&cache.join("blobs/5f"), "epsilon").unwrap();
    symlink("../../blobs/5f", snapshot.join("epsilon.gguf")).unwrap();
    embedding_model(&models.join("vectors.gguf")).unwrap();
    rerank_model(&models.join("ratings.gguf")).unwrap();
    symlink("..", models.join("seeing/loop")).unwrap();
}

#[tokio::test]
async fn without_any_configuration_every_model_of_a_folder_is_served_on_demand() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    folder_of_all_kinds(&fleet.path("models"));
    fleet.without_configuration(&["models"], &program);
    fleet.start().await;
    let servers = fleet
        .wait("all models have a server", |servers| servers.len() == 7)
        .await;
    let are_stopped = servers.values().all(|s| s.state() == ServerState::Stopped);
    assert!(are_stopped, "{servers:#?}");
    let names = [
        "alpha",
        "mein-modell",
        "gamma",
        "delta-q4",
        "epsilon",
        "vectors",
        "ratings",
    ];
    let start = [&["start"], &names[..]].concat();
    fleet.magictl(&start).await.expect_code(0);
    let servers = fleet.all_ready(7).await;
    let endpoint = |name: &str| servers[name].endpoint();

    let words = ["alpha", "beta", "gamma", "delta", "epsilon"];
    for (name, word) in names.iter().zip(words) {
        let said = chat(endpoint(name)).await.unwrap();
        assert!(said.contains(word), "{name} said {said}");
    }
    let (text, texts) = (
        json!({ "input": "hi" }),
        json!({ "query": "hi", "documents": ["a"] }),
    );
    let (status, vector) = post(endpoint("vectors"), "/v1/embeddings", &text)
        .await
        .unwrap();
    assert!(status.is_success() && vector.contains("embedding"));
    let (status, rating) = post(endpoint("ratings"), "/v1/rerank", &texts)
        .await
        .unwrap();
    assert!(status.is_success() && rating.contains("relevance_score"));
    let props = ask(endpoint("delta-q4"), "/props", None).await.unwrap();
    assert!(props.text.contains(r#""vision":true"#), "{}", props.text);
}

#[tokio::test]
async fn what_follows_from_a_file_is_shown_and_is_on_the_command_line() {
    let mut fleet = Fleet::new();
    folder_of_all_kinds(&fleet.path("models"));
    fleet.set("active_profile", "builtin");
    fleet.start().await;
    fleet.wait("all have a server", |all| all.len() == 7).await;
    let list = fleet.magictl(&["models", "list", "-o", "json"]).await;
    let list = list.expect_code(0).json();
    assert_eq!(list["problems"], json!([]), "{list:#}");
    let models: BTreeMap<_, _> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| (model["id"].as_str().unwrap(), model))
        .collect();
    for (id, kind, flag) in [
        ("alpha", "chat", None),
        ("vectors", "embedding", Some("--embeddings")),
        ("ratings", "rerank", Some("--reranking")),
        ("delta-q4", "vision", Some("--mmproj")),
    ] {
        assert_eq!(models[id]["kind"], kind);
        let explained = fleet.magictl(&["explain", id]).await.expect_code(0).stdout;
        for each in ["--embeddings", "--reranking", "--mmproj"] {
            assert_eq!(explained.contains(each), flag == Some(each), "{explained}");
        }
    }
    assert_eq!(models["gamma"]["files"].as_array().unwrap().len(), 2);
    assert_eq!(models["alpha"]["sizeBytes"], models["epsilon"]["sizeBytes"]);
    assert_eq!(models["alpha"]["contextLength"], 4096);
    assert_eq!(models["alpha"]["quantization"], "F32");
    let mmproj = models["delta-q4"]["mmproj"].as_str().unwrap();
    assert!(mmproj.ends_with("seeing/mmproj-delta.gguf"));
    let table = fleet.magictl(&["models"]).await.expect_code(0).stdout;
    assert!(
        table.lines().any(|line| line.starts_with("mein-modell ")),
        "{table}"
    );
}

#[tokio::test]
async fn folders_of_the_command_line_are_the_same_from_wherever_magid_is_started() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    let alpha = fleet.make_model("alpha");
    fleet.settle("models");
    fleet.without_configuration(&["./models"], &program);
    fleet.start().await;
    let path = alpha.to_str().unwrap();
    for name in ["alpha", "alpha.gguf", path] {
        let shown = fleet.magictl(&["models", "show", name, "-o", "json"]).await;
        assert_eq!(shown.expect_code(0).json()["path"], path);
    }
}

#[tokio::test]
async fn a_file_that_is_copied_appears_by_itself_when_it_is_complete_and_not_before() {
    let mut fleet = Fleet::new();
    let beta = fs::read(fleet.make_model("beta")).unwrap();
    fleet.settle("models");
    fleet.set("active_profile", "builtin");
    fleet.start().await;
    fleet.model("beta").await;
    let path = fleet.path("models").join("slow.gguf");
    let (half, rest) = beta.split_at(beta.len() / 2);
    fs::write(&path, half).unwrap();
    // Whoever copies makes a pause, long enough for others that begin later to be there.
    let copied = Instant::now();
    fleet.make_model("alpha");
    fleet.model("alpha").await;
    let took = copied.elapsed();
    figure!(
        "models: a copied file is a model {} ms later",
        took.as_millis()
    );
    assert!(took < bar(Duration::from_secs(2)), "{took:?}");
    fleet
        .magictl(&["models", "show", "slow"])
        .await
        .expect_code(4);
    let list = fleet
        .magictl(&["models", "rescan", "-o", "json"])
        .await
        .expect_code(0);
    assert_eq!(list.json()["problems"], json!([]));
    let mut file = File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, rest).unwrap();
    fleet.model("slow").await;
    fleet
        .wait("it has a server", |all| all.contains_key("slow"))
        .await;
    fleet.magictl(&["start", "slow"]).await.expect_code(0);
}

/// Files that are called like models, each broken in its own way.
fn hostile_files(folder: &Path, model: &[u8]) -> usize {
    let header = |tensors: u64, keys: u64| {
        let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
        [&b"GGUF\x03\0\0\0"[..], &counts].concat()
    };
    let key = |kind: &[u8]| [&header(0, 1)[..], &1u64.to_le_bytes(), b"k", kind].concat();
    let most = u64::MAX.to_le_bytes();
    let array = |of: u32| [9u32.to_le_bytes(), of.to_le_bytes()].concat();
    let nested = [&array(9)[..], &1u64.to_le_bytes()]
        .concat()
        .repeat(100_000);
    let files: [(&str, Vec<u8>); 12] = [
        ("empty", Vec::new()),
        ("magic", b"GGUF".into()),
        ("text", "no model at all".repeat(1000).into()),
        ("cut-in-the-header", model[..1000].into()),
        ("cut-in-the-tensors", model[..model.len() - 4096].into()),
        ("version", [&b"GGUF\x63\0\0\0"[..], &model[8..]].concat()),
        ("many-tensors", header(u64::MAX, 0)),
        ("many-keys", header(0, u64::MAX)),
        ("long-text", key(&[&8u32.to_le_bytes()[..], &most].concat())),
        ("long-array", key(&[&array(4)[..], &most].concat())),
        ("nested", key(&nested)),
        ("line\nfeed \x1b[31m", b"GGUF".into()),
    ];
    for (name, bytes) in &files {
        fs::write(folder.join(format!("{name}.gguf")), bytes).unwrap();
    }
    files.len()
}

#[tokio::test]
async fn what_cannot_be_a_model_is_one_line_and_nothing_else_suffers() {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    let models = fleet.path("models");
    let whole = fs::read(models.join("alpha.gguf")).unwrap();
    let broken = hostile_files(&models, &whole);
    fleet.settle("models");
    fs::create_dir(models.join("folder.gguf")).unwrap();
    symlink("nowhere.gguf", models.join("dangling.gguf")).unwrap();
    symlink("itself.gguf", models.join("itself.gguf")).unwrap();
    symlink("/dev/zero", models.join("endless.gguf")).unwrap();
    nix::unistd::mkfifo(&models.join("pipe.gguf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fleet.start().await;
    fleet.ready("alpha").await;
    let list = fleet
        .magictl(&["models", "-o", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(list["models"].as_array().unwrap().len(), 1, "{list:#}");
    let problems: Vec<_> = list["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let told = |name: &str| {
        problems
            .iter()
            .filter(|line| line.contains(&format!("/{name}.gguf:")))
            .count()
    };
    for name in [
        "empty",
        "magic",
        "text",
        "cut-in-the-header",
        "cut-in-the-tensors",
        "version",
        "many-keys",
        "nested",
    ] {
        assert_eq!(told(name), 1, "{name}: {problems:#?}");
    }
    assert!(problems.len() >= broken, "{problems:#?}");
    assert!(
        !problems.iter().any(|line| line.contains(['\n', '\x1b'])),
        "{problems:#?}"
    );
    let refused = fleet.magictl(&["start", "empty"]).await;
    assert_eq!(refused.code, Some(4));
    let reload = fleet.magictl(&["reload"]).await;
    reload.expect_code(0);
}

#[tokio::test]
async fn a_model_that_is_overwritten_in_place_is_stopped_at_once_and_served_when_it_is_complete() {
    let Some(program) = llama_server() else {
        return;
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

/// The states that a server is in from now on, as they are announced.
async fn states(fleet: &Fleet, name: &'static str) -> Arc<Mutex<Vec<ServerState>>> {
    let stream = fleet.servers().watch_servers(WatchServersRequest {}).await;
    let mut stream = stream.unwrap().into_inner();
    // Once the first message is there, nothing is missed.
    stream.message().await.unwrap();
    let states = Arc::new(Mutex::new(Vec::new()));
    let seen = states.clone();
    tokio::spawn(async move {
        while let Ok(Some(delta)) = stream.message().await {
            let server = delta.servers.iter().find(|server| server.name == name);
            seen.lock()
                .unwrap()
                .extend(server.map(|server| server.state()));
        }
    });
    states
}

#[tokio::test]
async fn a_served_file_that_another_one_takes_the_place_of_is_replaced_without_a_gap() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    fleet.save(&[Server::real("alpha", &program), Server::faulty("beta")]);
    fleet.start().await;
    let before = fleet.all_ready(2).await;
    let states = states(&fleet, "alpha").await;
    let (fresh, served) = (fleet.path("fresh"), fleet.path("models/alpha.gguf"));
    let replace = |bytes: &[u8]| {
        fs::write(&fresh, bytes).unwrap();
        fs::rename(&fresh, &served).unwrap();
    };
    tiny_model(&fresh, "gamma").unwrap();
    let gamma = fs::read(&fresh).unwrap();
    replace(&gamma);
    let after = fleet.ready_again(&before["alpha"]).await;
    assert!(chat(after.endpoint()).await.unwrap().contains("gamma"));

    // One that cannot be served is tried, and what runs goes on.
    replace(b"no model");
    let vetoed = |event: &Event| event.kind == "config-vetoed";
    fleet.event("the new file is of no use", vetoed).await;
    let still = fleet.ready("alpha").await;
    assert_eq!(still.pid, after.pid);
    assert!(chat(still.endpoint()).await.unwrap().contains("gamma"));

    tiny_model(&fresh, "delta").unwrap();
    let delta = fs::read(&fresh).unwrap();
    replace(&delta);
    let last = fleet.ready_again(&after).await;
    assert!(chat(last.endpoint()).await.unwrap().contains("delta"));
    let applied = |status: &GetStatusResponse| {
        status.config.as_ref().unwrap().state() == ConfigState::Applied
    };
    fleet.wait_status("files and fleet agree", applied).await;
    let states = states.lock().unwrap().clone();
    assert!(
        states.iter().all(|state| *state == ServerState::Ready),
        "{states:?}"
    );
    assert_eq!(fleet.ready("beta").await.pid, before["beta"].pid);
}

#[tokio::test]
async fn models_that_are_unmounted_stop_nothing_and_are_served_again_when_they_are_back() {
    let mut fleet = Fleet::new();
    let servers = [
        Server::faulty("alpha"),
        Server::faulty("beta").set("autostart", false),
    ];
    fleet.save(&servers);
    fleet.settle("models");
    fleet.start().await;
    let before = fleet.ready("alpha").await;
    let (models, away) = (fleet.path("models"), fleet.path("away"));
    let gone = |list: &ListModelsResponse| {
        list.models.len() == 2 && list.models.iter().all(|model| !model.available)
    };
    fs::rename(&models, &away).unwrap();
    fleet.wait_models("both models are away", gone).await;
    let told = models.to_str().unwrap();
    let list = fleet.magictl(&["models"]).await.expect_code(0);
    assert!(
        list.all().contains(told) && list.stdout.contains("unavailable"),
        "{list:?}"
    );
    let reload = fleet.magictl(&["reload"]).await.expect_code(0);
    assert!(reload.all().contains(told), "{reload:?}");
    let refused = fleet.magictl(&["start", "beta"]).await.expect_code(1);
    assert!(refused.all().contains("model-missing"), "{refused:?}");
    assert_eq!(fleet.ready("alpha").await.pid, before.pid);
    fs::rename(&away, &models).unwrap();
    fleet.model("alpha").await;
    fleet.ready("beta").await;
    assert_eq!(fleet.ready("alpha").await.pid, before.pid);

    // A magid that starts meanwhile knows the models, and whose they are.
    fleet.terminate().await;
    fs::rename(&models, &away).unwrap();
    fleet.start().await;
    fleet.state("alpha", ServerState::Failed).await;
    fleet.wait_models("both models are away", gone).await;
    fs::rename(&away, &models).unwrap();
    fleet.ready("alpha").await;
}
