//! The reference says what the readers do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::config::document::asked;
use crate::config::schema::{
    Fallback, File, GATEWAY, Key, Kind, MAGID, PROFILE, Place, Table, json_schema, page, pages,
};
use crate::lifecycle::RestartPolicy;

/// Reads magid.toml for root, without regard to who wrote a value down.
fn read_magid(text: &str) -> DaemonConfig {
    let file = file("/etc/magi/magid.toml", text);
    let locations = find(&[], None, true);
    let parsed = parse_daemon(Some(&file), &Environment::default(), &locations);
    let mut daemon = parsed
        .unwrap_or_else(|errors| panic!("{text}\n{}", errors[0]))
        .daemon;
    daemon.active_profile.chosen_by = ChosenBy::Default;
    daemon.active_profile.key = None;
    for scan in &mut daemon.scan_paths {
        scan.written_down = false;
    }
    daemon
}

fn read_profile(text: &str) -> Profile {
    profile(text).unwrap_or_else(|errors| panic!("{text}\n{}", errors[0]))
}

/// A profile with the line in that table, and with all that it takes to be seen.
fn profile_with(place: Place, line: &str) -> String {
    let server = "[servers.NAME]\nmodel = \"m\"\n";
    match place {
        Place::Root => format!("{line}\n{server}"),
        Place::Header(header) => format!("[{header}]\n{line}\n{server}[[select]]\n"),
        Place::Named(header) if line.starts_with("model =") => {
            format!("[{header}.NAME]\n{line}\n")
        }
        Place::Named(header) => format!("[{header}.NAME]\nmodel = \"m\"\n{line}\n"),
        Place::Repeated(header) => format!("[[{header}]]\n{line}\n"),
        Place::Value(key) => format!("{server}[servers.NAME.{key}]\n{line}\n"),
    }
}

fn magid_with(place: Place, line: &str) -> String {
    match place.header() {
        root if root.is_empty() => format!("{line}\n"),
        header => format!("[{header}]\n{line}\n"),
    }
}

fn read_gateway(text: &str) -> GatewayConfig {
    gateway(text, &[])
        .unwrap_or_else(|errors| panic!("{text}\n{}", errors[0]))
        .gateway
}

fn gateway_with(place: Place, line: &str) -> String {
    match place {
        Place::Root => format!("{line}\n"),
        Place::Header(_) | Place::Named(_) | Place::Repeated(_) | Place::Value(_) => {
            let others = KEY.lines().filter(|other| {
                let name = |line: &str| line.split(' ').next().map(str::to_owned);
                name(other) != name(line)
            });
            others.chain([line]).collect::<Vec<_>>().join("\n")
        }
    }
}

fn keys(file: &File) -> impl Iterator<Item = (&'static Table, &'static Key)> {
    let tables = file.tables.iter();
    tables.flat_map(|table| table.keys().map(move |key| (table, key)))
}

/// The headers and keys that readers of this file have to ask for.
fn expected(file: &File) -> BTreeSet<(String, String)> {
    let restart = file
        .tables
        .iter()
        .find(|table| matches!(table.place, Place::Value(_)));
    let mut expected = BTreeSet::new();
    for table in file.tables {
        let header = table.place.header();
        let parent = match table.place {
            Place::Root | Place::Value(_) => None,
            Place::Named(header) => Some(("", header)),
            Place::Header(header) | Place::Repeated(header) => {
                Some(header.rsplit_once('.').unwrap_or(("", header)))
            }
        };
        expected.extend(parent.map(|(parent, key)| (parent.to_owned(), key.to_owned())));
        if matches!(table.place, Place::Value(_)) {
            continue;
        }
        for key in table.keys() {
            expected.insert((header.clone(), key.name.to_owned()));
            if matches!(key.kind, Kind::Restart) {
                let names = restart.into_iter().flat_map(Table::keys);
                expected.extend(
                    names.map(|inner| (format!("{header}.{}", key.name), inner.name.to_owned())),
                );
            }
        }
    }
    expected
}

#[test]
fn the_keys_that_are_read_are_those_of_the_reference() {
    let asked_of_magid = asked::by(|| drop(read_magid("")));
    assert_eq!(asked_of_magid, expected(&MAGID));
    let text = "[servers.NAME]\nmodel = \"m\"\n[[select]]\n";
    let daemon = daemon("", &[]).unwrap().daemon;
    let file = file("/etc/magi/profiles/x.toml", text);
    let asked_of_profile = asked::by(|| drop(parse_profile("x", &file, &daemon).unwrap()));
    assert_eq!(asked_of_profile, expected(&PROFILE));
    let asked_of_gateway = asked::by(|| drop(read_gateway(KEY)));
    assert_eq!(asked_of_gateway, expected(&GATEWAY));
}

#[test]
fn llama_servers_flags_are_in_the_reference_in_their_order() {
    let table = PROFILE
        .tables
        .iter()
        .find(|table| table.place == Place::Header("defaults"));
    let keys = table.unwrap().keys();
    let flags = keys
        .filter(|key| matches!(key.kind, Kind::Flag))
        .map(|key| key.name);
    assert!(flags.eq(settings::KEYS.iter().map(|key| key.name)));
}

#[test]
fn every_default_of_the_reference_is_that_of_the_code() {
    let line = |key: &Key| match key.default {
        Fallback::Toml(default) => Some(format!("{} = {default}", key.name)),
        Fallback::Said(_) | Fallback::Required => None,
    };
    for (table, key) in keys(&MAGID) {
        let line = line(key).expect("magid.toml has a default for every key");
        assert_eq!(
            read_magid(&magid_with(table.place, &line)),
            read_magid(""),
            "{line}"
        );
    }
    for (table, key) in keys(&PROFILE) {
        if let Some(line) = line(key) {
            let read = |line| read_profile(&profile_with(table.place, line));
            assert_eq!(read(&line), read(""), "{line}");
        }
    }
    for (table, key) in keys(&GATEWAY) {
        if let Some(line) = line(key) {
            let read = |line| read_gateway(&gateway_with(table.place, line));
            assert_eq!(read(&line), read(""), "{line}");
        }
    }
}

#[test]
fn every_example_of_the_reference_is_read_and_means_something() {
    for (table, key) in keys(&MAGID) {
        let line = format!("{} = {}", key.name, key.example);
        assert_ne!(
            read_magid(&magid_with(table.place, &line)),
            read_magid(""),
            "{line}"
        );
    }
    for (table, key) in keys(&PROFILE) {
        let line = format!("{} = {}", key.name, key.example);
        let read = |line| read_profile(&profile_with(table.place, line));
        assert_ne!(read(&line), read(""), "{line}");
    }
    for (table, key) in keys(&GATEWAY) {
        let line = format!("{} = {}", key.name, key.example);
        let read = |line| read_gateway(&gateway_with(table.place, line));
        assert_ne!(read(&line), read(""), "{line}");
    }
}

/// The words that a key may be, of those that it takes.
fn words(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Words(words) => words.to_vec(),
        Kind::OneOrList(item) => words(*item),
        Kind::Either(one, other) => [words(*one), words(*other)].concat(),
        Kind::Boolean
        | Kind::Text
        | Kind::Path
        | Kind::ProfileName
        | Kind::Alias
        | Kind::Address
        | Kind::Port
        | Kind::PortRange
        | Kind::Integer(..)
        | Kind::Time(_)
        | Kind::Size
        | Kind::Glob
        | Kind::List(_)
        | Kind::Map(_)
        | Kind::Restart
        | Kind::Flag => Vec::new(),
    }
}

#[test]
fn every_word_of_the_reference_is_read() {
    for (table, key) in keys(&MAGID) {
        for word in words(key.kind) {
            read_magid(&magid_with(
                table.place,
                &format!("{} = \"{word}\"", key.name),
            ));
        }
    }
    for (table, key) in keys(&PROFILE) {
        for word in words(key.kind) {
            read_profile(&profile_with(
                table.place,
                &format!("{} = \"{word}\"", key.name),
            ));
        }
    }
}

#[test]
fn what_a_restart_table_inherits_is_what_magid_toml_says() {
    let text = "[servers.NAME]\nmodel = \"m\"\nrestart = {}\n";
    let server = read_profile(text).servers.into_values().next().unwrap();
    assert_eq!(server.restart, RestartPolicy::default());
}

#[test]
fn every_key_is_told_in_one_sentence() {
    for (_, key) in keys(&MAGID).chain(keys(&PROFILE)).chain(keys(&GATEWAY)) {
        assert!(
            key.about.ends_with('.') && !key.about.contains('|'),
            "{}",
            key.about
        );
        assert!(key.about.len() < 200, "{}", key.about);
    }
}

/// What is checked in, and what would be generated.
fn in_step(path: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path);
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == generated,
        "{} is out of date: run `cargo xtask generate`",
        path.display()
    );
}

#[test]
fn the_reference_is_in_step_with_its_tables() {
    in_step("docs/reference.md", &page());
}

#[test]
fn the_json_schemas_are_in_step_with_their_tables() {
    for (name, file) in [
        ("magid", &MAGID),
        ("profile", &PROFILE),
        ("gateway", &GATEWAY),
    ] {
        let schema = serde_json::to_string_pretty(&json_schema(file)).unwrap();
        in_step(
            &format!("config/schema/{name}.schema.json"),
            &format!("{schema}\n"),
        );
    }
}

#[test]
fn the_man_pages_of_files_are_in_step_with_their_tables() {
    for (_, page) in pages() {
        page.keep();
    }
}

/// The names of all properties in a schema that a user writes, but for those that are names of his own.
fn properties(schema: &serde_json::Value, names: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                if let ("properties", Some(properties)) = (key.as_str(), value.as_object()) {
                    names.extend(properties.keys().cloned());
                }
                properties(value, names);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn every_key_of_a_schema_is_in_the_man_page_of_its_file() {
    for (file, page) in pages() {
        let mut names = BTreeSet::new();
        properties(&json_schema(file), &mut names);
        assert!(!names.is_empty());
        let text = page.text().replace("\\-", "-");
        for name in names {
            let is_key = text.contains(&format!(".TP\n\\fB{name}\\fR\n"));
            let is_table = text.lines().any(|line| {
                let header = line.strip_prefix(".SS ").unwrap_or_default();
                let inner = header.trim_matches(|c| "\"[]".contains(c));
                inner.split('.').any(|part| part == name)
            });
            assert!(is_key || is_table, "{}: {name}", page.file());
        }
    }
}
