//! Reads gateway.toml and the variables that override it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Report, SourceFile, quote};
use super::document::{Table, parse, wrong};
use super::environment::{Environment, Overrides};
use super::gateway::{GatewayConfig, Key, Listen, ParsedGateway};
use super::glob::Glob;
use super::key::{KeyHash, Scope};
use super::locations::{Locations, beside};
use super::value::{Positive, Size, Value, Word};
use crate::name::ServerName;

/// The variable that is a key, and its name.
const API_KEY: &str = "MAGI_API_KEY";

/// A shorter one can be guessed.
const SHORTEST_KEY: usize = 16;

/// So many may there be: each is compared with that of each request.
const MAX_KEYS: usize = 1000;

/// What to write for a key.
const HELP: &str = "write [[keys]], or let `magictl keys create NAME --scope inference` do it";

/// Reads gateway.toml, if there is one, and the environment.
///
/// # Errors
///
/// Everything that is wrong, in the file and in variables.
pub fn parse_gateway(
    file: Option<&SourceFile>,
    env: &Environment,
    locations: &Locations,
) -> Result<ParsedGateway, Vec<Diagnostic>> {
    let absent = SourceFile {
        path: locations.gateway_file(),
        text: String::new(),
    };
    let file = file.unwrap_or(&absent);
    let mut report = Report::new(file);
    let mut overrides = Overrides::new(env);
    let mut warnings = Vec::new();
    let tree = parse(&file.text, &mut report);
    let base = beside(&file.path);
    let gateway = read(
        Table::new(&tree),
        base,
        &mut overrides,
        &mut warnings,
        &mut report,
    );
    let mut errors = overrides.errors;
    match report.finish(gateway) {
        Ok(gateway) if errors.is_empty() => Ok(ParsedGateway {
            gateway,
            overridden: overrides.keys,
            warnings,
        }),
        Ok(_) => Err(errors),
        Err(mut in_file) => {
            in_file.append(&mut errors);
            Err(in_file)
        }
    }
}

fn read(
    mut root: Table<'_>,
    base: &Path,
    overrides: &mut Overrides<'_>,
    warnings: &mut Vec<Diagnostic>,
    report: &mut Report<'_>,
) -> GatewayConfig {
    let default = GatewayConfig::default();
    let written = listen(&mut root, base, report);
    let allow_open = root.get::<bool>("allow_open", report);
    let allowed_hosts = root.list::<Host>("allowed_hosts", report);
    let cors_origins = root.list::<WebOrigin>("cors_origins", report);
    let max_body = root.get::<Size>("max_body", report);
    let max_body = max_body.map_or(default.max_body, |size| size.into_inner().0);
    let max_bodies = max_bodies(&mut root, max_body, report);
    let model = root.get::<String>("default", report);
    let max_connections = root.get::<NonZeroU32>("max_connections", report);
    let mut time = |key, default| {
        root.get::<Positive>(key, report)
            .map_or(default, |time: Spanned<Positive>| time.into_inner().0)
    };
    let header_timeout: Duration = time("header_timeout", default.header_timeout);
    let body_timeout = time("body_timeout", default.body_timeout);
    let keep_alive = time("keep_alive", default.keep_alive);
    let (written_keys, mut keys) = keys(&mut root, report);
    root.finish(report);
    keys.extend(key_of_variable(overrides, warnings));
    let open: Option<Switch> = overrides.take("allow_open", &["MAGI_ALLOW_OPEN"]);
    let open = open.map(|switch| switch.0);
    let moved = listen_of_variables(&written, overrides);
    let spans = match &moved {
        Some(_) => Vec::new(),
        None => written.iter().map(Spanned::span).collect(),
    };
    let written = written.into_iter().map(Spanned::into_inner).collect();
    let config = GatewayConfig {
        listen: Some(moved.unwrap_or(written))
            .filter(|all: &Vec<_>| !all.is_empty())
            .unwrap_or(default.listen),
        allow_open: open
            .or(allow_open.map(Spanned::into_inner))
            .unwrap_or(default.allow_open),
        allowed_hosts: inner(allowed_hosts, |host| host.0),
        cors_origins: inner(cors_origins, |origin| origin.0),
        max_body,
        max_bodies: max_bodies.unwrap_or(default.max_bodies.max(max_body)),
        default: model.map_or(default.default, Spanned::into_inner),
        max_connections: max_connections
            .map_or(default.max_connections, |count| count.into_inner().get()),
        header_timeout,
        body_timeout,
        keep_alive,
        keys,
    };
    // Keys that are wrong are told of already, and are meant to be there.
    if written_keys == 0 {
        refuse_open(&config, &spans, overrides, report);
    }
    if config.keys.is_empty() && config.cors_origins.iter().any(|origin| origin == "*") {
        warnings.push(Diagnostic::warning(
            "any page that somebody opens on this machine can use every model: `cors_origins` has \"*\", and \
             there are no keys",
            "name the origins, or run `magictl keys create NAME --scope inference`",
        ));
    }
    config
}

fn inner<T, U>(list: Option<Vec<Spanned<T>>>, value: impl Fn(T) -> U) -> Vec<U> {
    let list = list.unwrap_or_default().into_iter();
    list.map(|item| value(item.into_inner())).collect()
}

/// What the file says of all bodies together. Less than one body would refuse what `max_body` allows.
fn max_bodies(root: &mut Table<'_>, max_body: u64, report: &mut Report<'_>) -> Option<u64> {
    let size = root.get::<Size>("max_bodies", report)?;
    if size.get_ref().0 < max_body {
        let message = "`max_bodies` cannot be less than `max_body`";
        let help = format!("write {max_body} bytes or more, or a smaller `max_body`");
        report.error(size.span(), message, help);
    }
    Some(size.into_inner().0)
}

/// Where the file says to listen; nothing if it does not.
fn listen(root: &mut Table<'_>, base: &Path, report: &mut Report<'_>) -> Vec<Spanned<Listen>> {
    let Some(mut all) = root.list::<Listen>("listen", report) else {
        return Vec::new();
    };
    if let (true, Some(value)) = (all.is_empty(), root.raw("listen"))
        && value
            .get_ref()
            .as_array()
            .is_some_and(|items| items.is_empty())
    {
        let help = "write at least one address, or leave the key out";
        report.error(value.span(), "`listen` cannot be empty", help);
    }
    let mut seen = BTreeSet::new();
    for listen in &mut all {
        if let Listen::Unix(path) = listen.get_mut() {
            *path = base.join(&*path);
        }
        if !seen.insert(listen.get_ref().clone()) {
            let twice = format!("cannot listen on {} twice", listen.get_ref());
            report.error(listen.span(), twice, "remove one of the two");
        }
    }
    all
}

/// What `BACKEND_HOST` and `BACKEND_PORT` say; one of them leaves the other as it is written.
fn listen_of_variables(
    written: &[Spanned<Listen>],
    overrides: &mut Overrides<'_>,
) -> Option<Vec<Listen>> {
    let host: Option<HostAddress> = overrides.take("listen", &["BACKEND_HOST"]);
    let port: Option<NonZeroU16> = overrides.take("listen", &["BACKEND_PORT"]);
    if host.is_none() && port.is_none() {
        return None;
    }
    let of_file = written.iter().find_map(|listen| match listen.get_ref() {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    });
    let mut address = of_file.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)));
    if let Some(host) = host {
        address.set_ip(host.0);
    }
    if let Some(port) = port {
        address.set_port(port.get());
    }
    Some(vec![Listen::Tcp(address)])
}

/// Whoever reaches a gateway without keys can use every model, so it has to be asked for.
fn refuse_open(
    config: &GatewayConfig,
    spans: &[std::ops::Range<usize>],
    overrides: &mut Overrides<'_>,
    report: &mut Report<'_>,
) {
    for (at, listen) in config.listen.iter().enumerate() {
        if !config.is_open(listen) {
            continue;
        }
        let message = format!(
            "cannot listen on {listen} without keys: everybody who reaches it could use every model"
        );
        let help = "run `magictl keys create NAME --scope inference` (or set MAGI_API_KEY), or write \
                    `allow_open = true` (or set MAGI_ALLOW_OPEN=1) if that is meant";
        match spans.get(at) {
            Some(span) => report.error(span.clone(), message, help),
            None => overrides.errors.push(Diagnostic::error(message, help)),
        }
    }
}

fn key_of_variable(overrides: &mut Overrides<'_>, warnings: &mut Vec<Diagnostic>) -> Option<Key> {
    // Not as other variables: what is wrong with a secret is told without it.
    let text = overrides.secret("keys", API_KEY)?.trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        overrides.errors.push(Diagnostic::error(
            format!("the variable {API_KEY} cannot have white space or letters beyond ASCII"),
            "set it to letters, digits and signs, or unset it",
        ));
        return None;
    }
    if text.len() < SHORTEST_KEY {
        warnings.push(Diagnostic::warning(
            format!(
                "the key in {API_KEY} is short: it has {} characters",
                text.len()
            ),
            format!("set it to {SHORTEST_KEY} random ones at least"),
        ));
    }
    Some(Key {
        name: API_KEY.to_owned(),
        hash: KeyHash::of(text),
        scopes: Scope::ALL.to_vec(),
        models: Vec::from_iter(Glob::new("*")),
    })
}

/// How many are written down, and those of them that are keys.
fn keys(root: &mut Table<'_>, report: &mut Report<'_>) -> (usize, Vec<Key>) {
    let Some(value) = root.raw("keys") else {
        return (0, Vec::new());
    };
    let Some(items) = value.get_ref().as_array() else {
        wrong("`keys` cannot be", value, HELP, report);
        return (1, Vec::new());
    };
    if let Some(item) = items.get(MAX_KEYS) {
        report.error(
            item.span(),
            format!("cannot have {} tables [[keys]]", items.len()),
            format!("{MAX_KEYS} are allowed"),
        );
        return (1, Vec::new());
    }
    let mut names = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    let read = items
        .iter()
        .filter_map(|item| key(item, &mut names, &mut hashes, report));
    (items.len(), read.collect())
}

fn key(
    item: &Spanned<DeValue<'_>>,
    names: &mut BTreeSet<String>,
    hashes: &mut BTreeSet<KeyHash>,
    report: &mut Report<'_>,
) -> Option<Key> {
    let mut table = Table::at("keys", item, HELP, report);
    if !item.get_ref().is_table() {
        return None;
    }
    let name = key_name(&mut table, item, names, report);
    let hash = key_hash(&mut table, item, hashes, report);
    let scopes = key_scopes(&mut table, item, report);
    let models = table.list::<Glob>("models", report);
    table.finish(report);
    Some(Key {
        name: name?,
        hash: hash?,
        scopes: scopes?,
        models: match models {
            Some(models) => inner(Some(models), |pattern| pattern),
            None => Vec::from_iter(Glob::new("*")),
        },
    })
}

fn missing(key: &str, help: &str, item: &Spanned<DeValue<'_>>, report: &mut Report<'_>) {
    report.error(item.span(), format!("a key has no `{key}`"), help);
}

fn key_name(
    table: &mut Table<'_>,
    item: &Spanned<DeValue<'_>>,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<String> {
    if table.raw("name").is_none() {
        missing(
            "name",
            "write name = \"\u{2026}\": logs show it",
            item,
            report,
        );
        return None;
    }
    let name = table.get::<String>("name", report)?;
    let span = name.span();
    let name = name.into_inner();
    if let Err(error) = ServerName::new(&name) {
        let help = "write letters, digits, '.', '_' and '-'";
        report.error(span, format!("the name of a key {error}"), help);
        return None;
    }
    if name == API_KEY {
        let message = format!("the name of a key cannot be {API_KEY}");
        report.error(
            span,
            message,
            "write another one: it is that of the variable's",
        );
        return None;
    }
    if !names.insert(name.clone()) {
        let message = format!("two keys cannot have the name \"{}\"", quote(&name));
        report.error(span, message, "write another one");
        return None;
    }
    Some(name)
}

/// Whatever is wrong with it is told without it: it may be the key itself.
fn key_hash(
    table: &mut Table<'_>,
    item: &Spanned<DeValue<'_>>,
    hashes: &mut BTreeSet<KeyHash>,
    report: &mut Report<'_>,
) -> Option<KeyHash> {
    let help = "let `magictl keys create NAME --scope inference` make a key, and its hash";
    let Some(value) = table.raw("hash") else {
        missing("hash", help, item, report);
        return None;
    };
    report.hide(value.span());
    let Some(hash) = value.get_ref().as_str().and_then(KeyHash::parse) else {
        let message = "`hash` is not the hash of a key: \"sha256:\" and 64 digits";
        report.error(value.span(), message, help);
        return None;
    };
    if !hashes.insert(hash) {
        let message = "two keys cannot have the same hash";
        report.error(value.span(), message, "remove one of the two");
        return None;
    }
    Some(hash)
}

fn key_scopes(
    table: &mut Table<'_>,
    item: &Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> Option<Vec<Scope>> {
    let Some(value) = table.raw("scopes") else {
        let help = "write scopes = [\"inference\"]; there are inference, read and admin";
        missing("scopes", help, item, report);
        return None;
    };
    let mut scopes = inner(table.list::<Scope>("scopes", report), |scope| scope);
    scopes.sort();
    scopes.dedup();
    if value
        .get_ref()
        .as_array()
        .is_some_and(|list| list.is_empty())
    {
        let help = "write at least one of \"inference\", \"read\" and \"admin\"";
        report.error(value.span(), "`scopes` cannot be empty", help);
        return None;
    }
    Some(scopes)
}

impl Value for Listen {
    const EXPECTED: &'static str = "an address with a port such as \"127.0.0.1:8000\" or \"[::1]:8000\", or \
                                    \"unix:\" and a path";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        if let Some(path) = text.strip_prefix("unix:") {
            return PathBuf::parse(path).map(Self::Unix);
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => (Ipv4Addr::LOCALHOST, port.parse().ok()?).into(),
            None => text.parse().ok()?,
        };
        Some(Self::Tcp(address))
    }
}

/// What `BACKEND_HOST` may be.
struct HostAddress(IpAddr);

impl Value for HostAddress {
    const EXPECTED: &'static str = "an address such as 127.0.0.1, 0.0.0.0 or ::1";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Word for HostAddress {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "localhost" => Some(Self(Ipv4Addr::LOCALHOST.into())),
            text => text.parse().ok().map(Self),
        }
    }
}

/// What `MAGI_ALLOW_OPEN` may be.
struct Switch(bool);

impl Value for Switch {
    const EXPECTED: &'static str = "1 or 0";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Word for Switch {
    fn parse(text: &str) -> Option<Self> {
        match &*text.to_ascii_lowercase() {
            "1" | "true" | "yes" => Some(Self(true)),
            "0" | "false" | "no" => Some(Self(false)),
            _ => None,
        }
    }
}

/// What a `Host` header says, without a port.
struct Host(String);

impl Value for Host {
    const EXPECTED: &'static str =
        "a name without a port such as \"models.example.org\", or \"*\" for any";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let host = value.as_str()?.to_ascii_lowercase();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (host == "*" || !host.is_empty() && host.chars().all(is_name)).then_some(Self(host))
    }
}

/// What an `Origin` header says.
struct WebOrigin(String);

impl Value for WebOrigin {
    const EXPECTED: &'static str =
        "an origin such as \"https://app.example.org\", without a path, or \"*\" for any";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let origin = value.as_str()?.to_ascii_lowercase();
        let is_origin = origin.split_once("://").is_some_and(|(scheme, rest)| {
            let has_no_path = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@');
            let is_word = scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            !scheme.is_empty() && is_word && !rest.is_empty() && rest.chars().all(has_no_path)
        });
        (origin == "*" || is_origin).then_some(Self(origin))
    }
}

impl Value for Scope {
    const EXPECTED: &'static str = "\"inference\", \"read\" or \"admin\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}
