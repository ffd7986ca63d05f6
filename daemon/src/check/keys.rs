//! Keys of the gateway: who gets by without one.

use std::collections::BTreeMap;
use std::path::Path;

use super::access::{EXECUTE, READ, Way};
use super::facts::Facts;
use super::finding::{Check, Finding, Place};
use super::words::{count, names, shell_quoted};
use crate::config::{self, ApiKeys, GatewayConfig, Glob, Listen};
use crate::name::{Alias, ServerName};
use crate::plan::Definition;
use crate::reload::read::source;

/// Nobody gets by without a key where there are keys.
pub(super) fn keys(facts: &Facts) -> Vec<Finding> {
    let file = facts.locations.gateway_file();
    let read = source(&file);
    let parsed = read.map_err(|error| vec![error]).and_then(|read| {
        config::parse_gateway(read.as_ref(), &facts.environment, &facts.locations)
    });
    let Ok(parsed) = parsed else {
        let what = format!("{} cannot be read", file.display());
        return vec![Finding::skipped(Check::Keys, what)];
    };
    let mut findings = judge(&parsed.gateway, facts.daemon.llama_server.api_key, &file);
    findings.extend(judge_file(&parsed.gateway, &file, &Way::to(&file)));
    findings.extend(useless(&parsed.gateway, &facts.read.definitions, &file));
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Keys, well(&parsed.gateway)));
    }
    findings
}

fn well(gateway: &GatewayConfig) -> String {
    match gateway.keys.len() {
        0 => "the gateway asks for no key, and only this machine reaches it".to_owned(),
        keys => format!("{}, and no way around", count(keys, "key")),
    }
}

fn judge(gateway: &GatewayConfig, servers: ApiKeys, file: &Path) -> Vec<Finding> {
    let open: Vec<_> = gateway
        .listen
        .iter()
        .filter(|listen| listen.is_reached_from_elsewhere())
        .map(Listen::to_string)
        .collect();
    let mut findings = Vec::new();
    if gateway.keys.is_empty() && !open.is_empty() {
        let open: Vec<_> = open.iter().map(String::as_str).collect();
        let what = format!("everybody who reaches {} may use the gateway", names(&open));
        findings.push(
            Finding::warning(Check::Keys, what)
                .because("there are no keys, and allow_open is set")
                .help("magictl keys create NAME --scope inference")
                .at(Place::file(file)),
        );
    }
    if !gateway.keys.is_empty() && servers == ApiKeys::None {
        findings.push(
            Finding::warning(
                Check::Keys,
                "servers can be asked at their own ports without a key",
            )
            .because("the gateway asks for keys, llama-server does not")
            .help("write `api_key = \"auto\"` under [llama_server] of magid.toml"),
        );
    }
    findings
}

/// A key that is for no server lets nobody do anything: a pattern may be misspelt. Where there are no
/// servers that is no surprise.
fn useless(
    gateway: &GatewayConfig,
    servers: &BTreeMap<ServerName, Definition>,
    file: &Path,
) -> Vec<Finding> {
    let is_known = |glob: &Glob| servers.values().any(|server| is_for(glob, server));
    let patterns = gateway.keys.iter().flat_map(|key| {
        let unknown = key.models.iter().filter(|glob| !is_known(glob));
        unknown.map(|glob| (&key.name, glob))
    });
    let told = patterns.map(|(name, glob)| {
        let what = format!("key {name} is for {glob}, and there is no such server, alias or model");
        Finding::warning(Check::Keys, what)
            .help("`magictl status` and `magictl models list` tell what there is")
            .at(Place::file(file))
    });
    match servers.is_empty() {
        true => Vec::new(),
        false => told.collect(),
    }
}

/// Whether a pattern of a key is for this server, as the gateway sees it.
fn is_for(glob: &Glob, server: &Definition) -> bool {
    let model = server.launch.model.id.as_deref();
    let aliases = server.aliases.iter().map(Alias::as_str);
    let mut names = aliases.chain(model).chain([server.name.as_str()]);
    names.any(|name| glob.matches(name))
}

/// Hashes of keys are not for everybody: a key that somebody made up himself could be guessed by its hash.
fn judge_file(gateway: &GatewayConfig, file: &Path, way: &Way) -> Option<Finding> {
    let mut folders = way.folders.iter();
    let is_reachable = folders.all(|folder| folder.is_open_to_others(EXECUTE));
    let end = way.end.as_ref();
    let is_open = end.is_some_and(|end| end.is_open_to_others(READ));
    (is_reachable && is_open && !gateway.keys.is_empty()).then(|| {
        let path = file.display().to_string();
        Finding::warning(Check::Keys, "everybody may read the hashes of keys")
            .help(format!("chmod o-r {}", shell_quoted(&path)))
            .at(Place::file(file))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::check::finding::Level;
    use crate::check::tests::facts_of;
    use crate::config::SourceFile;

    const KEY: &str = "\
[[keys]]
name = \"a\"
hash = \"sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"
scopes = [\"inference\"]
";

    fn found(daemon: &str, gateway: &str) -> Vec<(Level, String)> {
        let (dir, facts) = facts_of(daemon, &[]);
        let file = dir.path().join("gateway.toml");
        fs::write(&file, gateway).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let found = keys(&facts).into_iter();
        found.map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn a_gateway_that_only_this_machine_reaches_needs_no_keys() {
        assert_eq!(found("", "")[0].0, Level::Ok);
    }

    #[test]
    fn servers_without_keys_are_a_way_around_those_of_the_gateway() {
        let (level, what) = found("", KEY).remove(0);
        assert_eq!(level, Level::Warning);
        assert!(what.contains("without a key"), "{what}");
        let (level, what) = found("[llama_server]\napi_key = \"auto\"\n", KEY).remove(0);
        assert_eq!((level, &*what), (Level::Ok, "1 key, and no way around"));
    }

    #[test]
    fn a_key_for_what_is_not_there_is_told_where_there_is_something() {
        let (dir, facts) = facts_of(
            "active_profile = \"p\"\n",
            &[(
                "p",
                "[servers.alpha]\nmodel = \"/m/x.gguf\"\naliases = [\"gpt\"]\n",
            )],
        );
        let told = |facts: &Facts, models: &str| {
            let text = format!("{KEY}models = {models}\n");
            let file = dir.path().join("gateway.toml");
            let source = SourceFile {
                path: file.clone(),
                text,
            };
            let parsed = config::parse_gateway(Some(&source), &facts.environment, &facts.locations);
            let found = useless(&parsed.unwrap().gateway, &facts.read.definitions, &file);
            found
                .into_iter()
                .map(|finding| finding.what)
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&facts, "[\"al*\", \"GPT\"]"), Vec::<String>::new());
        let one = told(&facts, "[\"alpha\", \"qwne*\"]");
        assert_eq!(
            one,
            ["key a is for qwne*, and there is no such server, alias or model"]
        );
        let (_empty, nothing) = facts_of("", &[]);
        assert_eq!(told(&nothing, "[\"qwne*\"]"), Vec::<String>::new());
    }

    #[test]
    fn an_open_gateway_is_worth_a_word_also_if_it_is_meant() {
        let (level, what) = found("", "listen = [\"0.0.0.0:1\"]\nallow_open = true\n").remove(0);
        assert_eq!(level, Level::Warning);
        assert_eq!(what, "everybody who reaches 0.0.0.0:1 may use the gateway");
    }

    #[test]
    fn what_cannot_be_read_is_told_by_another_check() {
        assert_eq!(found("", "listen = 1\n")[0].0, Level::Skipped);
    }
}
