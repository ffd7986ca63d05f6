//! Who may send which request.
//!
//! Three questions, in this order, and before anything of the body is read:
//!
//! 1. *Is the gateway meant?* A page of anybody's can give its own name this machine's address, and its
//!    requests come from this machine then (`hosts`). They still say whom they are for.
//! 2. *May that page?* Browsers send requests of any page to any address, and only keep the answer from
//!    it (`hosts`). So a page of another origin is refused unless it is one that was named.
//! 3. *Is there a key, and may it do this?* If there are keys, there is no way around them, also on
//!    loopback (`keys`, `routes`). Which models it may use is asked when the body is read.
//!
//! An [`Access`] is a value made of gateway.toml; a new one takes its place when that changes.

mod hosts;
mod keys;
mod routes;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use magid::config::GatewayConfig;

use crate::refusal::{Reason, Refusal};
use hosts::Hosts;
use keys::Keys;

pub use keys::Caller;
pub use routes::{Needs, needs};

/// How long a browser may remember what was allowed, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The headers of answers that pages may read.
const EXPOSED: &str = "x-request-id, retry-after";

/// The methods that there are.
const METHODS: &str = "GET, POST, PUT, DELETE";

/// Who may send which request.
#[derive(Debug)]
pub struct Access {
    hosts: Hosts,
    keys: Keys,
}

/// What was decided of one request.
#[derive(Debug)]
pub struct Admission {
    /// What the answer must say for the page to read it, whatever it is.
    pub cors: Cors,
    /// Whether the request may go on.
    pub entry: Result<Entry, Refusal>,
}

/// A request that may go on.
#[derive(Debug)]
pub enum Entry {
    /// A browser asks what it may; this is the answer.
    Preflight(Response<Bytes>),
    /// Somebody asks.
    Caller(Caller),
}

/// The origin that an answer is for, if it is another than the gateway's own and allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors(Option<HeaderValue>);

impl Access {
    /// What gateway.toml says.
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            hosts: Hosts::new(&config.allowed_hosts, &config.cors_origins),
            keys: Keys::new(&config.keys),
        }
    }

    /// Decides of a request by its head.
    pub fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Admission {
        let cors = match self.hosts.check(uri, headers) {
            Ok(origin) => Cors(origin),
            Err(refusal) => {
                return Admission {
                    cors: Cors::default(),
                    entry: Err(refusal),
                };
            }
        };
        let entry = match cors.preflight(method, headers) {
            Some(answer) => Ok(Entry::Preflight(answer)),
            None => self.caller(method, uri, headers).map(Entry::Caller),
        };
        Admission { cors, entry }
    }

    fn caller(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Refusal> {
        // What the table does not know is for those who may do everything.
        let needs = needs(method, uri.path()).unwrap_or(Needs::Admin);
        self.keys.check(needs, headers)
    }
}

impl Cors {
    /// Lets the page read the answer with these headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.0 else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }

    /// The answer to a browser that asks before it sends a request. None: it does not.
    fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if method != Method::OPTIONS || !asks || self.0.is_none() {
            return None;
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        answer.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static(PREFLIGHT_SECONDS),
        );
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        Some(response)
    }
}

/// A piece of a request, fit for a message.
fn told(text: &[u8]) -> String {
    const MAX_TOLD: usize = 100;
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_TOLD)]);
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn refuse<T>(reason: Reason, message: String) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

#[cfg(test)]
mod tests;
