//! `docs/reference.md`: the same tables for people.

use super::{Fallback, File, GATEWAY, Key, Kind, MAGID, PROFILE, Place};
use crate::config::settings;

const HEAD: &str = "\
# Every key

Made by a test from `daemon/src/config/schema/`, which other tests compare with what magid reads; `cargo xtask
generate` makes it anew. What the keys are good for is told in [configuration.md](configuration.md),
[profiles.md](profiles.md) and, for gateway.toml, [keys.md](keys.md). For editors there are JSON schemas in [`config/schema/`](../config/schema).

A *time* is `\"500ms\"`, `\"90s\"`, `\"2m\"`, `\"1h 30m\"`, `\"1d\"` or whole seconds. A *size* is bytes, or a number with
`B`, `KiB`, `MiB`, `GiB`, `TiB`, `KB`, `MB`, `GB` or `TB`. A *path* is relative to the file that it is written in
unless the table says otherwise, and `~` is not expanded. Unknown keys are errors.
";

/// The page.
pub(in crate::config) fn page() -> String {
    let mut page = HEAD.to_owned();
    for file in [&MAGID, &PROFILE, &GATEWAY] {
        file_section(file, &mut page);
    }
    page
}

fn file_section(file: &File, page: &mut String) {
    page.push_str(&format!("\n## {}\n\n{}\n", file.title, file.about));
    let mut told: Vec<&'static [Key]> = Vec::new();
    for table in file.tables {
        page.push_str(&format!(
            "\n### {}\n\n{}\n",
            heading(table.place),
            table.about
        ));
        let mut in_table = false;
        for group in table.groups.iter().copied() {
            // What several tables share is told once.
            if told.iter().any(|other| std::ptr::eq(*other, group)) {
                let first = group.first().map_or("", |key| key.name);
                let last = group.last().map_or("", |key| key.name);
                page.push_str(&format!(
                    "\nAlso the keys from `{first}` to `{last}`, as above.\n"
                ));
                in_table = false;
                continue;
            }
            told.push(group);
            if !in_table {
                page.push_str(
                    "\n| key | value | default | example | what for |\n|---|---|---|---|---|\n",
                );
                in_table = true;
            }
            for key in group {
                page.push_str(&row(key));
            }
        }
    }
}

pub(super) fn heading(place: Place) -> String {
    match place {
        Place::Root => "At the top".to_owned(),
        Place::Header(header) => format!("`[{header}]`"),
        Place::Named(header) => format!("`[{header}.NAME]`"),
        Place::Repeated(header) => format!("`[[{header}]]`"),
        Place::Value(key) => format!("`{key} = {{ \u{2026} }}`"),
    }
}

fn row(key: &Key) -> String {
    let (value, default) = (value(key), default(key));
    let Key {
        name,
        about,
        example,
        ..
    } = key;
    format!("| `{name}` | {value} | {default} | `{example}` | {about} |\n")
}

/// What it takes, in words.
pub(super) fn value(key: &Key) -> String {
    let value = match key.kind {
        Kind::Flag => setting(key.setting()),
        other => kind(other),
    };
    match key.unit {
        "" => value,
        unit => format!("{value} ({unit})"),
    }
}

/// What holds where it is not written.
pub(super) fn default(key: &Key) -> String {
    match key.default {
        Fallback::Toml(default) => format!("`{default}`"),
        Fallback::Said(said) => said.to_owned(),
        Fallback::Required => "must be written".to_owned(),
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::ProfileName => "name of a profile".to_owned(),
        Kind::Alias => "alias".to_owned(),
        Kind::Address => "address, IPv4 or IPv6".to_owned(),
        Kind::Port => "port".to_owned(),
        Kind::PortRange => "two ports".to_owned(),
        Kind::Integer(least, most) => {
            let whole = [i64::from(i32::MAX), i64::from(u32::MAX)].contains(&most);
            match (least < 0, whole) {
                (true, _) => "whole number".to_owned(),
                (false, true) => format!("whole number from {least}"),
                (false, false) => format!("whole number from {least} to {most}"),
            }
        }
        Kind::Time(true) => "time above zero".to_owned(),
        Kind::Time(false) => "time".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Words(words) => self::words(words),
        Kind::Glob => "pattern".to_owned(),
        Kind::List(item) => format!("list: {}", self::kind(*item)),
        Kind::OneOrList(item) => format!("{}, or several in a list", self::kind(*item)),
        Kind::Either(one, other) => format!("{}, or {}", self::kind(*one), self::kind(*other)),
        Kind::Map(item) => format!("table: a {} for each name", self::kind(*item)),
        Kind::Restart => "table: see below".to_owned(),
        Kind::Flag => unreachable!("it is no part of another kind"),
    }
}

fn setting(kind: &settings::Kind) -> String {
    match kind {
        settings::Kind::Number(least) => format!("whole number from {least}"),
        settings::Kind::NumberOr(words) => format!("whole number from 0, {}", self::words(words)),
        settings::Kind::Word(words) => self::words(words),
        settings::Kind::OnOffAuto => "true, false, `\"on\"`, `\"off\"` or `\"auto\"`".to_owned(),
        settings::Kind::Flag | settings::Kind::Switch { .. } => "true or false".to_owned(),
        settings::Kind::Text => "text".to_owned(),
        settings::Kind::Path => "path".to_owned(),
        settings::Kind::Names => "list of names".to_owned(),
        settings::Kind::Proportions => "list of numbers".to_owned(),
    }
}

fn words(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some(_) | None => words.concat(),
    }
}
