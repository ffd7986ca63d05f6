//! Requests as clients, pages and attackers send them.

use std::sync::Arc;

use magi_proto::v1;
use magid::config::{Glob, Key, KeyHash, Scope};

use super::*;
use crate::table::Server;
use crate::traffic::Traffic;

fn key(name: &str, scopes: &[Scope], models: &[&str]) -> Key {
    Key {
        name: name.to_owned(),
        hash: KeyHash::of(format!("magi_{name}")),
        scopes: scopes.to_vec(),
        models: models.iter().map(|glob| Glob::new(glob).unwrap()).collect(),
    }
}

fn open() -> Access {
    Access::new(&GatewayConfig::default())
}

fn locked() -> Access {
    Access::new(&GatewayConfig {
        keys: vec![
            key("app", &[Scope::Inference], &["qwen*"]),
            key("eyes", &[Scope::Read], &["*"]),
            key("root", &[Scope::Admin], &["*"]),
        ],
        ..GatewayConfig::default()
    })
}

/// The code of the refusal, or nothing.
fn refused(access: &Access, request: &str, headers: &[(&'static str, &str)]) -> Option<String> {
    let (_, entry) = ask(access, request, headers);
    entry.err().map(|refusal| refusal.reason.code().to_owned())
}

fn ask(
    access: &Access,
    request: &str,
    headers: &[(&'static str, &str)],
) -> (Cors, Result<Entry, Refusal>) {
    let (method, uri) = request.split_once(' ').unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let admission = access.admit(&method.parse().unwrap(), &uri.parse().unwrap(), &map);
    (admission.cors, admission.entry)
}

fn caller(access: &Access, request: &str, headers: &[(&'static str, &str)]) -> Caller {
    match ask(access, request, headers).1.unwrap() {
        Entry::Caller(caller) => caller,
        Entry::Preflight(_) => panic!("it is no preflight"),
    }
}

#[test]
fn without_keys_everybody_on_this_machine_may_do_everything() {
    for request in [
        "POST /v1/chat/completions",
        "POST /api/models/start",
        "GET /x",
    ] {
        assert_eq!(
            caller(&open(), request, &[("host", "localhost:8000")]).name(),
            ""
        );
    }
}

#[test]
fn the_gateway_is_called_by_addresses_and_names_of_loopback() {
    for host in [
        "localhost",
        "LOCALHOST:8000",
        "a.localhost",
        "localhost.",
        "127.0.0.1:1",
        "[::1]:1",
        "[::1]",
        "10.0.0.7",
    ] {
        assert_eq!(
            refused(&open(), "GET /health", &[("host", host)]),
            None,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "xlocalhost",
        "127.0.0.1.nip.io",
        "",
        "a@localhost",
        "[::1].evil.example",
        "[::1]evil",
        "\u{e4}",
    ] {
        let code = refused(&open(), "GET /health", &[("host", host)]);
        assert_eq!(code.as_deref(), Some("host-not-allowed"), "{host}");
    }
    let both = [("host", "localhost"), ("host", "evil.example")];
    assert!(refused(&open(), "GET /health", &both).is_some());
    let in_line = "GET http://evil.example/health";
    assert!(refused(&open(), in_line, &[("host", "localhost")]).is_some());
}

#[test]
fn other_names_are_let_in_once_they_are_written_down() {
    let access = Access::new(&GatewayConfig {
        allowed_hosts: vec!["models.example.org".to_owned()],
        ..GatewayConfig::default()
    });
    assert_eq!(
        refused(&access, "GET /", &[("host", "Models.Example.org:80")]),
        None
    );
    assert!(refused(&access, "GET /", &[("host", "example.org")]).is_some());
    let (_, entry) = ask(&open(), "GET /", &[("host", "models.example.org:80")]);
    let message = entry.unwrap_err().message;
    assert!(
        message.contains("allowed_hosts = [\"models.example.org\"]"),
        "{message}"
    );
}

#[test]
fn pages_of_other_origins_are_refused_and_the_gateways_own_are_not() {
    let from = |origin: &str| {
        let headers = [("host", "localhost:8000"), ("origin", origin)];
        refused(&open(), "POST /v1/chat/completions", &headers)
    };
    assert_eq!(from("http://localhost:8000"), None);
    assert_eq!(from("https://LOCALHOST:8000"), None);
    for origin in [
        "http://localhost:5173",
        "http://localhost",
        "https://evil.example",
        "null",
        "file://",
        "",
    ] {
        assert_eq!(
            from(origin).as_deref(),
            Some("origin-not-allowed"),
            "{origin}"
        );
    }
    let two = [
        ("host", "localhost"),
        ("origin", "http://localhost"),
        ("origin", "http://e"),
    ];
    assert!(refused(&open(), "GET /", &two).is_some());
}

#[test]
fn a_page_of_another_site_may_link_here_and_no_more() {
    let site = ("sec-fetch-site", "cross-site");
    let ask = |mode| refused(&open(), "GET /docs", &[site, ("sec-fetch-mode", mode)]);
    assert_eq!(ask("navigate"), None);
    assert_eq!(ask("no-cors").as_deref(), Some("origin-not-allowed"));
}

#[test]
fn an_origin_that_is_written_down_may_ask_first_and_read_the_answer() {
    let access = Access::new(&GatewayConfig {
        cors_origins: vec!["https://app.example.org".to_owned()],
        ..locked_config()
    });
    let origin = ("origin", "https://app.example.org");
    let asks = [
        origin,
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization, content-type",
        ),
    ];
    let (cors, entry) = ask(&access, "OPTIONS /v1/chat/completions", &asks);
    let Ok(Entry::Preflight(mut answer)) = entry else {
        panic!("it is a preflight");
    };
    cors.apply(answer.headers_mut());
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let headers = answer.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example.org"
    );
    assert_eq!(
        headers["access-control-allow-headers"],
        "authorization, content-type"
    );
    assert_eq!(headers["vary"], "origin");
    // Also an answer that refuses, or the page could not say what is wrong.
    let (cors, entry) = ask(&access, "POST /v1/chat/completions", &[origin]);
    assert_eq!(entry.unwrap_err().reason, Reason::KeyRequired);
    assert_ne!(cors, Cors::default());
    let (cors, entry) = ask(&access, "OPTIONS /x", &[("origin", "https://evil.example")]);
    assert_eq!(entry.unwrap_err().reason, Reason::OriginNotAllowed);
    assert_eq!(cors, Cors::default());
}

fn locked_config() -> GatewayConfig {
    GatewayConfig {
        keys: vec![key("app", &[Scope::Inference], &["*"])],
        ..GatewayConfig::default()
    }
}

#[test]
fn with_keys_there_is_no_way_around_them() {
    let access = locked();
    let host = ("host", "127.0.0.1:8000");
    for request in [
        "POST /v1/messages",
        "GET /api/models/servers",
        "GET /v1/models",
        "GET /metrics",
        "GET /x",
    ] {
        assert_eq!(
            refused(&access, request, &[host]).as_deref(),
            Some("key-required")
        );
        let wrong = [host, ("authorization", "Bearer magi_ap")];
        assert_eq!(
            refused(&access, request, &wrong).as_deref(),
            Some("invalid-key")
        );
    }
    assert_eq!(refused(&access, "GET /health", &[host]), None);
    for useless in ["", "Bearer", "Bearer ", "Basic magi_app", "magi_app"] {
        let code = refused(&access, "GET /v1/models", &[("authorization", useless)]);
        assert_eq!(code.as_deref(), Some("key-required"), "{useless}");
    }
}

#[test]
fn a_key_comes_as_openais_or_as_anthropics_clients_send_it() {
    for header in [
        ("authorization", "bearer magi_app"),
        ("x-api-key", "magi_app"),
    ] {
        assert_eq!(
            caller(&locked(), "POST /v1/messages", &[header]).name(),
            "app"
        );
    }
    let both = [
        ("authorization", "Bearer unused"),
        ("x-api-key", "magi_app"),
    ];
    assert_eq!(caller(&locked(), "POST /v1/messages", &both).name(), "app");
}

#[test]
fn a_key_may_do_what_its_scopes_say() {
    let access = locked();
    let may = |name: &str, request: &str| {
        let sent = format!("Bearer magi_{name}");
        refused(&access, request, &[("authorization", &sent)]).is_none()
    };
    let table = [
        ("POST /v1/chat/completions", ["app"].as_slice()),
        ("GET /upstream/a/props", &["app"]),
        ("GET /v1/models", &["app", "eyes", "root"]),
        ("GET /api/models/servers", &["eyes", "root"]),
        ("GET /metrics", &["eyes", "root"]),
        ("POST /api/models/start", &["root"]),
        ("DELETE /api/requests/1", &["root"]),
        ("GET /nowhere", &["root"]),
    ];
    for (request, allowed) in table {
        for name in ["app", "eyes", "root"] {
            assert_eq!(
                may(name, request),
                allowed.contains(&name),
                "{name}: {request}"
            );
        }
    }
}

#[test]
fn a_key_for_some_models_is_for_all_their_names() {
    let server = |name: &str, alias: &str, model: &str| Server {
        route: v1::Route {
            server: name.to_owned(),
            aliases: vec![alias.to_owned()],
            model_id: Some(model.to_owned()),
            ..v1::Route::default()
        },
        current: None,
        traffic: Arc::new(Traffic::new()),
    };
    let app = caller(&locked(), "GET /v1/models", &[("x-api-key", "magi_app")]);
    assert!(app.may_use(&server("qwen-7b", "a", "b")));
    assert!(app.may_use(&server("a", "Qwen", "b")));
    assert!(app.may_use(&server("a", "b", "qwen2.5")));
    assert!(!app.may_use(&server("llama", "gpt", "my-qwen")));
    let root = caller(&locked(), "GET /v1/models", &[("x-api-key", "magi_root")]);
    assert!(root.may_use(&server("llama", "gpt", "x")));
}

#[test]
fn what_is_refused_is_told_without_the_key() {
    let headers = [("authorization", "Bearer magi_secret")];
    let (_, entry) = ask(&locked(), "GET /v1/models", &headers);
    assert!(!entry.unwrap_err().message.contains("secret"));
    assert!(!format!("{:?}", locked()).contains("magi_"));
}
