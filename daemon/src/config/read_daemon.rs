//! Reads magid.toml and the variables that override it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::daemon::{
    ActiveProfile, ChosenBy, ConcurrentStarts, DaemonConfig, GatewayRights, LlamaServerConfig,
    Logs, MemoryConfig, OnFailure, ParsedDaemon, ScanPath, VramBudget,
};
use super::diagnostic::{Diagnostic, Report, SourceFile, quote};
use super::document::{Table, parse, read};
use super::environment::{Environment, Overrides};
use super::locations::{Locations, beside, binary};
use super::restart::RestartKeys;
use super::value::{Ports, Positive, Size, Text};
use crate::gguf::TierRule;
use crate::lifecycle::{LivenessRules, RestartPolicy};
use crate::name::ServerName;

const PROFILE: &[&str] = &["MAGI_PROFILE", "ACTIVE_PROFILE"];
/// The profile that is active unless somebody chose one.
const DEFAULT_PROFILE: &str = "development";
const SCAN_PATHS: &[&str] = &["MODEL_SCAN_PATH", "PRAXIS_MODEL_PATH"];
const MAX_STARTUP_TIME: &[&str] = &["MODEL_MAX_STARTUP_TIME", "MAX_STARTUP_TIME"];

/// Reads magid.toml, if there is one, and the environment.
///
/// # Errors
///
/// Everything that is wrong, in the file and in variables.
pub fn parse_daemon(
    file: Option<&SourceFile>,
    env: &Environment,
    locations: &Locations,
) -> Result<ParsedDaemon, Vec<Diagnostic>> {
    let absent = SourceFile {
        path: locations.config_file.clone(),
        text: String::new(),
    };
    let file = file.unwrap_or(&absent);
    let mut report = Report::new(file);
    let mut overrides = Overrides::new(env);
    let tree = parse(&file.text, &mut report);
    let reader = Reader {
        base: beside(&file.path),
        locations,
        overrides: &mut overrides,
    };
    let daemon = reader.read(Table::new(&tree), &mut report);
    let mut errors = overrides.errors;
    match report.finish(daemon) {
        Ok(daemon) if errors.is_empty() => Ok(ParsedDaemon {
            daemon,
            overridden: overrides.keys,
            warnings: second_variables(env),
        }),
        Ok(_) => Err(errors),
        Err(mut in_file) => {
            in_file.append(&mut errors);
            Err(in_file)
        }
    }
}

struct Reader<'a, 'e> {
    base: &'a Path,
    locations: &'a Locations,
    overrides: &'a mut Overrides<'e>,
}

impl Reader<'_, '_> {
    fn read(mut self, mut root: Table<'_>, report: &mut Report<'_>) -> DaemonConfig {
        let active_profile = self.active_profile(&mut root, report);
        let mut locations = self.locations.clone();
        if let Some(dir) = self.path(&mut root, "state_dir", report) {
            locations.move_state(dir);
        }
        let mut dir = |key, default| self.path(&mut root, key, report).unwrap_or(default);
        let runtime_dir = dir("runtime_dir", locations.runtime_dir);
        let log_dir = dir("log_dir", locations.log_dir);
        let profiles_dir = dir("profiles_dir", locations.profiles_dir);
        let mut models = root.table("models", report);
        let scan_paths = self.scan_paths(&mut models, report).unwrap_or_else(|| {
            let defaults = locations.default_scan_paths.into_iter();
            defaults
                .map(|path| ScanPath {
                    path,
                    written_down: false,
                })
                .collect()
        });
        let registry = self.registry(&mut models, report);
        let tiers = tiers(models.table("tiers", report), report);
        models.finish(report);
        let llama_server = root.table("llama_server", report);
        let llama_server = self.llama_server(llama_server, report);
        let restart = RestartKeys::read(root.table("restart", report), report);
        let liveness = liveness(root.table("liveness", report), report);
        let memory = memory(root.table("memory", report), report);
        let on_failure = on_failure(root.table("reload", report), report);
        let logs = logs(root.table("logs", report), report);
        let control = control(root.table("control", report), report);
        root.finish(report);
        DaemonConfig {
            active_profile,
            registry: locations.state_dir.join(registry),
            tiers,
            state_dir: locations.state_dir,
            runtime_dir,
            log_dir,
            profiles_dir,
            scan_paths,
            llama_server,
            restart: restart.apply(&RestartPolicy::default(), report),
            liveness,
            memory,
            on_failure,
            logs,
            control,
        }
    }

    fn path(
        &self,
        table: &mut Table<'_>,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<PathBuf> {
        table
            .get::<PathBuf>(key, report)
            .map(|path| self.base.join(path.into_inner()))
    }

    fn active_profile(&mut self, root: &mut Table<'_>, report: &mut Report<'_>) -> ActiveProfile {
        let mut chosen_by = ChosenBy::Default;
        let mut name = DEFAULT_PROFILE.to_owned();
        let mut key = None;
        if let Some(written) = root.get::<Text>("active_profile", report) {
            let span = written.span();
            name = written.into_inner().0;
            chosen_by = ChosenBy::File;
            key = Some(name.clone());
            if let Err(error) = ServerName::new(&name) {
                report.error(
                    span,
                    format!("the name of a profile {error}"),
                    "write the name of a file in profiles/, without `.toml`",
                );
            }
        }
        let variable = self.overrides.take_with("active_profile", PROFILE, |text| {
            match ServerName::new(text.trim()) {
                Ok(name) => Ok(name.as_str().to_owned()),
                Err(_) => Err("the name of a file in profiles/, without `.toml`"),
            }
        });
        if let Some(variable) = variable {
            name = variable.0;
            chosen_by = ChosenBy::Variable(variable.1);
        }
        ActiveProfile {
            name,
            chosen_by,
            key,
        }
    }

    fn scan_paths(
        &mut self,
        models: &mut Table<'_>,
        report: &mut Report<'_>,
    ) -> Option<Vec<ScanPath>> {
        let written = models.list::<PathBuf>("scan_paths", report);
        let written = written.map(|paths| {
            paths
                .into_iter()
                .map(|path| self.base.join(path.into_inner()))
                .collect::<Vec<_>>()
        });
        let current_dir = &self.locations.current_dir;
        let variable = self
            .overrides
            .take_with("models.scan_paths", SCAN_PATHS, |text| {
                let paths = text
                    .split(':')
                    .map(str::trim)
                    .filter(|path| !path.is_empty());
                let paths: Vec<_> = paths.map(|path| current_dir.join(path)).collect();
                if paths.is_empty() {
                    Err("folders separated by colons")
                } else {
                    Ok(paths)
                }
            });
        let paths = variable.map(|(paths, _)| paths).or(written)?;
        Some(
            paths
                .into_iter()
                .map(|path| ScanPath {
                    path,
                    written_down: true,
                })
                .collect(),
        )
    }

    /// The file of the registry, if it is relative to the state directory.
    fn registry(&mut self, models: &mut Table<'_>, report: &mut Report<'_>) -> PathBuf {
        let written = models.get::<PathBuf>("registry", report);
        let variable: Option<PathBuf> = self.overrides.take("models.registry", &["REGISTRY_PATH"]);
        variable
            .map(|path| self.locations.current_dir.join(path))
            .or(written.map(Spanned::into_inner))
            .unwrap_or_else(|| "model_registry.json".into())
    }

    fn llama_server(&mut self, mut table: Table<'_>, report: &mut Report<'_>) -> LlamaServerConfig {
        let default = LlamaServerConfig::default();
        let path = table
            .get::<PathBuf>("path", report)
            .map(|path| binary(self.base, path.into_inner()));
        let host = table.get::<IpAddr>("host", report).map(Spanned::into_inner);
        let ports = table
            .get::<Ports>("port_range", report)
            .map(Spanned::into_inner);
        let concurrent = table.get::<ConcurrentStarts>("concurrent_starts", report);
        let max_startup_time = table.get::<Positive>("max_startup_time", report);
        let readiness = table.get::<Positive>("readiness_check_interval", report);
        let drain_timeout = table.get::<Duration>("drain_timeout", report);
        let stop_timeout = table.get::<Duration>("stop_timeout", report);
        let api_key = table.get("api_key", report);
        table.finish(report);

        let overrides = &mut *self.overrides;
        let current_dir = &self.locations.current_dir;
        let variable: Option<PathBuf> = overrides.take("llama_server.path", &["LLAMA_SERVER_PATH"]);
        let path = variable.map(|path| binary(current_dir, path)).or(path);
        let host = overrides
            .take("llama_server.host", &["LLAMA_SERVER_HOST"])
            .or(host);
        let max_startup_time = overrides
            .take("llama_server.max_startup_time", MAX_STARTUP_TIME)
            .or(max_startup_time.map(Spanned::into_inner));
        let readiness = overrides
            .take(
                "llama_server.readiness_check_interval",
                &["READINESS_CHECK_INTERVAL"],
            )
            .or(readiness.map(Spanned::into_inner));
        let concurrent_starts = overrides
            .take(
                "llama_server.concurrent_starts",
                &["MODEL_CONCURRENT_STARTS"],
            )
            .or(concurrent.map(Spanned::into_inner));
        LlamaServerConfig {
            path: path.unwrap_or(default.path),
            host: host.unwrap_or(default.host),
            port_range: port_range(ports, default.port_range, overrides),
            max_startup_time: max_startup_time
                .map_or(default.max_startup_time, |time: Positive| time.0),
            readiness_check_interval: readiness
                .map_or(default.readiness_check_interval, |time: Positive| time.0),
            concurrent_starts: concurrent_starts.unwrap_or(default.concurrent_starts),
            drain_timeout: drain_timeout.map_or(default.drain_timeout, Spanned::into_inner),
            stop_timeout: stop_timeout.map_or(default.stop_timeout, Spanned::into_inner),
            api_key: api_key.map_or(default.api_key, Spanned::into_inner),
        }
    }
}

fn port_range(
    written: Option<Ports>,
    default: RangeInclusive<u16>,
    overrides: &mut Overrides<'_>,
) -> RangeInclusive<u16> {
    let written = written.map_or(default, |ports| ports.0..=ports.1);
    let key = "llama_server.port_range";
    let mut end = |variable, written| {
        overrides
            .take::<NonZeroU16>(key, &[variable])
            .map_or(written, NonZeroU16::get)
    };
    let first = end("MODEL_PORT_RANGE_START", *written.start());
    let last = end("MODEL_PORT_RANGE_END", *written.end());
    if first > last {
        overrides.errors.push(Diagnostic::error(
            format!(
                "the variables MODEL_PORT_RANGE_START and MODEL_PORT_RANGE_END cannot make a range \
                 from {first} to {last}"
            ),
            "set both, the lower port first",
        ));
    }
    first..=last
}

fn liveness(mut table: Table<'_>, report: &mut Report<'_>) -> LivenessRules {
    let default = LivenessRules::default();
    let mut time = |key, default| {
        table
            .get::<Positive>(key, report)
            .map_or(default, |time| time.into_inner().0)
    };
    let liveness = LivenessRules {
        interval: time("interval", default.interval),
        timeout: time("timeout", default.timeout),
        stall: time("stall", default.stall),
        failures: table
            .get::<NonZeroU32>("failures", report)
            .map_or(default.failures, |count| count.into_inner().get()),
    };
    table.finish(report);
    liveness
}

fn tiers(mut table: Table<'_>, report: &mut Report<'_>) -> TierRule {
    let default = TierRule::default();
    let fast = table.get::<Size>("fast", report);
    let balanced = table.get::<Size>("balanced", report);
    table.finish(report);
    let written = fast.as_ref().or(balanced.as_ref()).map(Spanned::span);
    let bytes = |size: Option<Spanned<Size>>, default| size.map_or(default, |s| s.into_inner().0);
    let rule = TierRule {
        fast: bytes(fast, default.fast),
        balanced: bytes(balanced, default.balanced),
    };
    if let Some(span) = written
        && rule.fast > rule.balanced
    {
        report.error(
            span,
            format!(
                "`fast` ({} bytes) cannot be larger than `balanced` ({} bytes)",
                rule.fast, rule.balanced
            ),
            "make the first size the smaller one",
        );
    }
    rule
}

fn memory(mut table: Table<'_>, report: &mut Report<'_>) -> MemoryConfig {
    let ram = table.get("ram", report).map(Spanned::into_inner);
    let vram = vram(&mut table, report);
    let max_loaded = table.get("max_loaded", report).map(Spanned::into_inner);
    table.finish(report);
    MemoryConfig {
        ram: ram.unwrap_or_default(),
        vram,
        max_loaded: max_loaded.unwrap_or_default(),
    }
}

fn vram(table: &mut Table<'_>, report: &mut Report<'_>) -> VramBudget {
    let Some(value) = table.raw("vram") else {
        return VramBudget::default();
    };
    let sizes = value.get_ref().as_table().filter(|table| !table.is_empty());
    let Some(sizes) = sizes else {
        let word = read::<VramBudget>("`vram` cannot be", value, report);
        return word.map(Spanned::into_inner).unwrap_or_default();
    };
    let entries = Table::new(sizes).entries();
    let mut devices = BTreeMap::new();
    for entry in &entries {
        let name = quote(entry.key);
        if entry.key.trim() != entry.key || entry.key.is_empty() || entry.key.contains('\0') {
            report.error(
                entry.key_span.clone(),
                format!("a device cannot have the name \"{name}\""),
                "write it as `llama-server --list-devices` does",
            );
        }
        let context = format!("`vram.{name}` cannot be");
        if let Some(size) = read::<Size>(&context, entry.value, report) {
            devices.insert(entry.key.to_owned(), size.into_inner().0);
        }
    }
    VramBudget::Devices(devices)
}

fn on_failure(mut table: Table<'_>, report: &mut Report<'_>) -> OnFailure {
    let on_failure = table.get("on_failure", report).map(Spanned::into_inner);
    table.finish(report);
    on_failure.unwrap_or_default()
}

fn control(mut table: Table<'_>, report: &mut Report<'_>) -> GatewayRights {
    let gateway = table.get("gateway", report).map(Spanned::into_inner);
    table.finish(report);
    gateway.unwrap_or_default()
}

fn logs(mut table: Table<'_>, report: &mut Report<'_>) -> Logs {
    let default = Logs::default();
    let max_size = table.get::<Size>("max_size", report);
    let keep = table.get::<NonZeroU32>("keep", report);
    table.finish(report);
    Logs {
        max_size: max_size.map_or(default.max_size, |size| size.into_inner().0),
        keep: keep.map_or(default.keep, |count| count.into_inner().get()),
    }
}

/// Of two variables for one key only the first counts; a different second one is worth a word.
fn second_variables(env: &Environment) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for variables in [PROFILE, SCAN_PATHS, MAX_STARTUP_TIME] {
        let mut set = variables
            .iter()
            .filter_map(|variable| Some((variable, env.get(variable)?)));
        if let (Some((first, value)), Some((second, other))) = (set.next(), set.next())
            && value != other
        {
            warnings.push(Diagnostic::warning(
                format!("the variable {second} is not used: {first} says something else"),
                format!("unset {second}"),
            ));
        }
    }
    warnings
}
