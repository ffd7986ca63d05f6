//! Reads `[[select]]`.

use std::num::NonZeroU32;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Report;
use super::document::{Table, wrong};
use super::layer::Layer;
use super::read_profile::{MAX_COPIES, MAX_SERVERS, unknown_server_key};
use super::select::Select;
use crate::lifecycle::RestartPolicy;

/// So many may one profile have.
const MAX_SELECTS: usize = 100;

/// What to write.
const HELP: &str = "write [[select]]";

/// The tables of `select`.
pub(super) fn entries<'t>(
    root: &mut Table<'t>,
    report: &mut Report<'_>,
) -> Vec<&'t Spanned<DeValue<'t>>> {
    let Some(value) = root.raw("select") else {
        return Vec::new();
    };
    let Some(items) = value.get_ref().as_array() else {
        wrong("`select` cannot be", value, HELP, report);
        return Vec::new();
    };
    if let Some(item) = items.get(MAX_SELECTS) {
        report.error(
            item.span(),
            format!("cannot have {} tables [[select]]", items.len()),
            format!("{MAX_SELECTS} are allowed in a profile"),
        );
        return Vec::new();
    }
    items.iter().collect()
}

/// Reads each of `entries`.
pub(super) fn read(
    entries: &[&Spanned<DeValue<'_>>],
    base: &Path,
    restart: &RestartPolicy,
    defaults: &Layer,
    report: &mut Report<'_>,
) -> Vec<Select> {
    let mut selects = Vec::new();
    // The servers that may come of all of them, and the largest of these.
    let mut servers = 0_usize;
    let mut largest = 0;
    for entry in entries {
        let mut table = Table::at("select", entry, HELP, report);
        if !entry.get_ref().is_table() {
            continue;
        }
        let layer = Layer::read(&mut table, base, report).over(defaults);
        let restart = layer.check(restart, report);
        let tiers = table.alternatives("tier", report);
        let quantizations = table.alternatives("quantization", report);
        let patterns = table.alternatives("pattern", report);
        let kinds = table.alternatives("kind", report);
        let limit = table
            .get::<NonZeroU32>("limit", report)
            .map(Spanned::into_inner);
        finish(&table, report);
        let most = limit.map_or(MAX_SERVERS, |limit| {
            usize::try_from(limit.get()).map_or(MAX_SERVERS, |limit| limit.min(MAX_SERVERS))
        });
        servers = (servers + most).min(MAX_SERVERS);
        largest = layer.size().max(largest);
        if largest.saturating_mul(servers) > MAX_COPIES {
            report.error(
                entry.span(),
                format!("cannot have {servers} servers of [[select]] with {largest} bytes each"),
                format!("{MAX_COPIES} bytes are allowed in all: write less, or a `limit`"),
            );
        }
        selects.push(Select {
            tiers,
            quantizations,
            patterns,
            kinds,
            limit,
            template: layer.template(false, restart),
            at: report.origin(entry.span()),
        });
    }
    selects
}

fn finish(table: &Table<'_>, report: &mut Report<'_>) {
    for entry in table.unknown() {
        match entry.key {
            "model" | "aliases" | "port" => report.error(
                entry.key_span,
                format!("`{}` cannot stand in [[select]]", entry.key),
                "remove it, or write [servers.NAME] for the one server that it is for",
            ),
            _ => {
                unknown_server_key(None, &entry, table, report);
            }
        }
    }
}
