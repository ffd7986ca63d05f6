//! What the profile says about restarts, and the durations of a start and a stop.

use std::time::Duration;

/// When a server that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartMode {
    /// Whatever the end.
    Always,
    /// Unless it exited with status 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartMode {
    /// The word for it in profiles and in the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        }
    }
}

/// `[restart]`: how a server is restarted, and when magid gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When to restart at all.
    pub mode: RestartMode,
    /// The wait before the first restart. Doubles with each further one.
    pub initial_delay: Duration,
    /// The longest wait, before jitter.
    pub max_delay: Duration,
    /// After this long ready, waits and counts begin anew.
    pub reset_after: Duration,
    /// So many failures within `failure_window` open the breaker; 0: it never opens.
    pub max_failures: u32,
    /// How long a failure counts.
    pub failure_window: Duration,
    /// How long an open breaker waits for its one trial.
    pub half_open_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            mode: RestartMode::Always,
            initial_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            reset_after: Duration::from_secs(600),
            max_failures: 5,
            failure_window: Duration::from_secs(600),
            half_open_after: Duration::from_secs(300),
        }
    }
}

/// Everything about time that the lifecycle of one server follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Restarts, backoff and breaker.
    pub restart: RestartPolicy,
    /// A start without progress for this long has failed.
    pub max_startup_time: Duration,
    /// The longest wait for requests in flight before a stop.
    pub drain_timeout: Duration,
    /// The time from SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::default(),
            max_startup_time: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}
