//! The REST API of a gateway, from outside: real magid, real gateway, plain HTTP.
#![allow(missing_docs)]

use magi_proto::v1::ServerState;
use magi_tests::harness::{
    Answer, Call, Chat, DEADLINE, Fleet, Gateway, Reply, Server, chat_with, llama_server,
};
use magi_tests::model::tiny_model;
use serde_json::{Value, json};
use tokio::time::timeout;

/// These servers with a gateway.
async fn fleet(servers: &[Server]) -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    fleet.save(servers);
    fleet.start().await;
    let gateway = Gateway::start(&fleet).await;
    (fleet, gateway)
}

/// Two models and the built-in profile, with a gateway.
async fn models() -> (Fleet, Gateway) {
    let mut fleet = Fleet::new();
    for name in ["alpha", "beta"] {
        let path = fleet.path("models").join(format!("{name}.gguf"));
        tiny_model(&path, "word").unwrap();
    }
    fleet.settle("models");
    fleet.set("active_profile", "builtin");
    fleet.start().await;
    let gateway = Gateway::start(&fleet).await;
    // The routes come to it when magid has them.
    let routed = async { while get(&gateway, "/v1/models").await.json()["data"][1].is_null() {} };
    timeout(DEADLINE, routed).await.expect("it is told of them");
    (fleet, gateway)
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    Call::get(path).answer(&gateway.url()).await.unwrap()
}

async fn post(gateway: &Gateway, path: &str, body: Value) -> Answer {
    let call = Call::post(path, &body);
    call.answer(&gateway.url()).await.unwrap()
}

async fn put(gateway: &Gateway, path: &str, body: Value) -> Answer {
    let call = Call::put(path, &body);
    call.answer(&gateway.url()).await.unwrap()
}

async fn delete(gateway: &Gateway, path: &str) -> Answer {
    let call = Call::new(hyper::Method::DELETE, path);
    call.answer(&gateway.url()).await.unwrap()
}

/// Checks that an answer is a problem for this reason.
#[track_caller]
fn problem(answer: Answer, status: u16, reason: &str) -> Value {
    let answer = answer.expect(status);
    assert_eq!(answer.content_type(), "application/problem+json");
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["reason"], reason, "{problem}");
    assert_eq!(problem["status"], status);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
    problem
}

/// The next event of this name, with its id.
async fn next_event(stream: &mut Reply, name: &str) -> (String, Value) {
    let wanted = format!("event: {name}");
    loop {
        let text = stream.next().await.unwrap().expect("the stream goes on");
        // Events are sent one by one, each in a piece of its own.
        if !text.lines().any(|line| line == wanted) {
            continue;
        }
        let field = |field: &str| {
            let mut lines = text.lines();
            lines
                .find_map(|line| line.strip_prefix(field))
                .map(str::to_owned)
        };
        let data = field("data: ").expect("it has data");
        let data = serde_json::from_str(&data).expect("it is JSON");
        return (field("id: ").unwrap_or_default(), data);
    }
}

#[tokio::test]
async fn the_registry_is_told_and_what_somebody_says_of_a_model_is_kept() {
    let (_fleet, gateway) = models().await;
    let rescan = post(&gateway, "/api/models/rescan", json!({})).await;
    assert_eq!(rescan.expect(200).json()["total"], 2);
    let registry = get(&gateway, "/api/models/registry/")
        .await
        .expect(200)
        .json();
    assert_eq!(registry["total"], 2);
    assert_eq!(registry["updatedAt"], registry["updated_at"]);
    assert!(registry["updatedAt"].is_string());
    assert_eq!(registry["models"][0]["id"], "alpha");
    assert_eq!(registry["models"][0]["modelId"], "alpha");

    let said = put(
        &gateway,
        "/api/models/alpha/tier",
        json!({"tier": "powerful"}),
    )
    .await;
    let said = said.expect(200).json();
    assert_eq!(
        (&said["modelId"], &said["tier"]),
        (&json!("alpha"), &json!("powerful"))
    );
    let thinking = json!({"thinking": true});
    let said = put(&gateway, "/api/models/alpha/thinking", thinking).await;
    assert_eq!(said.expect(200).json()["thinking"], true);
    let enabled = json!({"enabled": false});
    let said = put(&gateway, "/api/models/beta/enabled", enabled).await;
    assert_eq!(said.expect(200).json()["enabled"], false);
    let tier = get(&gateway, "/api/models/tiers/powerful")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&tier["total"], &tier["models"][0]["id"]),
        (&json!(1), &json!("alpha"))
    );
    let back = put(&gateway, "/api/models/alpha/tier", json!({"tier": null})).await;
    assert_eq!(back.expect(200).json()["tier"], "fast");

    problem(
        get(&gateway, "/api/models/tiers/huge").await,
        400,
        "no-such-tier",
    );
    let unknown = put(&gateway, "/api/models/gamma/tier", json!({"tier": "fast"})).await;
    problem(unknown, 404, "no-such-model");
    for wrong in [json!({"tier": "huge"}), json!({}), json!({"teir": "fast"})] {
        let answer = put(&gateway, "/api/models/alpha/tier", wrong).await;
        problem(answer, 400, "invalid-json");
    }
}

#[tokio::test]
async fn servers_are_started_and_stopped_by_any_of_their_names() {
    let alpha = Server::faulty("alpha").set("aliases", vec!["org/first"]);
    let beta = Server::faulty("beta").set("autostart", false);
    let (mut fleet, gateway) = fleet(&[alpha, beta]).await;
    fleet.ready("alpha").await;
    let servers = get(&gateway, "/api/models/servers")
        .await
        .expect(200)
        .json();
    assert_eq!(servers["total"], 2);
    assert_eq!(
        (&servers["totalServers"], &servers["readyServers"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(servers["servers"][0]["status"], "running");
    assert_eq!(servers["servers"][0]["state"], "ready");
    // One that waits for a first request does not count.
    let ready = get(&gateway, "/health/ready").await.expect(200).json();
    assert_eq!(ready["status"], "ready");

    let stopped = post(&gateway, "/api/models/org%2Ffirst/stop", json!({})).await;
    let stopped = stopped.expect(200).json();
    assert_eq!(
        (&stopped["name"], &stopped["status"]),
        (&json!("alpha"), &json!("stopped"))
    );
    get(&gateway, "/health/ready").await.expect(200);
    let started = post(&gateway, "/api/models/beta/start", json!({})).await;
    let started = started.expect(200).json();
    assert_eq!(
        (&started["name"], &started["status"]),
        (&json!("beta"), &json!("running"))
    );
    assert!(started["port"].is_u64());

    let begun = post(&gateway, "/api/models/alpha/start?wait=false", json!({})).await;
    assert_eq!(begun.expect(202).json()["name"], "alpha");
    let started = post(&gateway, "/api/models/start", json!({})).await;
    let started = started.expect(200).json();
    assert_eq!(started["started"], json!(["alpha", "beta"]));
    assert_eq!(started["failed"], json!([]));
    let before = get(&gateway, "/api/models/servers/alpha")
        .await
        .expect(200)
        .json();
    let restarted = post(&gateway, "/api/models/alpha/restart", json!({})).await;
    assert_eq!(restarted.expect(200).json()["status"], "running");
    let after = get(&gateway, "/api/models/servers/alpha")
        .await
        .expect(200)
        .json();
    assert_ne!(before["pid"], after["pid"]);
    let explained = get(&gateway, "/api/models/servers/alpha/explain").await;
    assert!(explained.expect(200).json()["argv"].is_array());
    let logs = get(&gateway, "/api/models/servers/alpha/logs?lines=3").await;
    assert!(logs.expect(200).json()["lines"][0]["line"].is_string());
    let stopped = post(&gateway, "/api/models/stop", json!({})).await;
    assert_eq!(
        stopped.expect(200).json()["stopped"],
        json!(["alpha", "beta"])
    );

    problem(
        post(&gateway, "/api/models/gamma/start", json!({})).await,
        404,
        "no-such-server",
    );
    problem(
        get(&gateway, "/api/models/servers/gamma").await,
        404,
        "no-such-server",
    );
    let unclear = post(&gateway, "/api/models/start?wiat=false", json!({})).await;
    problem(unclear, 400, "invalid-argument");
    problem(
        get(&gateway, "/api/models/start").await,
        405,
        "method-not-allowed",
    );
    problem(get(&gateway, "/api/nothing").await, 404, "no-such-path");
}

#[tokio::test]
async fn a_server_that_fails_says_why() {
    let broken = Server::faulty("broken").set("model", "missing.gguf");
    let (mut fleet, gateway) = fleet(&[Server::faulty("alpha"), broken]).await;
    fleet.ready("alpha").await;
    fleet.state("broken", ServerState::Failed).await;
    let ready = get(&gateway, "/health/ready").await.expect(503).json();
    assert_eq!(ready["status"], "not_ready");
    assert_eq!(ready["servers"][0]["name"], "broken");
    assert_eq!(ready["servers"][0]["reason"], "model-missing");
    get(&gateway, "/health").await.expect(200);
    let failed = post(&gateway, "/api/models/broken/start", json!({})).await;
    let failed = problem(failed, 503, "model-missing");
    assert_eq!(failed["server"]["status"], "failed");
    let all = post(&gateway, "/api/models/start", json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&all["started"], &all["failed"]),
        (&json!(["alpha"]), &json!(["broken"]))
    );
    let status = get(&gateway, "/api/models/status").await.expect(200).json();
    assert_eq!(status["readyServers"], 1);
    assert_eq!(status["gateways"][0]["pid"], gateway.pid());
}

#[tokio::test]
async fn profiles_are_written_activated_and_deleted() {
    let (fleet, gateway) = models().await;
    let text = "[[select]]\npattern = \"alpha\"\n";
    let new = json!({"name": "small", "text": text, "description": "One model"});
    let created = post(&gateway, "/api/models/profiles", new.clone())
        .await
        .expect(201);
    assert_eq!(created.header("location"), "/api/models/profiles/small");
    assert_eq!(created.json()["servers"], json!(["alpha"]));
    problem(
        post(&gateway, "/api/models/profiles", new).await,
        409,
        "profile-exists",
    );
    let wrong = json!({"name": "wrong", "text": "nonsense = 1\n"});
    let wrong = post(&gateway, "/api/models/profiles", wrong).await;
    problem(wrong, 422, "invalid-configuration");

    let activate = "/api/models/profile/activate";
    let activated = post(&gateway, activate, json!({"profile_name": "small"})).await;
    let activated = activated.expect(200).json();
    assert_eq!(activated["profile"], "small");
    assert!(activated["started"].is_array());
    let profiles = get(&gateway, "/api/models/profiles")
        .await
        .expect(200)
        .json();
    assert_eq!(profiles["activeProfile"], "small");
    assert_eq!(profiles["active_profile"], "small");
    let shown = get(&gateway, "/api/models/profiles/small")
        .await
        .expect(200)
        .json();
    assert!(
        shown["text"].as_str().unwrap().contains("One model"),
        "{shown}"
    );

    let active = delete(&gateway, "/api/models/profiles/small").await;
    problem(active, 409, "profile-active");
    let back = post(&gateway, activate, json!({"profileName": "builtin"})).await;
    back.expect(200);
    let deleted = delete(&gateway, "/api/models/profiles/small").await;
    assert_eq!(deleted.expect(200).json()["deleted"], "small");
    let gone = get(&gateway, "/api/models/profiles/small").await;
    problem(gone, 404, "no-such-profile");
    problem(
        post(&gateway, activate, json!({"profileName": "small"})).await,
        404,
        "no-such-profile",
    );
    drop(fleet);
}

#[tokio::test]
async fn one_list_of_models_answers_all_who_ask() {
    let (mut fleet, gateway) = models().await;
    for path in ["/v1/models", "/models", "/models/"] {
        let list = get(&gateway, path).await.expect(200).json();
        assert_eq!(
            (&list["object"], &list["count"]),
            (&json!("list"), &json!(2))
        );
        assert_eq!(list["data"][0]["id"], "alpha");
        assert_eq!(list["data"][0]["object"], "model");
        assert_eq!(list["data"][0]["status"]["value"], "unloaded");
        assert_eq!(list["models"][0]["name"], "alpha");
        assert_eq!(list["models"][0]["details"]["format"], "gguf");
    }
    let one = get(&gateway, "/v1/models/alpha").await.expect(200).json();
    assert_eq!(
        (&one["id"], &one["owned_by"]),
        (&json!("alpha"), &json!("magi"))
    );
    let unknown = get(&gateway, "/v1/models/alpah").await.expect(404).json();
    assert_eq!(unknown["error"]["code"], "no-such-model");
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean alpha?"), "{message}");

    // A file that magid forgot is added under another name.
    let new = json!({"path": fleet.path("models/beta.gguf"), "name": "third"});
    post(&gateway, "/models", new.clone()).await.expect(409);
    let disabled = json!({"enabled": false});
    put(&gateway, "/api/models/beta/enabled", disabled)
        .await
        .expect(200);
    fleet
        .wait("beta is not served", |servers| {
            !servers.contains_key("beta")
        })
        .await;
    let delete = ["models", "delete", "beta"];
    fleet.magictl(&delete).await.expect_code(0);
    let created = post(&gateway, "/models/", new).await.expect(201);
    assert_eq!(created.json()["id"], "third");
    assert_eq!(created.header("location"), "/models/third");
    get(&gateway, "/models/third").await.expect(200);

    let workers = get(&gateway, "/workers").await.expect(200).json();
    assert_eq!(
        (&workers["total"], &workers["online_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(workers["workers"][0]["status"], "online");
    assert_eq!(get(&gateway, "/").await.expect(200).json()["name"], "magi");
}

#[tokio::test]
async fn the_api_describes_itself_without_the_network() {
    let (_fleet, gateway) = fleet(&[]).await;
    let described = get(&gateway, "/openapi.json").await.expect(200);
    assert_eq!(described.content_type(), "application/json");
    let described = described.json();
    assert_eq!(described["openapi"], "3.1.0");
    assert!(described["paths"]["/v1/chat/completions"]["post"].is_object());
    let page = get(&gateway, "/docs/").await.expect(200);
    assert_eq!(page.content_type(), "text/html");
    assert!(page.text.contains("openapi.json"));
}

#[tokio::test]
async fn events_go_on_where_a_client_left_off_and_wait_for_magid() {
    let (mut fleet, gateway) = fleet(&[Server::faulty("alpha")]).await;
    fleet.ready("alpha").await;
    let mut stream = Call::get("/api/events").send(&gateway.url()).await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (_, servers) = next_event(&mut stream, "servers").await;
    assert_eq!(servers["snapshot"], true);
    drop(stream);

    let call = Call::get("/api/events?topics=events&last=1000");
    let mut stream = call.send(&gateway.url()).await.unwrap();
    let (id, first) = next_event(&mut stream, "event").await;
    assert_eq!(first["sequence"], 1);
    drop(stream);
    let call = Call::get("/api/events?topics=events").header("last-event-id", &id);
    let mut stream = call.send(&gateway.url()).await.unwrap();
    let (_, second) = next_event(&mut stream, "event").await;
    assert_eq!(second["sequence"], 2);

    fleet.kill().await;
    let (_, lost) = next_event(&mut stream, "lost").await;
    assert_eq!(lost["reason"], "magid-away");
    fleet.start().await;
    let (_, event) = next_event(&mut stream, "event").await;
    assert_eq!(event["sequence"], 1);
    let unknown = get(&gateway, "/api/events?topics=weather").await;
    problem(unknown, 400, "invalid-argument");
}

#[tokio::test]
async fn output_is_followed_line_by_line() {
    let (mut fleet, gateway) = fleet(&[Server::faulty("alpha")]).await;
    fleet.ready("alpha").await;
    let path = "/api/models/servers/alpha/logs?follow=true&lines=1";
    let mut stream = Call::get(path).send(&gateway.url()).await.unwrap();
    let (_, line) = next_event(&mut stream, "line").await;
    assert_eq!(line["incarnation"], 1);
    post(&gateway, "/api/models/alpha/restart", json!({}))
        .await
        .expect(200);
    while next_event(&mut stream, "line").await.1["incarnation"] != 2 {}
    let nobody = get(&gateway, "/api/models/servers/beta/logs?follow=true").await;
    problem(nobody, 404, "no-such-server");
}

#[tokio::test]
async fn a_request_is_seen_while_it_is_answered_and_can_be_cancelled() {
    let slow = Server::faulty("alpha").fault("token-time=100ms");
    let (mut fleet, gateway) = fleet(&[slow]).await;
    fleet.ready("alpha").await;
    let mut chat = Chat::with(&gateway.url(), "alpha", 1000).await.unwrap();
    chat.next().await.unwrap();
    let requests = get(&gateway, "/api/requests").await.expect(200).json();
    let active = &requests["active"][0];
    assert_eq!(
        (&active["server"], &active["phase"]),
        (&json!("alpha"), &json!("answering"))
    );
    let path = format!("/api/requests/{}", active["id"].as_str().unwrap());
    let one = get(&gateway, &path).await.expect(200).json();
    assert_eq!(one["active"]["server"], "alpha");
    assert_eq!(one["finished"], Value::Null);
    delete(&gateway, &path).await.expect(200);
    let (text, end) = chat.to_its_end().await;
    assert!(end.is_err() || text.contains("cancelled"), "{text}");
    problem(delete(&gateway, &path).await, 404, "no-such-request");
    let requests = get(&gateway, "/api/requests").await.expect(200).json();
    assert_eq!(requests["active"], json!([]));
    let id = path.rsplit('/').next().unwrap();
    let call = Call::get("/api/events?topics=requests");
    let mut stream = call.send(&gateway.url()).await.unwrap();
    loop {
        let (_, told) = next_event(&mut stream, "requests").await;
        let mut told = told["requests"].as_array().unwrap().clone().into_iter();
        if let Some(request) = told.find(|request| request["id"] == id) {
            assert_eq!(request["outcome"], "cancelled");
            break;
        }
    }
}

#[tokio::test]
async fn a_scrape_tells_what_happened_and_wakes_nobody() {
    let sleeper = Server::faulty("sleeper").set("autostart", false);
    let (mut fleet, gateway) = fleet(&[Server::faulty("alpha"), sleeper]).await;
    fleet.ready("alpha").await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
    chat_with(&gateway.url(), "no-such-thing")
        .await
        .unwrap_err();
    let scrape = get(&gateway, "/metrics").await.expect(200);
    assert_eq!(scrape.content_type(), "application/openmetrics-text");
    for line in [
        r#"magi_requests_total{server="alpha",model="",outcome="done"} 1"#,
        r#"magi_refusals_total{reason="no-such-model"} 1"#,
        r#"magi_server_state{server="alpha",model="",state="ready"} 1.0"#,
        r#"magi_server_state{server="sleeper",model="",state="stopped"} 1.0"#,
        "magi_magid_up 1.0",
    ] {
        assert!(
            scrape.text.lines().any(|told| told == line),
            "{line}\n{}",
            scrape.text
        );
    }
    assert!(!scrape.text.contains("no-such-thing"), "{}", scrape.text);
    assert!(scrape.text.contains("llamacpp:"), "{}", scrape.text);
    let sleeper = get(&gateway, "/api/models/servers/sleeper")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&sleeper["state"], &sleeper["incarnation"]),
        (&json!("stopped"), &Value::Null)
    );
}

#[tokio::test]
async fn what_llama_server_counts_is_told_under_its_name() {
    let Some(program) = llama_server() else {
        return;
    };
    let real = |name| Server::real(name, &program).set("ctx_size", 512);
    let (mut fleet, gateway) = fleet(&[real("alpha"), real("unused")]).await;
    fleet.all_ready(2).await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
    let scrape = get(&gateway, "/metrics").await.expect(200).text;
    let told = |name: &str| {
        let start = format!("{name}{{server=\"alpha\",");
        let line = scrape.lines().find(|line| line.starts_with(&start));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("there is no {name}: {scrape}"))
    };
    let counted: f64 = told("llamacpp:tokens_predicted_total");
    assert!(counted > 0.0);
    assert_eq!(counted, told("magi_tokens_total"));
    assert!(scrape.contains("# TYPE llamacpp:tokens_predicted counter"));
    // Nobody asked it for anything, so neither does a scrape.
    assert!(!scrape.contains("llamacpp:tokens_predicted_total{server=\"unused\""));
}

#[tokio::test]
async fn without_magid_what_needs_it_says_so_and_the_rest_goes_on() {
    let (mut fleet, gateway) = fleet(&[Server::faulty("alpha")]).await;
    fleet.ready("alpha").await;
    fleet.kill().await;
    let servers = get(&gateway, "/api/models/servers").await;
    assert!(!servers.header("retry-after").is_empty());
    problem(servers, 503, "magid-away");
    problem(
        post(&gateway, "/api/models/alpha/stop", json!({})).await,
        503,
        "magid-away",
    );
    assert_eq!(
        get(&gateway, "/health").await.expect(200).json()["status"],
        "healthy"
    );
    let ready = get(&gateway, "/health/ready").await.expect(503).json();
    assert_eq!(ready["reason"], "magid-away");
    let models = get(&gateway, "/v1/models").await.expect(200).json();
    assert_eq!(models["data"][0]["id"], "alpha");
    let requests = get(&gateway, "/api/requests").await.expect(200).json();
    assert_eq!(requests["finished"], Value::Null);
    get(&gateway, "/metrics").await.expect(200);
    let workers = get(&gateway, "/workers").await.expect(200).json();
    assert_eq!(workers["online_count"], 0);
}
