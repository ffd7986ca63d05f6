//! Whom a request is for, and which page sent it.
//!
//! A page that rebinds its name to this machine is still called by its name, so a `Host` that is an
//! address, or a name that cannot be anybody else's, is never such a page.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{HeaderName, Uri};

use super::{refuse, told};
use crate::refusal::{Reason, Refusal};

/// Any.
const ANY: &str = "*";

/// What sent a request that has no `Origin`, as browsers tell.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What for.
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The names of the gateway, and the origins that are let in.
#[derive(Debug)]
pub(super) struct Hosts {
    /// In small letters.
    names: Vec<String>,
    /// In small letters.
    origins: Vec<String>,
}

impl Hosts {
    pub(super) fn new(names: &[String], origins: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            origins: origins.to_vec(),
        }
    }

    /// The origin that the answer has to name.
    pub(super) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Refusal> {
        let in_line = uri
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let in_headers = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        for host in in_line.into_iter().chain(in_headers) {
            if !self.is_ours(host) {
                return refuse(Reason::HostNotAllowed, not_ours(host));
            }
        }
        self.check_origin(headers)
    }

    fn is_ours(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let name = without_port(host).to_ascii_lowercase();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_loopback = name == "localhost" || name.ends_with(".localhost");
        is_address || is_loopback || self.names.iter().any(|ours| ours == name || ours == ANY)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return match is_embedded(headers) {
                true => refuse(
                    Reason::OriginNotAllowed,
                    "a page of another site may not send this without saying which it is"
                        .to_owned(),
                ),
                false => Ok(None),
            };
        };
        let is_listed = |text: &str| {
            self.origins
                .iter()
                .any(|known| known == text || known == ANY)
        };
        let text = origin.to_str().map(str::to_ascii_lowercase);
        match text {
            Ok(_) if origins.next().is_some() => {}
            Ok(text) if is_own(&text, headers) => return Ok(None),
            Ok(text) if is_listed(&text) => return Ok(Some(origin.clone())),
            Ok(_) | Err(_) => {}
        }
        let origin = told(origin.as_bytes());
        refuse(
            Reason::OriginNotAllowed,
            format!(
                "pages of {origin} may not send requests; write `cors_origins = [\"{origin}\"]` into \
                 gateway.toml if they may"
            ),
        )
    }
}

fn not_ours(host: &[u8]) -> String {
    let host = told(host);
    let name = without_port(&host);
    format!(
        "\"{host}\" is no name of this gateway; write `allowed_hosts = [\"{name}\"]` into gateway.toml if it is"
    )
}

/// Whether the page is the gateway's own. Which scheme it has is up to what is before the gateway.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (origin.split_once("://"), host) {
        (Some((_, authority)), Some(host)) => authority.eq_ignore_ascii_case(host),
        (None, _) | (_, None) => false,
    }
}

/// Whether a page of another site asks for this as a part of itself: such a request names no origin. That
/// somebody follows a link is no such request.
fn is_embedded(headers: &HeaderMap) -> bool {
    let is = |name, value: &str| headers.get(name).is_some_and(|found| found == value);
    is(SITE, "cross-site") && !is(MODE, "navigate")
}

fn without_port(host: &str) -> &str {
    match host.find(']') {
        // What is behind an address in brackets is a port, or nothing that parses as an address.
        Some(end) if host[end + 1..].is_empty() || host[end + 1..].starts_with(':') => {
            &host[..=end]
        }
        Some(_) => host,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}
