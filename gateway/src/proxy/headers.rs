//! Which headers go where.
//!
//! What belongs to one connection stays there (RFC 9110, 7.6.1). A client's key is for the gateway, and
//! a server's key is for nobody else. Who may read an answer in a browser is decided by the gateway
//! alone: a llama-server would let everybody.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use crate::http1::{tokens, write};
use crate::table::Incarnation;

/// The id of a request, in its answer and on its way.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a request is forwarded with, beside what its client said.
pub(super) struct Forwarded<'a> {
    pub(super) id: &'a HeaderValue,
    /// The client's address.
    pub(super) peer: Option<&'a str>,
    /// How long the body is, in bytes. None: there is none.
    pub(super) length: Option<usize>,
}

/// Writes the headers of a client's request as those of a request to any server.
pub(super) fn forward(head: &mut Vec<u8>, client: &HeaderMap, with: &Forwarded<'_>) {
    let named = named(client);
    let (mut host, mut knows_host, mut knows_scheme) = (None, false, false);
    for (name, value) in client {
        let name = name.as_str();
        match name {
            "host" => host = Some(value),
            "forwarded" => (knows_host, knows_scheme) = (true, true),
            "x-forwarded-host" => knows_host = true,
            "x-forwarded-proto" => knows_scheme = true,
            _ => {}
        }
        let is_named = named.iter().any(|named| named.eq_ignore_ascii_case(name));
        if !is_of_connection(name) && !is_ours(name) && !is_named {
            write::header(head, name, value.as_bytes());
        }
    }
    if let (Some(host), false) = (host, knows_host) {
        write::header(head, "x-forwarded-host", host.as_bytes());
    }
    if !knows_scheme {
        write::header(head, "x-forwarded-proto", b"http");
    }
    add_forwarded_for(head, client, with.peer);
    write::header(head, "x-request-id", with.id.as_bytes());
    if let Some(length) = with.length {
        write::header(head, "content-length", length.to_string().as_bytes());
    }
}

/// Addresses a request to an incarnation, and ends its head.
pub(super) fn address(head: &mut Vec<u8>, to: &Incarnation) {
    write::header(head, "host", to.host.as_bytes());
    if let Some(authorization) = &to.authorization {
        write::header(head, "authorization", authorization.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
}

/// Whether a header of an answer stays here.
pub(super) fn stays(name: &str) -> bool {
    is_of_connection(name) || name == REQUEST_ID || name.starts_with("access-control-")
}

/// Whether a header belongs to one connection, or is written anew for each.
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a header is for the gateway, or is written by it.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "proxy-authorization"
            | "x-api-key"
            | "api-key"
            | "cookie"
            | "expect"
            | "origin"
            | "referer"
            | "host"
            | "content-length"
            | "x-request-id"
            | "x-forwarded-for"
    )
}

/// The names of headers in `Connection`, which belong to it as well.
fn named(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(CONNECTION).iter();
    let tokens = values.flat_map(|value| tokens(value.as_bytes()));
    let is_name = |token: &&str| !token.eq_ignore_ascii_case("keep-alive");
    tokens.filter(is_name).collect()
}

fn add_forwarded_for(head: &mut Vec<u8>, client: &HeaderMap, peer: Option<&str>) {
    let before = client.get_all(FORWARDED_FOR).iter();
    let mut separator: &[u8] = b"x-forwarded-for: ";
    for address in before
        .map(HeaderValue::as_bytes)
        .chain(peer.map(str::as_bytes))
    {
        head.extend_from_slice(separator);
        head.extend_from_slice(address);
        separator = b", ";
    }
    if separator == b", " {
        head.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn lines(client: &HeaderMap, key: Option<&str>) -> Vec<String> {
        let to = Incarnation::new("alpha", 1, "http://127.0.0.1:8080", key).unwrap();
        let with = Forwarded {
            id: &HeaderValue::from_static("7"),
            peer: Some("127.0.0.1"),
            length: Some(12),
        };
        let mut head = Vec::new();
        forward(&mut head, client, &with);
        address(&mut head, &to);
        let text = String::from_utf8(head).unwrap();
        let mut lines: Vec<_> = text
            .strip_suffix("\r\n\r\n")
            .unwrap()
            .split("\r\n")
            .collect();
        lines.sort_unstable();
        lines.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_clients_key_and_what_its_connection_is_about_stay_here() {
        let headers = map(&[
            ("host", "127.0.0.1:8000"),
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "a=b"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("content-type", "application/json"),
            ("content-length", "99"),
            ("transfer-encoding", "chunked"),
            ("x-request-id", "mine"),
            ("traceparent", "00-1-2-01"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ]);
        let expected = [
            "content-length: 12",
            "content-type: application/json",
            "host: 127.0.0.1:8080",
            "traceparent: 00-1-2-01",
            "x-forwarded-for: 10.0.0.1, 10.0.0.2, 127.0.0.1",
            "x-forwarded-host: 127.0.0.1:8000",
            "x-forwarded-proto: http",
            "x-request-id: 7",
        ];
        assert_eq!(lines(&headers, None), expected);
    }

    #[test]
    fn what_another_proxy_says_of_the_client_is_kept() {
        let headers = map(&[("host", "a"), ("forwarded", "for=10.0.0.1;host=b")]);
        let expected = [
            "content-length: 12",
            "forwarded: for=10.0.0.1;host=b",
            "host: 127.0.0.1:8080",
            "x-forwarded-for: 127.0.0.1",
            "x-request-id: 7",
        ];
        assert_eq!(lines(&headers, None), expected);
    }

    #[test]
    fn an_incarnations_own_key_is_sent_to_it() {
        let lines = lines(&HeaderMap::new(), Some("key"));
        assert!(lines.contains(&"authorization: Bearer key".to_owned()));
        let to = Incarnation::new("alpha", 1, "http://127.0.0.1:8080", Some("key")).unwrap();
        assert!(!format!("{to:?}").contains("key\""), "{to:?}");
    }
}
