//! Which headers go where.
//!
//! What belongs to one connection stays there (RFC 9110, 7.6.1). A client's key is for the gateway, and
//! a server's key is for nobody else. Who may read an answer in a browser is decided by the gateway
//! alone: a llama-server would let everybody.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};

use crate::table::Incarnation;

/// The id of a request, in its answer and on its way.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Headers that belong to one connection.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that are for the gateway.
const OURS: [HeaderName; 8] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    COOKIE,
    EXPECT,
    ORIGIN,
    REFERER,
];

/// Makes the headers of a client those of a request to any server.
pub(super) fn forward(headers: &mut HeaderMap, id: &HeaderValue, peer: Option<IpAddr>) {
    remove_hop_by_hop(headers);
    for name in &OURS {
        headers.remove(name);
    }
    if let Some(peer) = peer {
        add_forwarded_for(headers, peer);
    }
    let host = headers.remove(HOST);
    if !headers.contains_key(FORWARDED) {
        if let (false, Some(host)) = (headers.contains_key(FORWARDED_HOST), host) {
            headers.insert(FORWARDED_HOST, host);
        }
        if !headers.contains_key(FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
    }
    headers.insert(REQUEST_ID, id.clone());
}

/// Addresses a request to an incarnation.
pub(super) fn address(headers: &mut HeaderMap, to: &Incarnation) {
    headers.insert(HOST, to.host.clone());
    if let Some(authorization) = &to.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
}

/// Makes the headers of a server those of an answer to a client.
pub(super) fn answer(headers: &mut HeaderMap, id: &HeaderValue) {
    remove_hop_by_hop(headers);
    let cors: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in cors {
        headers.remove(name);
    }
    headers.insert(REQUEST_ID, id.clone());
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // What a connection names is its own as well.
    let named: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn add_forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    let before: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .chain([peer.to_string()])
        .collect();
    if let Ok(value) = HeaderValue::try_from(before.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
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

    fn lines(map: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_clients_key_and_what_its_connection_is_about_stay_here() {
        let mut headers = map(&[
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
            ("traceparent", "00-1-2-01"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ]);
        let id = HeaderValue::from_static("7");
        forward(&mut headers, &id, Some([127, 0, 0, 1].into()));
        let expected = [
            "content-type: application/json",
            "traceparent: 00-1-2-01",
            "x-forwarded-for: 10.0.0.1, 10.0.0.2, 127.0.0.1",
            "x-forwarded-host: 127.0.0.1:8000",
            "x-forwarded-proto: http",
            "x-request-id: 7",
        ];
        assert_eq!(lines(&headers), expected);
    }

    #[test]
    fn an_incarnations_own_key_is_sent_to_it() {
        let mut headers = HeaderMap::new();
        let to = Incarnation::new("alpha", 1, "http://127.0.0.1:8080", Some("key")).unwrap();
        address(&mut headers, &to);
        let expected = ["authorization: Bearer key", "host: 127.0.0.1:8080"];
        assert_eq!(lines(&headers), expected);
        assert!(!format!("{to:?}").contains("key\""), "{to:?}");
    }

    #[test]
    fn a_server_does_not_open_its_answers_to_every_page() {
        let mut headers = map(&[
            ("access-control-allow-origin", "https://evil.example"),
            ("access-control-allow-credentials", "true"),
            ("keep-alive", "timeout=5, max=100"),
            ("content-type", "application/json"),
        ]);
        answer(&mut headers, &HeaderValue::from_static("7"));
        let expected = ["content-type: application/json", "x-request-id: 7"];
        assert_eq!(lines(&headers), expected);
    }
}
