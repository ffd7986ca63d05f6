//! What one table says about servers: one of them, all of a `[[select]]`, or all of a profile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::diagnostic::{Report, quote};
use super::document::{Table, read};
use super::locations::binary;
use super::owned::{check_args, check_env, check_repeated};
use super::profile::Replace;
use super::restart::RestartKeys;
use super::select::Template;
use super::settings::{self, SettingKeys, Settings};
use super::traffic::TrafficKeys;
use crate::lifecycle::RestartPolicy;

/// What an argument or a variable takes beside its text, in bytes.
const ITEM: usize = 64;

/// The keys that every such table may have.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) replace: Option<Spanned<Replace>>,
    settings: SettingKeys,
    autostart: Option<bool>,
    priority: Option<i32>,
    traffic: TrafficKeys,
    args: Option<Vec<Spanned<String>>>,
    env: BTreeMap<String, (Range<usize>, String)>,
    llama_server: Option<PathBuf>,
    restart: RestartKeys,
}

impl Layer {
    pub(super) fn read(table: &mut Table<'_>, base: &Path, report: &mut Report<'_>) -> Self {
        let layer = Self {
            autostart: table.get("autostart", report).map(Spanned::into_inner),
            priority: table.get("priority", report).map(Spanned::into_inner),
            traffic: TrafficKeys::read(table, report),
            replace: table.get("replace", report),
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

    /// Checks what these keys say together, and makes the restart policy of them.
    pub(super) fn check(&self, restart: &RestartPolicy, report: &mut Report<'_>) -> RestartPolicy {
        check_repeated(
            self.args.as_deref().unwrap_or_default(),
            &self.settings,
            report,
        );
        settings::check(&self.settings, report);
        self.restart.apply(restart, report)
    }

    /// What a copy of these keys takes, in bytes, more or less.
    pub(super) fn size(&self) -> usize {
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
    pub(super) fn over(self, defaults: &Self) -> Self {
        let mut settings = defaults.settings.clone();
        settings.extend(self.settings);
        let mut env = defaults.env.clone();
        env.extend(self.env);
        Self {
            replace: self.replace.or_else(|| defaults.replace.clone()),
            settings,
            autostart: self.autostart.or(defaults.autostart),
            priority: self.priority.or(defaults.priority),
            traffic: self.traffic.or(&defaults.traffic),
            args: self.args.or_else(|| defaults.args.clone()),
            env,
            llama_server: self.llama_server.or_else(|| defaults.llama_server.clone()),
            restart: self.restart.or(&defaults.restart),
        }
    }

    /// The values without their places, and with the defaults. `restart` is what
    /// [`Layer::check`] answered.
    pub(super) fn template(self, autostart: bool, restart: RestartPolicy) -> Template {
        let args = self.args.unwrap_or_default().into_iter();
        let env = self.env.into_iter();
        Template {
            autostart: self.autostart.unwrap_or(autostart),
            priority: self.priority.unwrap_or_default(),
            traffic: self.traffic.apply(),
            replace: self.replace.map(Spanned::into_inner).unwrap_or_default(),
            settings: Settings::new(&self.settings),
            args: args.map(Spanned::into_inner).collect(),
            env: env.map(|(name, (_, value))| (name, value)).collect(),
            llama_server: self.llama_server,
            restart,
        }
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
