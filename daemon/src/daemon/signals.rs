//! What signals ask of magid.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::siginfo::Origin;
use signal_hook_tokio::SignalsInfo;
use tokio::sync::watch;
use tokio_stream::StreamExt;

use super::DaemonError;
use crate::reload::ReloadHandle;

/// The signals that magid listens to, with who sent them.
pub(super) struct Signals {
    stream: SignalsInfo<signal_hook::iterator::exfiltrator::WithOrigin>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, DaemonError> {
        let stream = SignalsInfo::new([SIGTERM, SIGINT, SIGHUP]);
        Ok(Self {
            stream: stream.map_err(|reason| DaemonError::System {
                what: "listen to signals",
                reason,
            })?,
        })
    }

    /// Waits until a signal or an RPC asks magid to end; a SIGHUP meanwhile is a reload.
    pub(super) async fn until_asked_to_stop(
        &mut self,
        mut stopping: watch::Receiver<bool>,
        reload: &ReloadHandle,
    ) {
        loop {
            // Both arms are cancel-safe: a signal stays in the stream, a request in the channel.
            tokio::select! {
                signal = self.stream.next() => match signal {
                    Some(signal) if signal.signal == SIGHUP => begin_reload(reload),
                    Some(signal) => return log(&signal),
                    None => return,
                },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    /// Waits for the next signal that asks magid to end. Cancel-safe.
    pub(super) async fn next_stop(&mut self) {
        loop {
            match self.stream.next().await {
                Some(signal) if signal.signal == SIGHUP => {}
                Some(signal) => return log(&signal),
                None => std::future::pending().await,
            }
        }
    }
}

/// Reloads beside whatever else there is to do; the verdict is an event.
fn begin_reload(reload: &ReloadHandle) {
    let reload = reload.clone();
    tokio::spawn(async move {
        if let Err(error) = reload.reload().await {
            tracing::warn!("cannot reload: {error}");
        }
    });
}

fn log(signal: &Origin) {
    let name = signal_hook::low_level::signal_name(signal.signal).unwrap_or("a signal");
    match &signal.process {
        // In a container: whoever sent it has no number in here.
        Some(sender) if sender.pid == 0 => tracing::info!("{name} from outside of this container"),
        Some(sender) => tracing::info!("{name} from pid {} (uid {})", sender.pid, sender.uid),
        None => tracing::info!("{name}"),
    }
}
