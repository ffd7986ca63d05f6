//! Waiting until nothing is in flight.
//!
//! The gateways are asked first: they let go, and send what comes meanwhile elsewhere. What is in flight
//! then came to the port directly, and only llama-server itself knows of it.

use std::time::Duration;

use super::{Incarnation, Report, Server, effect, end};
use crate::lifecycle::Event;
use crate::process::{Scope, probe, sockets};
use crate::supervisor::gateways::Answer;

/// The time between two looks. Short against any answer that is worth waiting for.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long one answer may take; a server deep in a batch answers after it.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    /// Tells when nothing is in flight; with `only_if_idle`, at once that something is.
    pub(super) fn drain(&mut self, live: Incarnation, only_if_idle: bool) {
        let reports = self.reports.clone();
        let incarnation = live.number;
        let gateways = &self.context.gateways;
        let conversation = gateways.drain(self.seat.server.clone(), incarnation, only_if_idle);
        let answer = conversation.answer();
        self.conversation = Some(conversation);
        let gateways = gateways.clone();
        let survived = live.scope == Scope::Recovery;
        self.effects.drain = effect(async move {
            if survived {
                gateways.former_are_back().await;
            }
            let event = match answer.await {
                Answer::LetGo => wait_for_idle(&live, only_if_idle).await,
                Answer::Busy => Event::Busy { incarnation },
            };
            let _ = reports.send(Report::Event(event)).await;
        });
    }
}

async fn wait_for_idle(live: &Incarnation, only_if_idle: bool) -> Event {
    let incarnation = live.number;
    while !is_idle(live).await {
        if only_if_idle {
            return Event::Busy { incarnation };
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Event::Drained { incarnation }
}

/// Whether it works for nobody: nobody is connected, or it sleeps, or all its slots are idle.
async fn is_idle(live: &Incarnation) -> bool {
    let port = live.endpoint.port();
    let connected = end::blocking(move || sockets::established(port)).await;
    if connected.is_ok_and(|connected| connected.is_empty()) {
        return true;
    }
    if let Ok(props) = probe::props(live.endpoint, TIMEOUT, live.key()).await
        && props.is_sleeping
    {
        return true;
    }
    match probe::slots(live.endpoint, TIMEOUT, live.key()).await {
        Ok(slots) => slots.iter().all(|slot| !slot.is_processing),
        // Nobody is there to be waited for.
        Err(probe::ProbeError::Refused) => true,
        // Only gateways have its key, and they have let go.
        Err(probe::ProbeError::Status(401)) => true,
        Err(_) => false,
    }
}
