//! gateway.toml.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::glob::Glob;
use super::key::{KeyHash, Scope};

/// What gateway.toml, the environment and the defaults make together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where it listens. At least one.
    pub listen: Vec<Listen>,
    /// Whether it may serve beyond this machine without keys.
    pub allow_open: bool,
    /// What the `Host` header may say besides names of this machine's loopback and addresses; in small
    /// letters, without ports. `*`: anything.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may send requests. `*`: any.
    pub cors_origins: Vec<String>,
    /// The largest body of a request, in bytes.
    pub max_body: u64,
    /// The bytes of all bodies that are held at a time. At least `max_body`.
    pub max_bodies: u64,
    /// The model for requests that name none. Empty: there is none.
    pub default: String,
    /// So many connections of clients may be open at a time.
    pub max_connections: u32,
    /// The longest time a client may take for the head of a request, from its first byte on.
    pub header_timeout: Duration,
    /// The longest silence in the middle of a body.
    pub body_timeout: Duration,
    /// How long a connection stays open without a request.
    pub keep_alive: Duration,
    /// Keys. Without any, none is asked for.
    pub keys: Vec<Key>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// An address. Port 0: whichever is free.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A key of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, which logs show.
    pub name: String,
    /// What is kept of it.
    pub hash: KeyHash,
    /// What it may be used for. At least one.
    pub scopes: Vec<Scope>,
    /// The models that it may be used with: names of servers, aliases or ids of models.
    pub models: Vec<Glob>,
}

/// What [`parse_gateway`](super::parse_gateway) made out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedGateway {
    /// The configuration.
    pub gateway: GatewayConfig,
    /// `key (VARIABLE)` of each key that a variable determined.
    pub overridden: Vec<String>,
    /// What is probably not as it was meant.
    pub warnings: Vec<Diagnostic>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Tcp((Ipv4Addr::LOCALHOST, 8000).into())],
            allow_open: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            max_body: 32 << 20,
            max_bodies: 1 << 30,
            default: String::new(),
            max_connections: 4096,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            keys: Vec::new(),
        }
    }
}

impl GatewayConfig {
    /// Whether everybody who reaches `listen` could use everything, though nobody said that he may.
    pub fn is_open(&self, listen: &Listen) -> bool {
        listen.is_reached_from_elsewhere() && self.keys.is_empty() && !self.allow_open
    }
}

impl Listen {
    /// Whether other machines may reach it.
    pub fn is_reached_from_elsewhere(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

/// As it is written in gateway.toml.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Key {
    /// Whether it may be used for that.
    pub fn allows(&self, scope: Scope) -> bool {
        let implied = scope == Scope::Read && self.scopes.contains(&Scope::Admin);
        implied || self.scopes.contains(&scope)
    }

    /// Whether it may be used with the model of this name.
    pub fn covers(&self, name: &str) -> bool {
        self.models.iter().any(|pattern| pattern.matches(name))
    }
}
