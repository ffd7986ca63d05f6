//! Every route of the data path, with real llama-servers: the gateway's answer is the server's own.

use magi_tests::harness::{
    Answer, Call, Fleet, Gateway, Server, chat_with, llama_server, question,
};
use serde_json::{Value, json};

/// A chat model, an embedding model and a model that ranks, all ready, behind a gateway.
async fn fleet() -> Option<(Fleet, Gateway)> {
    let program = llama_server()?;
    let mut fleet = Fleet::new();
    let real = |name| Server::real(name, &program).set("ctx_size", 1024);
    fleet.save(&[
        real("alpha").set("aliases", vec!["gpt-4o-mini", "org/alpha:latest"]),
        real("vector")
            .set("embeddings", true)
            .arg("--pooling")
            .arg("mean"),
        real("ranker").set("reranking", true),
    ]);
    fleet.start().await;
    fleet.all_ready(3).await;
    let gateway = Gateway::start(&fleet).await;
    Some((fleet, gateway))
}

/// What each route is asked, and of whom.
fn questions() -> Vec<(&'static str, &'static str, Value)> {
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let ranked = json!({ "query": "a", "documents": ["b", "c"] });
    let completion = json!({ "prompt": "hi", "max_tokens": 4, "n_predict": 4 });
    let embedding = json!({ "input": ["a", "b"], "content": "a" });
    vec![
        ("/v1/chat/completions", "alpha", question(None, 4)),
        ("/v1/completions", "alpha", completion.clone()),
        ("/completion", "alpha", completion),
        (
            "/v1/responses",
            "alpha",
            json!({ "input": "hi", "max_output_tokens": 4 }),
        ),
        ("/v1/messages", "alpha", question(None, 4)),
        (
            "/v1/messages/count_tokens",
            "alpha",
            json!({ "messages": hi, "max_tokens": 4 }),
        ),
        ("/v1/embeddings", "vector", embedding.clone()),
        ("/embedding", "vector", embedding),
        ("/v1/rerank", "ranker", ranked.clone()),
        ("/rerank", "ranker", ranked.clone()),
        ("/reranking", "ranker", ranked),
        // A model without the tokens for it: that answer is the server's own too.
        (
            "/infill",
            "alpha",
            json!({ "input_prefix": "a", "input_suffix": "b" }),
        ),
        ("/tokenize", "alpha", json!({ "content": "alpha" })),
        ("/detokenize", "alpha", json!({ "tokens": [100, 101] })),
        ("/apply-template", "alpha", json!({ "messages": hi })),
    ]
}

#[tokio::test]
async fn each_route_answers_what_the_server_itself_answers() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let servers = fleet.all_ready(3).await;
    for (path, server, mut body) in questions() {
        body["model"] = server.into();
        let call = Call::post(path, &body);
        let ours = call.answer(&gateway.url()).await.unwrap();
        let theirs = call.answer(servers[server].endpoint()).await.unwrap();
        assert_same_shape(path, &ours, &theirs);
    }
}

/// Two answers to one question differ in times and random ids.
fn assert_same_shape(path: &str, ours: &Answer, theirs: &Answer) {
    let what = format!("{path}:\n{ours:?}\n{theirs:?}");
    assert_eq!(ours.status, theirs.status, "{what}");
    assert_eq!(ours.content_type(), theirs.content_type(), "{what}");
    assert!(!ours.header("x-request-id").is_empty(), "{what}");
    assert_eq!(
        keys(&ours.json(), String::new()),
        keys(&theirs.json(), String::new()),
        "{what}"
    );
}

/// The paths of all values of an object.
fn keys(value: &Value, path: String) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .flat_map(|(key, value)| keys(value, format!("{path}.{key}")))
                .collect()
        }
        Value::Array(items) => {
            let first = items.first().map(|first| keys(first, format!("{path}[]")));
            first.unwrap_or_else(|| vec![path])
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![path],
    }
}

#[tokio::test]
async fn a_model_goes_by_its_name_its_aliases_and_its_id() {
    let Some((mut fleet, gateway)) = fleet().await else {
        return;
    };
    let id = fleet.model("alpha").await.id;
    for name in ["alpha", "gpt-4o-mini", "org/alpha:latest", id.as_str()] {
        let said = chat_with(&gateway.url(), name).await.unwrap();
        assert!(said.contains("alpha"), "{name}: {said}");
    }
    // With escapes, and after a member that only looks like it.
    let body = r#"{"messages":[{"role":"user","content":"\"model\":\"vector\""}],
        "metadata":{"model":"vector"},"max_tokens":4,"mod\u0065l":"\u0061lpha"}"#;
    let answer = Call::text("/v1/chat/completions", body)
        .answer(&gateway.url())
        .await
        .unwrap()
        .expect(200);
    assert!(answer.text.contains(" alpha"), "{answer:?}");
}

#[tokio::test]
async fn one_list_of_models_is_for_all_readers() {
    let Some((_fleet, gateway)) = fleet().await else {
        return;
    };
    for path in ["/v1/models", "/models", "/v1/models/", "/models/"] {
        let listed = Call::get(path)
            .answer(&gateway.url())
            .await
            .unwrap()
            .expect(200)
            .json();
        assert_eq!(listed["object"], "list", "{listed}");
        let ids: Vec<_> = listed["data"].as_array().unwrap().iter().collect();
        for id in [
            "alpha",
            "gpt-4o-mini",
            "org/alpha:latest",
            "vector",
            "ranker",
        ] {
            let found = ids.iter().any(|model| model["id"] == id);
            assert!(found, "{path} lacks {id}: {listed}");
        }
        assert!(listed["models"].is_array(), "{listed}");
        assert!(listed["count"].is_u64(), "{listed}");
    }
}

#[tokio::test]
async fn the_rest_of_a_server_is_below_upstream() {
    let Some((_fleet, gateway)) = fleet().await else {
        return;
    };
    let ask = |path: &'static str| {
        let url = gateway.url();
        async move { Call::get(path).answer(&url).await.unwrap() }
    };
    let slots = ask("/upstream/alpha/slots").await.expect(200);
    assert!(slots.json().is_array(), "{slots:?}");
    let health = ask("/upstream/vector/health").await.expect(200);
    assert_eq!(health.json()["status"], "ok");
    let props = ask("/props?model=alpha").await.expect(200);
    assert!(props.json()["total_slots"].is_u64(), "{props:?}");
    ask("/upstream/alpha/nothing-here").await.expect(404);
    let unknown = ask("/upstream/alhpa/health").await.expect(404);
    assert!(unknown.text.contains("no-such-model"), "{unknown:?}");
}

#[tokio::test]
async fn streams_come_as_the_server_sends_them() {
    let Some((_fleet, gateway)) = fleet().await else {
        return;
    };
    for (path, end) in [
        ("/v1/chat/completions", "data: [DONE]"),
        ("/v1/completions", "data: [DONE]"),
        ("/v1/messages", "event: message_stop"),
    ] {
        let mut body = question(Some("gpt-4o-mini"), 16);
        body["prompt"] = "hi".into();
        body["stream"] = true.into();
        let reply = Call::post(path, &body).send(&gateway.url()).await.unwrap();
        assert_eq!(reply.status(), 200, "{path}");
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        let (text, ended) = reply.to_its_end().await;
        ended.unwrap();
        assert!(text.contains(end), "{path}: {text}");
        assert!(text.contains(" alpha"), "{path}: {text}");
    }
}
