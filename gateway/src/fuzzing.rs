//! What must hold whatever a client sends.
//!
//! Each function takes any bytes and panics if a promise is broken. `fuzz/` has libFuzzer make them up
//! (`cargo xtask fuzz`); the tests make up a bounded number of them.

use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use magid::config::{GatewayConfig, Key, KeyHash, Scope};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::access::{Access, Entry};
use crate::body::{BodyError, Walk};
use crate::http1::answer::{self, Head};
use crate::http1::{may_end, request};

/// The only key there is.
const KEY: &str = "magi_key";

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    Access::new(&GatewayConfig {
        keys: vec![Key {
            name: "key".to_owned(),
            hash: KeyHash::of(KEY),
            scopes: vec![Scope::Inference],
            models: Vec::new(),
        }],
        ..GatewayConfig::default()
    })
});

/// A head gets past keys with the key only, past `Host` under a name that is nobody else's, and past
/// `Origin` from the gateway's own pages. The lines are the path, `Host`, `Origin` and `Authorization`.
pub fn request_head(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let Some(uri) = lines.next().and_then(|line| Uri::try_from(line).ok()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for (name, line) in [HOST, ORIGIN, AUTHORIZATION].into_iter().zip(lines) {
        if let (false, Ok(value)) = (line.is_empty(), HeaderValue::from_bytes(line)) {
            headers.insert(name, value);
        }
    }
    let admission = ACCESS.admit(&Method::POST, &uri, &headers);
    let Ok(entry) = admission.entry else {
        return;
    };
    let Entry::Caller(caller) = entry else {
        panic!("it is no preflight");
    };
    assert_eq!(caller.name(), "key");
    let text = |name| headers.get(name).map(HeaderValue::as_bytes);
    let sent = text(AUTHORIZATION).expect("there is no other place for the key");
    assert!(sent.ends_with(KEY.as_bytes()) || sent.trim_ascii().ends_with(KEY.as_bytes()));
    if let Some(host) = text(HOST) {
        let host = String::from_utf8(host.to_ascii_lowercase()).expect("names are ASCII");
        assert!(
            host.contains("localhost") || host.contains(|c: char| c.is_ascii_digit() || c == ':')
        );
    }
    if let Some(origin) = text(ORIGIN) {
        let host = text(HOST).expect("without a name no origin is the gateway's own");
        assert!(
            origin
                .to_ascii_lowercase()
                .ends_with(&host.to_ascii_lowercase())
        );
    }
}

/// A body asks for the same as it does for `serde_json`, or is refused.
pub fn request_body(data: &[u8]) {
    let theirs: Result<Members, _> = serde_json::from_slice(data);
    let asked = Walk::default().find(data);
    // It is the same however it comes.
    let step = data.len() % 13 + 1;
    let mut walk = Walk::default();
    (0..data.len())
        .step_by(step)
        .for_each(|length| walk.look(&data[..length]));
    assert_eq!(walk.find(data), asked);
    match (asked, theirs) {
        (Ok(asked), Ok(members)) => {
            assert_eq!(
                members.all("model"),
                Vec::from_iter(asked.model.map(|model| Value::from(&*model))),
            );
            let stream = members.all("stream");
            assert!(stream.len() < 2);
            assert_eq!(asked.stream, stream == [Value::Bool(true)]);
        }
        // How large a number may be is the business of whom it is for.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("number out of range")),
        (Err(BodyError::DuplicateModel), Ok(members)) => {
            assert!(members.all("model").len() > 1);
        }
        (Err(BodyError::DuplicateStream), Ok(members)) => {
            assert!(members.all("stream").len() > 1);
        }
        (Err(BodyError::ModelNotAString), Ok(members)) => {
            assert!(!members.all("model").iter().all(Value::is_string));
        }
        (Err(BodyError::InvalidJson { .. }), Ok(_)) => panic!("it is JSON"),
        (Err(_), Err(_)) => {}
    }
}

/// The answer of a server is the same however it comes. The first byte says in how small pieces.
pub fn upstream_answer(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    let at_once = read_answer(data, data.len());
    let in_pieces = read_answer(data, usize::from(step) + 1);
    assert_eq!(at_once, in_pieces);
}

/// A request of a client is the same however it comes. The first byte says in how small pieces.
pub fn client_request(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    let at_once = read_request(data, data.len());
    let in_pieces = read_request(data, usize::from(step) + 1);
    assert_eq!(at_once, in_pieces);
}

/// The method, the address, the headers and the body of a request, and whether that is all of it. None: there is none.
type Asked = Option<(Method, Uri, HeaderMap, Vec<u8>, bool)>;

fn read_request(data: &[u8], step: usize) -> Asked {
    let mut received = Bytes::new();
    let mut head: Option<request::Head> = None;
    let mut body = Vec::new();
    for piece in data.chunks(step.max(1)) {
        let before = received.len();
        received = Bytes::from([&received, piece].concat());
        if head.is_none()
            && (before == 0 || may_end(&received, before))
            && let Some((new, length)) = request::head(&received).ok()?
        {
            received.advance(length);
            head = Some(new);
        }
        if let Some(head) = &mut head {
            while let Some(piece) = head.body.take(&mut received).ok()? {
                body.extend_from_slice(&piece);
            }
            if head.body.is_over() {
                break;
            }
        }
    }
    let head = head?;
    let (parts, ()) = head.request.into_parts();
    let is_over = head.body.is_over();
    Some((parts.method, parts.uri, parts.headers, body, is_over))
}

/// The status, the headers and the body of an answer, and whether that is all of it. None: it is no HTTP.
type Read = Option<(Option<StatusCode>, HeaderMap, Vec<u8>, bool)>;

fn read_answer(data: &[u8], step: usize) -> Read {
    let mut received = Bytes::new();
    let mut head: Option<Head> = None;
    let mut body = Vec::new();
    for piece in data.chunks(step.max(1)) {
        received = Bytes::from([&received, piece].concat());
        if head.is_none()
            && let Some((new, length)) = answer::head(&received, &Method::POST, |_| false).ok()?
        {
            received.advance(length);
            head = Some(new);
        }
        if let Some(head) = &mut head {
            while let Some(piece) = head.body.take(&mut received).ok()? {
                body.extend_from_slice(&piece);
            }
        }
    }
    Some(match head {
        Some(mut head) => (Some(head.status), head.headers, body, head.body.close()),
        None => (None, HeaderMap::new(), body, false),
    })
}

/// The members of an object, duplicates and all.
struct Members(Vec<(String, Value)>);

impl Members {
    fn all(&self, name: &str) -> Vec<Value> {
        let named = self.0.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.clone()).collect()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// What bodies are made of.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\"model\"",
        "\"stream\"",
        "\"mod\\u0065l\"",
        "\"a\"",
        "\"",
        "\\",
        "\\u",
        "\\ud83d\\ude00",
        "\\ud800",
        "true",
        "false",
        "null",
        "0",
        "-1",
        "1e5",
        "1e999",
        ".5",
        "\n",
        "\u{e4}",
        "\u{feff}",
        "\u{0}",
        "{\"model\":\"b\"}",
        "[[],{}]",
    ];

    fn body() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(PIECES);
        let anything = prop::collection::vec(piece.clone(), 0..30).prop_map(|all| all.concat());
        let value = prop_oneof![
            Just("\"x\"".to_owned()),
            Just("true".to_owned()),
            Just("[{\"model\":1}]".to_owned()),
            piece.prop_map(str::to_owned),
        ];
        let name = prop::sample::select(&["model", "stream", "m\\u006fdel", "messages"]);
        let member = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        let members = prop::collection::vec(member, 0..4);
        prop_oneof![
            anything,
            members.prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    }

    fn head() -> impl Strategy<Value = String> {
        let path =
            prop::sample::select(&["/v1/messages", "/api/x", "http://evil.example/x", "/health"]);
        let host = prop::sample::select(&[
            "localhost:8000",
            "127.0.0.1",
            "[::1]:1",
            "evil.example",
            "",
            "[::1",
        ]);
        let origin =
            prop::sample::select(&["", "http://localhost:8000", "null", "https://evil.example"]);
        let key = prop::sample::select(&[
            "Bearer magi_key",
            "bearer  magi_key ",
            "magi_key",
            "Bearer magi",
            "Bearer ",
        ]);
        let head = (path, host, origin, key);
        (head, "[ -~]{0,3}", any::<prop::sample::Index>()).prop_map(
            |((path, host, origin, key), more, at)| {
                let mut head = format!("{path}\n{host}\n{origin}\n{key}");
                head.insert_str(at.index(head.len() + 1), &more);
                head
            },
        )
    }

    fn answer() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 204 \r\n",
            "content-length: 3\r\n",
            "transfer-encoding: chunked\r\n",
            "connection: close, x\r\n",
            "x: y\r\n",
            "\r\n",
            "3\r\nabc\r\n",
            "2;a=b\r\nab",
            "0\r\n",
            "abc",
            "\r",
            "\n",
            "f",
        ];
        const BEGINNINGS: &[&str] = &[
            "\u{0}",
            "\u{5}HTTP/1.1 200 OK\r\n",
            "\u{0}HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ];
        let piece = prop::sample::select(PIECES);
        let begin = prop::sample::select(BEGINNINGS);
        (begin, prop::collection::vec(piece, 0..12))
            .prop_map(|(begin, pieces)| format!("{begin}{}", pieces.concat()))
    }

    fn request() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "POST /v1/messages HTTP/1.1\r\n",
            "GET http://a/b?c HTTP/1.0\n",
            "host: a\r\n",
            "content-length: 3\r\n",
            "transfer-encoding: chunked\r\n",
            "expect: 100-continue\n",
            "connection: close\r\n",
            "\r\n",
            "\n",
            "\r",
            "abc",
            "3\r\nabc\r\n",
            "0\r\n",
        ];
        const BEGINNINGS: &[&str] = &[
            "\u{0}",
            "\u{3}\r\nPOST / HTTP/1.1\r\n",
            "\u{0}POST / HTTP/1.1\r\ncontent-length: 3\r\n",
            "\u{1}POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ];
        let begin = prop::sample::select(BEGINNINGS);
        let piece = prop::sample::select(PIECES);
        (begin, prop::collection::vec(piece, 0..12))
            .prop_map(|(begin, pieces)| format!("{begin}{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_body_is_read_as_others_read_it(body in body()) {
            super::request_body(body.as_bytes());
        }

        #[test]
        fn an_answer_is_the_same_however_it_comes(answer in answer()) {
            super::upstream_answer(answer.as_bytes());
        }

        #[test]
        fn a_request_is_the_same_however_it_comes(request in request()) {
            super::client_request(request.as_bytes());
        }

        #[test]
        fn nothing_gets_past_without_the_key(head in head()) {
            super::request_head(head.as_bytes());
        }
    }
}
