//! Reads profiles.
//!
//! What a server does not say, `[defaults]` says for it. Values and lists are replaced as a whole,
//! the tables `env` and `restart` key by key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::num::NonZeroU16;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::daemon::DaemonConfig;
use super::diagnostic::{Diagnostic, Report, SourceFile, quote};
use super::document::{Entry, Table, parse, read, unknown_key};
use super::locations::{beside, binary};
use super::owned::{check_args, check_env, check_repeated};
use super::profile::{ParsedProfile, Profile, ServerConfig};
use super::restart::RestartKeys;
use super::settings::{self, Key, SettingKeys, Settings};
use super::value::ModelName;
use crate::lifecycle::RestartPolicy;
use crate::name::{Alias, ServerName};

/// So many servers may one profile have.
pub const MAX_SERVERS: usize = 1000;

/// What `[defaults]` says is copied into each server; this much may all copies take, in bytes.
const MAX_COPIES: usize = 16 * 1024 * 1024;

/// What an argument or a variable takes beside its text, in bytes.
const ITEM: usize = 64;

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
    let mut report = Report::new(file);
    let tree = parse(&file.text, &mut report);
    let mut root = Table::new(&tree);
    let description = root
        .get::<String>("description", &mut report)
        .map(Spanned::into_inner);
    let base = beside(&file.path);
    let defaults_at = root.raw("defaults").map_or(0..0, Spanned::span);
    let defaults = Layer::defaults(root.table("defaults", &mut report), base, &mut report);
    defaults.check(&daemon.restart, &mut report);
    let reader = Reader {
        base,
        restart: &daemon.restart,
        defaults,
        defaults_at,
    };
    let servers = root.raw("servers").map_or_else(Vec::new, |value| {
        Table::at("servers", value, "write [servers.NAME]", &mut report).entries()
    });
    let servers = reader.servers(&servers, &mut report);
    finish_root(root, &mut report);
    let mut warnings = Vec::new();
    if servers.is_empty() {
        warnings.push(Diagnostic::warning(
            format!("the profile {} has no servers", quote(name)),
            "write [servers.NAME] with a `model`",
        ));
    }
    let profile = report.finish(Profile {
        name: name.to_owned(),
        description,
        path: file.path.clone(),
        servers,
    })?;
    Ok(ParsedProfile { profile, warnings })
}

/// Does a file with this text say nothing at all?
///
/// An editor that saves a file may leave it so for a moment; no event applies that.
pub fn is_blank(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim().is_empty()
}

/// What one table says about a server, or `[defaults]` about all of them.
#[derive(Clone, Debug, Default)]
struct Layer {
    settings: SettingKeys,
    autostart: Option<bool>,
    args: Option<Vec<Spanned<String>>>,
    env: BTreeMap<String, (Range<usize>, String)>,
    llama_server: Option<PathBuf>,
    restart: RestartKeys,
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

impl Layer {
    fn read(table: &mut Table<'_>, base: &Path, report: &mut Report<'_>) -> Self {
        let layer = Self {
            autostart: table.get("autostart", report).map(Spanned::into_inner),
            settings: settings::read(table, base, report),
            args: table.list("args", report),
            env: env(table.table("env", report), report),
            llama_server: table
                .get::<PathBuf>("llama_server", report)
                .map(|path| binary(base, path.into_inner())),
            restart: RestartKeys::read(table.table("restart", report), report),
        };
        check_args(layer.args.as_deref().unwrap_or_default(), report);
        check_env(&layer.env, report);
        layer
    }

    fn defaults(mut table: Table<'_>, base: &Path, report: &mut Report<'_>) -> Self {
        let layer = Self::read(&mut table, base, report);
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

    /// Checks what these keys say together, and makes the restart policy of them.
    fn check(&self, restart: &RestartPolicy, report: &mut Report<'_>) -> RestartPolicy {
        check_repeated(
            self.args.as_deref().unwrap_or_default(),
            &self.settings,
            report,
        );
        settings::check(&self.settings, report);
        self.restart.apply(restart, report)
    }

    /// What a copy of these keys takes, in bytes, more or less.
    fn size(&self) -> usize {
        let settings = self.settings.values().map(|value| value.get_ref().len());
        let args = self.args.iter().flatten().map(|arg| arg.get_ref().len());
        let env = self.env.iter();
        let env = env.map(|(name, (_, value))| name.len() + value.len());
        settings
            .chain(args)
            .chain(env)
            .map(|text| text + ITEM)
            .sum()
    }

    /// These keys, and those of `defaults` that are not among them.
    fn over(self, defaults: &Self) -> Self {
        let mut settings = defaults.settings.clone();
        settings.extend(self.settings);
        let mut env = defaults.env.clone();
        env.extend(self.env);
        Self {
            settings,
            autostart: self.autostart.or(defaults.autostart),
            args: self.args.or_else(|| defaults.args.clone()),
            env,
            llama_server: self.llama_server.or_else(|| defaults.llama_server.clone()),
            restart: self.restart.or(&defaults.restart),
        }
    }
}

impl Reader<'_> {
    fn servers(
        &self,
        entries: &[Entry<'_>],
        report: &mut Report<'_>,
    ) -> BTreeMap<ServerName, ServerConfig> {
        if let Some(entry) = entries.get(MAX_SERVERS) {
            report.error(
                entry.key_span.clone(),
                format!("cannot have {} servers", entries.len()),
                format!("{MAX_SERVERS} are allowed in a profile"),
            );
            return BTreeMap::new();
        }
        let size = self.defaults.size();
        if size.saturating_mul(entries.len()) > MAX_COPIES {
            report.error(
                self.defaults_at.clone(),
                format!("cannot copy `[defaults]` into {} servers: {size} bytes for each", entries.len()),
                format!("{MAX_COPIES} bytes are allowed in all: write less, or in the servers that need it"),
            );
            return BTreeMap::new();
        }
        let mut servers = Vec::new();
        for entry in entries {
            let key = format!("servers.{}", quote(entry.key));
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
        let layer = Layer::read(&mut table, self.base, report).over(&self.defaults);
        let restart = layer.check(self.restart, report);
        let model = table.get::<ModelName>("model", report);
        let aliases = aliases(&mut table, report);
        let port = table.get::<NonZeroU16>("port", report);
        let mut split = false;
        for unknown in table.unknown() {
            split |= unknown_server_key(Some(entry.key), &unknown, &table, report);
        }
        if table.raw("model").is_none() {
            if split {
                return None;
            }
            let help = "write `model`: a path, or the name of a file under a scan path";
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
        Some(Located {
            name_span: entry.key_span.clone(),
            port: port.as_ref().map(Spanned::span),
            config: ServerConfig {
                name: name.ok()?,
                aliases: aliases
                    .iter()
                    .map(|alias| alias.get_ref().clone())
                    .collect(),
                autostart: layer.autostart.unwrap_or(true),
                port: port.map(|port| port.into_inner().get()),
                settings: Settings::new(&layer.settings),
                args: layer
                    .args
                    .unwrap_or_default()
                    .into_iter()
                    .map(Spanned::into_inner)
                    .collect(),
                env: layer
                    .env
                    .into_iter()
                    .map(|(name, (_, value))| (name, value))
                    .collect(),
                llama_server: layer.llama_server,
                restart,
                defined_at: report.origin(entry.key_span.clone()),
                model_at: report.origin(model.span()),
                model: model.into_inner().0,
            },
            aliases,
        })
    }
}

fn env(table: Table<'_>, report: &mut Report<'_>) -> BTreeMap<String, (Range<usize>, String)> {
    let mut env = BTreeMap::new();
    for entry in table.entries() {
        if let Some(value) = read::<String>(
            &format!("`env.{}` cannot be", quote(entry.key)),
            entry.value,
            report,
        ) {
            env.insert(entry.key.to_owned(), (entry.key_span, value.into_inner()));
        }
    }
    env
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
fn unknown_server_key(
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
            None => "remove it; known here: description, defaults, servers".to_owned(),
        };
        unknown_key(&entry, help, report);
    }
}
