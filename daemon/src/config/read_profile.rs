//! Reads profiles.
//!
//! What a server or a `[[select]]` does not say, `[defaults]` says for it. Values and lists are
//! replaced as a whole, the tables `env` and `restart` key by key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::num::NonZeroU16;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::builtin::BUILTIN;
use super::daemon::DaemonConfig;
use super::diagnostic::{Diagnostic, Report, SourceFile, quote};
use super::document::{Entry, Table, parse, unknown_key};
use super::layer::Layer;
use super::locations::beside;
use super::profile::{ParsedProfile, Profile, Replace, ServerConfig};
use super::read_select;
use super::settings::Key;
use super::value::ModelName;
use crate::lifecycle::RestartPolicy;
use crate::name::{Alias, ServerName};

/// So many servers may one profile have.
pub const MAX_SERVERS: usize = 1000;

/// What `[defaults]` says is copied into each server; this much may all copies take, in bytes.
pub(super) const MAX_COPIES: usize = 16 * 1024 * 1024;

/// Reads a profile. `name` is the stem of its file.
///
/// # Errors
///
/// Everything that is wrong.
pub fn parse_profile(
    name: &str,
    file: &SourceFile,
    daemon: &DaemonConfig,
) -> Result<ParsedProfile, Vec<Diagnostic>> {
    let refused = |message, help: &str| {
        let origin = Report::new(file).origin(0..0);
        Err(vec![Diagnostic::error(message, help).at(origin)])
    };
    if name == BUILTIN {
        let message = format!("a file cannot be the profile `{BUILTIN}`: magid has it without one");
        return refused(message, "give the file another name");
    }
    if let Err(error) = ServerName::new(name) {
        return refused(format!("the name of a profile {error}"), "rename the file");
    }
    read_text(name, file, &daemon.restart)
}

/// Reads a profile, whatever it is called.
pub(super) fn read_text(
    name: &str,
    file: &SourceFile,
    restart: &RestartPolicy,
) -> Result<ParsedProfile, Vec<Diagnostic>> {
    let mut report = Report::new(file);
    let tree = parse(&file.text, &mut report);
    let mut root = Table::new(&tree);
    let description = root
        .get::<String>("description", &mut report)
        .map(Spanned::into_inner);
    let base = beside(&file.path);
    let defaults_at = root.raw("defaults").map_or(0..0, Spanned::span);
    let defaults = defaults(root.table("defaults", &mut report), base, &mut report);
    defaults.check(restart, &mut report);
    let reader = Reader {
        base,
        restart,
        defaults,
        defaults_at,
    };
    let written = server_entries(&mut root, &mut report);
    let selecting = read_select::entries(&mut root, &mut report);
    let mut servers = BTreeMap::new();
    let mut selects = Vec::new();
    if reader.may_copy(written.len() + selecting.len(), &mut report) {
        servers = reader.servers(&written, &mut report);
        selects = read_select::read(&selecting, base, restart, &reader.defaults, &mut report);
    }
    finish_root(root, &mut report);
    let mut warnings = Vec::new();
    if servers.is_empty() && selects.is_empty() {
        warnings.push(Diagnostic::warning(
            format!("the profile {} has no servers", quote(name)),
            "write [servers.NAME] with a `model`, or [[select]]",
        ));
    }
    let profile = report.finish(Profile {
        name: name.to_owned(),
        description,
        path: file.path.clone(),
        servers,
        selects,
    })?;
    Ok(ParsedProfile { profile, warnings })
}

/// Does a file with this text say nothing at all?
///
/// An editor that saves a file may leave it so for a moment; no event applies that.
pub fn is_blank(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim().is_empty()
}

fn server_entries<'t>(root: &mut Table<'t>, report: &mut Report<'_>) -> Vec<Entry<'t>> {
    let Some(value) = root.raw("servers") else {
        return Vec::new();
    };
    let entries = Table::at("servers", value, "write [servers.NAME]", report).entries();
    let Some(entry) = entries.get(MAX_SERVERS) else {
        return entries;
    };
    report.error(
        entry.key_span.clone(),
        format!("cannot have {} servers", entries.len()),
        format!("{MAX_SERVERS} are allowed in a profile"),
    );
    Vec::new()
}

/// A server with the places that are needed to compare it with others.
struct Located {
    name_span: Range<usize>,
    aliases: Vec<Spanned<Alias>>,
    port: Option<Range<usize>>,
    config: ServerConfig,
}

struct Reader<'a> {
    base: &'a Path,
    restart: &'a RestartPolicy,
    defaults: Layer,
    defaults_at: Range<usize>,
}

impl Reader<'_> {
    /// Whether so many servers and selects may have a copy of the defaults.
    fn may_copy(&self, count: usize, report: &mut Report<'_>) -> bool {
        let size = self.defaults.size();
        let may = size.saturating_mul(count) <= MAX_COPIES;
        if !may {
            report.error(
                self.defaults_at.clone(),
                format!("cannot copy `[defaults]` into {count} servers: {size} bytes for each"),
                format!("{MAX_COPIES} bytes are allowed in all: write less, or in the servers that need it"),
            );
        }
        may
    }

    fn servers(
        &self,
        entries: &[Entry<'_>],
        report: &mut Report<'_>,
    ) -> BTreeMap<ServerName, ServerConfig> {
        let mut servers = Vec::new();
        for entry in entries {
            let key = format!("servers.{}", header_key(entry.key));
            let table = Table::at(&key, entry.value, "write a table: [servers.NAME]", report);
            if entry.value.get_ref().is_table() {
                servers.extend(self.server(entry, table, report));
            }
        }
        check_names(&servers, report);
        check_ports(&servers, report);
        servers
            .into_iter()
            .map(|server| (server.config.name.clone(), server.config))
            .collect()
    }

    fn server(
        &self,
        entry: &Entry<'_>,
        mut table: Table<'_>,
        report: &mut Report<'_>,
    ) -> Option<Located> {
        let own = Layer::read(&mut table, self.base, report);
        let own_replace = own.replace.as_ref().map(Spanned::span);
        let layer = own.over(&self.defaults);
        let restart = layer.check(self.restart, report);
        let model = table.get::<ModelName>("model", report);
        let aliases = aliases(&mut table, report);
        let port = table.get::<NonZeroU16>("port", report);
        check_replace(
            &layer,
            own_replace,
            port.as_ref().map(Spanned::span),
            report,
        );
        let mut split = false;
        for unknown in table.unknown() {
            split |= unknown_server_key(Some(entry.key), &unknown, &table, report);
        }
        if table.raw("model").is_none() {
            if split {
                return None;
            }
            let help =
                "write `model`: its name in `magictl models list`, a path, or the name of a file";
            let message = format!("the server {} has no model", quote(entry.key));
            report.error(entry.key_span.clone(), message, help);
        }
        let name = ServerName::new(entry.key).map_err(|error| {
            let message = format!("the name of a server {error}");
            report.error(entry.key_span.clone(), message, "write another name");
        });
        // Without a model there is an error already, but ports and aliases count all the same.
        let model =
            model.unwrap_or_else(|| Spanned::new(entry.key_span.clone(), ModelName(String::new())));
        let defined_at = report.origin(entry.key_span.clone());
        let model_at = report.origin(model.span());
        let server = layer.template(true, restart);
        let server = server.server(name.ok()?, model.into_inner().0, defined_at);
        Some(Located {
            name_span: entry.key_span.clone(),
            port: port.as_ref().map(Spanned::span),
            config: ServerConfig {
                aliases: aliases
                    .iter()
                    .map(|alias| alias.get_ref().clone())
                    .collect(),
                port: port.map(|port| port.into_inner().get()),
                model_at,
                ..server
            },
            aliases,
        })
    }
}

fn defaults(mut table: Table<'_>, base: &Path, report: &mut Report<'_>) -> Layer {
    let layer = Layer::read(&mut table, base, report);
    for entry in table.unknown() {
        match entry.key {
            "model" | "aliases" | "port" => report.error(
                entry.key_span,
                format!("`{}` cannot be a default", entry.key),
                "write it in each server",
            ),
            _ => {
                unknown_server_key(None, &entry, &table, report);
            }
        }
    }
    layer
}

/// Two incarnations at a time cannot have one port.
fn check_replace(
    layer: &Layer,
    own: Option<Range<usize>>,
    port: Option<Range<usize>>,
    report: &mut Report<'_>,
) {
    let blue_green = |written: &Spanned<Replace>| matches!(written.get_ref(), Replace::BlueGreen);
    let (Some(port), true) = (port, layer.replace.as_ref().is_some_and(blue_green)) else {
        return;
    };
    match own {
        Some(own) => report.error(
            own,
            "`replace` cannot be \"blue-green\" beside a fixed `port`",
            "write \"drain-restart\", or remove `port`: then magid chooses one",
        ),
        None => report.error(
            port,
            "`port` cannot be fixed: `replace` of [defaults] is \"blue-green\"",
            "write replace = \"drain-restart\" in this server, or remove `port`: then magid chooses one",
        ),
    }
}

/// A name as it stands in the header of a table.
fn header_key(name: &str) -> String {
    let name = quote(name);
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name
    }
}

fn aliases(table: &mut Table<'_>, report: &mut Report<'_>) -> Vec<Spanned<Alias>> {
    let mut aliases = Vec::new();
    for written in table.list::<String>("aliases", report).unwrap_or_default() {
        match Alias::new(written.get_ref()) {
            Ok(alias) => aliases.push(Spanned::new(written.span(), alias)),
            Err(error) => {
                report.error(
                    written.span(),
                    format!("an alias {error}"),
                    "write another alias",
                );
            }
        }
    }
    aliases
}

/// Server names and aliases share one namespace. Names are unique among themselves: they are keys.
fn check_names(servers: &[Located], report: &mut Report<'_>) {
    let names = servers
        .iter()
        .map(|server| (server.config.name.as_str(), server));
    let names: BTreeMap<_, _> = names.collect();
    let mut taken = BTreeMap::new();
    for server in servers {
        for alias in &server.aliases {
            let word = alias.get_ref().as_str();
            if let Some(other) = names.get(word) {
                let line = report.origin(other.name_span.clone()).line;
                report.error(
                    alias.span(),
                    format!("the alias {word} is the name of a server (line {line})"),
                    "write another alias",
                );
            }
            match taken.entry(word) {
                Slot::Vacant(slot) => {
                    slot.insert((&server.config.name, alias.span()));
                }
                Slot::Occupied(slot) => {
                    let (owner, span) = slot.get().clone();
                    let line = report.origin(span).line;
                    report.error(
                        alias.span(),
                        format!("the alias {word} is taken by {owner} (line {line})"),
                        "keep one of the two",
                    );
                }
            }
        }
    }
}

fn check_ports(servers: &[Located], report: &mut Report<'_>) {
    let mut taken = BTreeMap::new();
    for server in servers {
        let (Some(port), Some(span)) = (server.config.port, &server.port) else {
            continue;
        };
        match taken.entry(port) {
            Slot::Vacant(slot) => {
                slot.insert((&server.config.name, span));
            }
            Slot::Occupied(slot) => {
                let (owner, first) = slot.get();
                let line = report.origin((*first).clone()).line;
                report.error(
                    span.clone(),
                    format!("the port {port} is taken by {owner} (line {line})"),
                    "write another port, or none: then magid chooses one",
                );
            }
        }
    }
}

/// Reports a key that no server has. Is it the rest of a name that TOML split at a dot?
pub(super) fn unknown_server_key(
    server: Option<&str>,
    entry: &Entry<'_>,
    table: &Table<'_>,
    report: &mut Report<'_>,
) -> bool {
    let is_table = entry.value.get_ref().is_table();
    let known = Key::meant_by(entry.key).or_else(|| table.similar(entry.key));
    let known = known.filter(|known| is_table == is_table_key(known));
    let help = match (known, server) {
        (Some(known), _) => format!("write `{known}`"),
        (None, Some(server)) if is_table => {
            let name = quote(&unsplit(server, entry));
            report.error(
                entry.key_span.clone(),
                format!("the name {name} is split at its dot"),
                format!("write [servers.\"{name}\"]"),
            );
            return true;
        }
        (None, _) => {
            "remove it; what llama-server takes beyond these keys goes into `args`".to_owned()
        }
    };
    unknown_key(entry, help, report);
    false
}

fn is_table_key(key: &str) -> bool {
    matches!(key, "env" | "restart")
}

/// The name that became tables within tables.
fn unsplit(server: &str, entry: &Entry<'_>) -> String {
    let mut name = format!("{server}.{}", entry.key);
    let mut value: &DeValue<'_> = entry.value.get_ref();
    while let Some(table) = value.as_table().filter(|table| table.len() == 1)
        && let Some((key, inner)) = table.iter().next()
        && inner.get_ref().is_table()
        && !is_table_key(key.get_ref())
    {
        name = format!("{name}.{}", key.get_ref());
        value = inner.get_ref();
    }
    name
}

fn finish_root(root: Table<'_>, report: &mut Report<'_>) {
    for entry in root.unknown() {
        let is_server = entry.value.get_ref().get("model").is_some();
        let help = match root.similar(entry.key) {
            Some(known) => format!("write `{known}`"),
            None if is_server => format!("write [servers.{}]", quote(entry.key)),
            None => "remove it; known here: description, defaults, servers, select".to_owned(),
        };
        unknown_key(&entry, help, report);
    }
}
