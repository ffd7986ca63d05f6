//! Keys of requests.

use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, HeaderMap};
use magid::config::{Key, KeyHash, Scope};
use subtle::ConstantTimeEq;

use super::refuse;
use super::routes::Needs;
use crate::refusal::{Reason, Refusal};
use crate::table::Server;

/// Where clients of Anthropic put their key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The keys there are.
#[derive(Debug)]
pub(super) struct Keys(Vec<Arc<Known>>);

#[derive(Debug)]
struct Known {
    key: Key,
    /// It may be used with every model, which need not be looked at.
    covers_all: bool,
}

/// Who sent a request. By default somebody of whom no key is asked for.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// None: no key is asked for.
    known: Option<Arc<Known>>,
}

impl Caller {
    /// The name of the key. Empty: no key is asked for.
    pub fn name(&self) -> &str {
        self.known.as_ref().map_or("", |known| &known.key.name)
    }

    /// Whether it may look at whatever there is.
    pub fn may_read(&self) -> bool {
        let known = self.known.as_ref();
        known.is_none_or(|known| known.key.allows(Scope::Read))
    }

    /// Whether requests may be sent to that server: whether its name, an alias or its model is one that
    /// the key is for.
    pub fn may_use(&self, server: &Server) -> bool {
        let Some(known) = &self.known else {
            return true;
        };
        let route = &server.route;
        let aliases = route.aliases.iter().chain(&route.model_id);
        let mut names = std::iter::once(&route.server).chain(aliases);
        known.covers_all || names.any(|name| known.key.covers(name))
    }
}

impl Keys {
    pub(super) fn new(keys: &[Key]) -> Self {
        let known = keys.iter().map(|key| {
            Arc::new(Known {
                covers_all: key.models.iter().any(|glob| glob.to_string() == "*"),
                key: key.clone(),
            })
        });
        Self(known.collect())
    }

    /// The caller, if he may do what `needs` says.
    pub(super) fn check(&self, needs: Needs, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.0.is_empty() || needs == Needs::Nothing {
            return Ok(Caller::default());
        }
        let mut sent = sent(headers).peekable();
        if sent.peek().is_none() {
            return refuse(
                Reason::KeyRequired,
                "this gateway asks for a key: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
                    .to_owned(),
            );
        }
        let Some(known) = sent.find_map(|key| self.find(key)) else {
            return refuse(
                Reason::InvalidKey,
                "the key that was sent is none of this gateway's; `magictl keys list` shows those \
                 there are"
                    .to_owned(),
            );
        };
        if !needs.are_met_by(&known.key) {
            return refuse(Reason::KeyScope, lacking(&known.key, needs));
        }
        Ok(Caller {
            known: Some(known.clone()),
        })
    }

    /// The key, in a time that does not tell how much of it was right.
    fn find(&self, key: &[u8]) -> Option<&Arc<Known>> {
        let hash = KeyHash::of(key);
        let mut found = None;
        for known in &self.0 {
            if known.key.hash.bytes().ct_eq(hash.bytes()).into() {
                found = Some(known);
            }
        }
        found
    }
}

/// The keys that a request carries.
fn sent(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let own = headers.get(X_API_KEY).map(|value| value.as_bytes());
    let sent = bearer.into_iter().chain(own);
    sent.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty())
}

fn lacking(key: &Key, needs: Needs) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.code()).collect();
    format!(
        "the key \"{}\" may not do this: it takes the scope {}, and the key has {}",
        key.name,
        needs.scope().code(),
        scopes.join(", ")
    )
}

impl Needs {
    fn are_met_by(self, key: &Key) -> bool {
        match self {
            Self::Nothing | Self::AnyKey => true,
            Self::Inference => key.allows(Scope::Inference),
            Self::Read => key.allows(Scope::Read),
            Self::Admin => key.allows(Scope::Admin),
        }
    }

    /// The scope that is told to whom it lacks.
    fn scope(self) -> Scope {
        match self {
            Self::Nothing | Self::AnyKey | Self::Read => Scope::Read,
            Self::Inference => Scope::Inference,
            Self::Admin => Scope::Admin,
        }
    }
}
