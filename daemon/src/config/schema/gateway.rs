//! The keys of gateway.toml.

use super::{Fallback, File, Key, Kind, Place, Table, key};
use Fallback::{Required, Toml};

const TIME: Kind = Kind::Time(true);
const TEXTS: Kind = Kind::List(&Kind::Text);
const SCOPES: Kind = Kind::List(&Kind::Words(&["inference", "read", "admin"]));

#[rustfmt::skip]
pub(in crate::config) const GATEWAY: File = File {
    title: "gateway.toml",
    about: "How the gateway is reached, and by whom. The file need not exist; it is beside magid.toml.",
    tables: &[
        Table { place: Place::Root, groups: &[ROOT], about: "Where it listens, and what it lets in." },
        Table { place: Place::Repeated("keys"), groups: &[KEYS], about: "A key. With one, every request has to carry one. `magictl keys create NAME` writes it." },
    ],
};

#[rustfmt::skip]
const ROOT: &[Key] = &[
    key("listen", TEXTS, Toml("[\"127.0.0.1:8000\"]"), "[\"[::1]:9000\", \"unix:/run/magi/http.sock\"]",
        "Where it listens: addresses with ports, and `unix:` with a path; `BACKEND_HOST` and `BACKEND_PORT` win."),
    key("allow_open", Kind::Boolean, Toml("false"), "true",
        "Whether it may listen beyond this machine without keys; `MAGI_ALLOW_OPEN` wins."),
    key("allowed_hosts", TEXTS, Toml("[]"), "[\"models.example.org\"]",
        "Names by which it may be called besides `localhost` and addresses; `\"*\"`: any."),
    key("cors_origins", TEXTS, Toml("[]"), "[\"https://app.example.org\"]",
        "Origins of pages that may send requests besides its own; `\"*\"`: any."),
    key("max_body", Kind::Size, Toml("\"32MiB\""), "\"256MiB\"", "The largest body of a request."),
    key("max_bodies", Kind::Size, Toml("\"1GiB\""), "\"4GiB\"",
        "So much of the bodies of all requests is held at a time, at least `max_body`; a request for which there is no room waits for `body_timeout`."),
    key("default", Kind::Text, Toml("\"\""), "\"qwen\"", "The model for requests that name none; without it, the only one there is."),
    key("max_connections", Kind::Integer(1, u32::MAX as i64), Toml("4096"), "100",
        "So many connections of clients may be open at a time.").counts("connections"),
    key("header_timeout", TIME, Toml("\"10s\""), "\"30s\"", "The longest time a client may take for the head of a request, from its first byte on."),
    key("body_timeout", TIME, Toml("\"30s\""), "\"2m\"", "The longest silence in the middle of a request's body."),
    key("keep_alive", TIME, Toml("\"75s\""), "\"10s\"", "How long a connection stays open without a request."),
];

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("name", Kind::Text, Required, "\"app\"", "Its name, which logs and `magictl requests` show."),
    key("hash", Kind::Text, Required, "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
        "The hash of the key, which is not kept itself."),
    key("scopes", SCOPES, Required, "[\"inference\", \"read\"]",
        "What it may do: send requests to models, look at servers and metrics, or change them too."),
    key("models", Kind::List(&Kind::Glob), Toml("[\"*\"]"), "[\"qwen*\"]",
        "Patterns of the servers, aliases and models that it may send requests to."),
];
