//! What systemd is told, if it started us.
//!
//! Failures are not errors: without systemd there is nobody to tell, and with it a lost message is
//! followed by another.

use std::time::Duration;

use sd_notify::NotifyState;

/// The socket answers, the configuration is read, starts are under way. Also ends [`reloading`].
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// A reload has begun; [`ready`] must follow, whatever comes of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("cannot tell systemd of a reload: {error}"),
    }
}

/// magid ends.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// A sign of life.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// Gives magid `time` more for what it does.
pub fn extend_timeout(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// How often systemd wants a sign of life, with room for a late one. None: it does not.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Whether anybody listens.
pub fn is_listened_to() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot tell systemd: {error}");
    }
}
