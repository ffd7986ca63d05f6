//! gateway.toml.

use std::net::SocketAddr;

use super::*;

fn config(text: &str, variables: &[(&str, &str)]) -> GatewayConfig {
    gateway(text, variables)
        .unwrap_or_else(|errors| panic!("{}", errors[0]))
        .gateway
}

fn errors(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let errors = gateway(text, variables).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn tcp(address: &str) -> Vec<Listen> {
    vec![Listen::Tcp(address.parse::<SocketAddr>().unwrap())]
}

#[test]
fn without_a_file_it_listens_on_loopback_and_asks_for_no_key() {
    let parsed = parse_gateway(None, &environment(&[]), &locations()).unwrap();
    assert_eq!(parsed.gateway, GatewayConfig::default());
    assert_eq!(parsed.gateway.listen, tcp("127.0.0.1:8000"));
    assert_eq!(parsed.warnings, []);
}

#[test]
fn the_sample_is_the_defaults_also_without_its_number_signs() {
    let sample = include_str!("../../../../config/gateway.toml");
    assert_eq!(config(sample, &[]), GatewayConfig::default());
    let is_key =
        |line: &&str| line.starts_with('#') && !line.starts_with("# ") && !line.starts_with("#:");
    let keys = sample.lines().filter(is_key).map(|line| &line[1..]);
    let written: Vec<_> = keys.take_while(|line| !line.starts_with('[')).collect();
    assert!(written.len() >= 10);
    assert_eq!(config(&written.join("\n"), &[]), GatewayConfig::default());
}

#[test]
fn it_listens_on_several_addresses_and_sockets() {
    let listen = config(
        "listen = [\"localhost:0\", \"[::1]:80\", \"unix:http.sock\"]",
        &[],
    )
    .listen;
    let written: Vec<_> = listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        written,
        ["127.0.0.1:0", "[::1]:80", "unix:/etc/magi/http.sock"]
    );
}

#[test]
fn variables_win() {
    let text = format!("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n{KEY}");
    assert_eq!(
        config(&text, &[("BACKEND_PORT", "4000")]).listen,
        tcp("127.0.0.1:4000")
    );
    assert_eq!(
        config(&text, &[("BACKEND_HOST", "0.0.0.0")]).listen,
        tcp("0.0.0.0:1")
    );
    assert_eq!(
        config("", &[("BACKEND_HOST", "localhost")]).listen,
        tcp("127.0.0.1:8000")
    );
    let variables = [
        ("MAGI_ALLOW_OPEN", "1"),
        ("BACKEND_HOST", "::"),
        ("BACKEND_PORT", "1"),
    ];
    let parsed = gateway("allow_open = false", &variables).unwrap();
    assert!(parsed.gateway.allow_open);
    assert_eq!(
        parsed.overridden,
        [
            "allow_open (MAGI_ALLOW_OPEN)",
            "listen (BACKEND_HOST)",
            "listen (BACKEND_PORT)"
        ]
    );
    let wrong = errors("", &[("BACKEND_PORT", "http")]);
    assert_eq!(
        wrong,
        [
            "error: the variable BACKEND_PORT cannot be \"http\" (set it to a port from 1 to 65535, or unset it)"
        ]
    );
}

#[test]
fn a_key_in_a_variable_may_do_everything_and_is_never_shown() {
    let key = "0123456789abcdef";
    let parsed = gateway("", &[("MAGI_API_KEY", key)]).unwrap();
    let [only] = &parsed.gateway.keys[..] else {
        panic!("there is one key");
    };
    assert_eq!(only.hash, KeyHash::of(key));
    assert!(Scope::ALL.into_iter().all(|scope| only.allows(scope)));
    assert!(only.covers("anything/at:all"));
    assert_eq!(parsed.warnings, []);
    let short = gateway("", &[("MAGI_API_KEY", "guess me")]).unwrap_err();
    assert!(!short[0].to_string().contains("guess"));
    assert_eq!(
        gateway("", &[("MAGI_API_KEY", "guess")])
            .unwrap()
            .warnings
            .len(),
        1
    );
}

#[test]
fn beyond_loopback_it_needs_keys_or_to_be_told() {
    let text = "listen = [\"127.0.0.1:1\", \"0.0.0.0:2\"]";
    let refused = errors(text, &[]);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with(
        "/etc/magi/gateway.toml:1:26: error: cannot listen on 0.0.0.0:2 without keys"
    ));
    assert!(refused[0].contains("magictl keys create") && refused[0].contains("allow_open = true"));
    assert_eq!(errors("", &[("BACKEND_HOST", "192.168.1.2")]).len(), 1);
    assert_eq!(errors("keys = []\nlisten = [\"[::]:1\"]", &[]).len(), 1);
    for loopback in ["127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"] {
        config(&format!("listen = [\"{loopback}\"]"), &[]);
    }
    config(&format!("{text}\n{KEY}"), &[]);
    config(&format!("{text}\nallow_open = true"), &[]);
    config(text, &[("MAGI_API_KEY", "0123456789abcdef")]);
}

#[test]
fn a_key_that_is_wrong_is_told_once_and_without_its_hash() {
    let text = "listen = [\"0.0.0.0:1\"]\n[[keys]]\nname = \"a\"\nhash = \"magi_secret\"\nscopes = [\"read\"]\n";
    let file = file("/etc/magi/gateway.toml", text);
    let errors = parse_gateway(Some(&file), &environment(&[]), &locations()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .to_string()
            .starts_with("/etc/magi/gateway.toml:4:8: error: `hash` is not")
    );
    assert!(!errors[0].render(Some(&file)).contains("secret"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, message) in [
        ("listen = []", "1:10: error: `listen` cannot be empty"),
        (
            "listen = [\"8000\"]",
            "1:11: error: `listen` cannot contain \"8000\"",
        ),
        (
            "listen = [\"[::1]:1\", \"[::1]:1\"]",
            "1:22: error: cannot listen on [::1]:1 twice",
        ),
        (
            "allowed_hosts = [\"a:80\"]",
            "1:18: error: `allowed_hosts` cannot contain \"a:80\"",
        ),
        (
            "cors_origins = [\"https://a/\"]",
            "1:17: error: `cors_origins` cannot contain",
        ),
        ("max_body = 0", "1:12: error: `max_body` cannot be 0"),
        (
            "max_body = \"2MiB\"\nmax_bodies = \"1MiB\"",
            "2:14: error: `max_bodies` cannot be less than `max_body`",
        ),
        ("port = 1", "1:1: error: unknown key `port`"),
        (
            "[keys]\nname = \"a\"",
            "1:1: error: `keys` cannot be a table",
        ),
        ("[[keys]]\nscope = 1", "1:1: error: a key has no `name`"),
    ] {
        let told = errors(text, &[]).remove(0);
        let told = told.strip_prefix("/etc/magi/gateway.toml:").unwrap();
        assert!(told.starts_with(message), "{told}");
    }
    let with = |from: &str, to: &str| errors(&KEY.replace(from, to), &[]).remove(0);
    assert!(with("\"a\"", "\"a/b\"").contains("the name of a key cannot contain '/'"));
    assert!(with("\"a\"", "\"MAGI_API_KEY\"").contains("cannot be MAGI_API_KEY"));
    assert!(with("[\"inference\"]", "[]").contains("`scopes` cannot be empty"));
    assert!(with("inference", "write").contains("`scopes` cannot contain \"write\""));
    let twice = errors(&[KEY, KEY].concat(), &[]);
    assert!(twice[0].contains("two keys cannot have the name \"a\""));
    assert!(twice[1].contains("two keys cannot have the same hash"));
}

#[test]
fn a_scope_of_admin_may_also_look_but_not_ask_models() {
    let key = &config(&KEY.replace("inference", "admin"), &[]).keys[0];
    assert!(key.allows(Scope::Admin) && key.allows(Scope::Read) && !key.allows(Scope::Inference));
}

#[test]
fn any_page_and_no_key_is_worth_a_word() {
    let warnings = gateway("cors_origins = [\"*\"]", &[]).unwrap().warnings;
    assert!(warnings[0].to_string().contains("any page"));
    let with_key = gateway(&format!("cors_origins = [\"*\"]\n{KEY}"), &[]);
    assert_eq!(with_key.unwrap().warnings, []);
}
