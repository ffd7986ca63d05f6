//! `[restart]`: in magid.toml for all servers, and key by key in a profile.

use std::time::Duration;

use toml::Spanned;

use super::diagnostic::Report;
use super::document::Table;
use super::value::{MaxFailures, Positive};
use crate::lifecycle::{RestartMode, RestartPolicy};

/// What one `restart` table says.
#[derive(Clone, Debug, Default)]
pub(super) struct RestartKeys {
    mode: Option<RestartMode>,
    initial_delay: Option<Spanned<Duration>>,
    max_delay: Option<Spanned<Duration>>,
    reset_after: Option<Duration>,
    max_failures: Option<u32>,
    failure_window: Option<Duration>,
    half_open_after: Option<Duration>,
}

impl RestartKeys {
    pub(super) fn read(mut table: Table<'_>, report: &mut Report<'_>) -> Self {
        let mut time = |key| {
            let value = table.get::<Positive>(key, report)?;
            Some(Spanned::new(value.span(), value.into_inner().0))
        };
        let initial_delay = time("initial_delay");
        let max_delay = time("max_delay");
        let reset_after = time("reset_after").map(Spanned::into_inner);
        let failure_window = time("failure_window").map(Spanned::into_inner);
        let half_open_after = time("half_open_after").map(Spanned::into_inner);
        let keys = Self {
            mode: table.get("policy", report).map(Spanned::into_inner),
            initial_delay,
            max_delay,
            reset_after,
            max_failures: table
                .get::<MaxFailures>("max_failures", report)
                .map(|count| count.into_inner().0),
            failure_window,
            half_open_after,
        };
        table.finish(report);
        keys
    }

    /// These keys, and those of `base` that are not among them.
    pub(super) fn or(self, base: &Self) -> Self {
        Self {
            mode: self.mode.or(base.mode),
            initial_delay: self.initial_delay.or_else(|| base.initial_delay.clone()),
            max_delay: self.max_delay.or_else(|| base.max_delay.clone()),
            reset_after: self.reset_after.or(base.reset_after),
            max_failures: self.max_failures.or(base.max_failures),
            failure_window: self.failure_window.or(base.failure_window),
            half_open_after: self.half_open_after.or(base.half_open_after),
        }
    }

    /// The policy that these keys make of `base`.
    pub(super) fn apply(&self, base: &RestartPolicy, report: &mut Report<'_>) -> RestartPolicy {
        let delay =
            |key: &Option<Spanned<Duration>>, base| key.as_ref().map_or(base, |key| *key.get_ref());
        let policy = RestartPolicy {
            mode: self.mode.unwrap_or(base.mode),
            initial_delay: delay(&self.initial_delay, base.initial_delay),
            max_delay: delay(&self.max_delay, base.max_delay),
            reset_after: self.reset_after.unwrap_or(base.reset_after),
            max_failures: self.max_failures.unwrap_or(base.max_failures),
            failure_window: self.failure_window.unwrap_or(base.failure_window),
            half_open_after: self.half_open_after.unwrap_or(base.half_open_after),
        };
        if let Some(written) = self.initial_delay.as_ref().or(self.max_delay.as_ref())
            && policy.initial_delay > policy.max_delay
        {
            report.error(
                written.span(),
                format!(
                    "`initial_delay` ({:?}) cannot be longer than `max_delay` ({:?})",
                    policy.initial_delay, policy.max_delay
                ),
                "make the first wait the shorter one",
            );
        }
        policy
    }
}
