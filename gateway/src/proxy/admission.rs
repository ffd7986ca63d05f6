//! Which incarnation a request goes to, and when.
//!
//! First it gets one of the places of its server, in the order in which requests came; then it goes to
//! the incarnation that is ready. Who has a place keeps it while the server loads, so that those who
//! come later do not get there first. All of it takes `max_wait` at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::account::Account;
use super::exchange::Failure;
use crate::activity::Phase;
use crate::gateway::Gateway;
use crate::queue::Place;
use crate::refusal::{Reason, Refusal};
use crate::table::{InFlight, Incarnation, Link, Server};

/// magid notices the end of a process at once. If nothing happens in this time, the process is there,
/// and does not answer.
const NOTICE: Duration = Duration::from_secs(1);

/// The longest wait that is asked for.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// An incarnation that gave no answer.
pub(super) struct Failed {
    pub(super) incarnation: Arc<Incarnation>,
    pub(super) failure: Failure,
}

/// When a request that came at `begun` has waited for long enough.
pub(super) fn deadline(server: &Server, begun: Instant) -> Instant {
    let max_wait = server.route.max_wait;
    let max_wait = max_wait.and_then(|wait| Duration::try_from(wait).ok());
    // Far away enough to be never.
    begun + max_wait.unwrap_or(Duration::from_secs(86_400))
}

/// Waits for a place at the server.
///
/// # Errors
///
/// Too many wait already, or it took too long.
pub(super) async fn place(
    server: &Server,
    account: &Account,
    deadline: Instant,
) -> Result<Place, Refusal> {
    let traffic = &server.traffic;
    if let Some(place) = traffic.queue.try_enter() {
        return Ok(place);
    }
    let max_queue = server.route.max_queue;
    let Some(_waiting) = traffic.wait(max_queue) else {
        let message = format!(
            "{max_queue} requests wait for {} already, which is its `max_queue`",
            server.route.server
        );
        return Err(Refusal::new(Reason::QueueFull, message).retry_after(next_place(server)));
    };
    account.touch();
    timeout_at(deadline, traffic.queue.enter())
        .await
        .map_err(|_elapsed| {
            let what = "for one of its places";
            too_long(server, account, what).retry_after(next_place(server))
        })
}

/// Waits until an incarnation is ready, and begins a request there. `failed` is one that gave no answer:
/// not that one.
///
/// # Errors
///
/// There will not be any, or it took too long.
pub(super) async fn incarnation(
    gateway: &Gateway,
    server: &Server,
    account: &Account,
    deadline: Instant,
    failed: Option<&Failed>,
) -> Result<InFlight, Refusal> {
    if failed.is_none()
        && let Some(begun) = server.current.as_ref().and_then(Incarnation::begin)
    {
        return Ok(begun);
    }
    let _waiting = server.traffic.wait(u32::MAX);
    account.phase(Phase::Loading);
    account.touch();
    timeout_at(deadline, ready(gateway, server, failed))
        .await
        .unwrap_or_else(|_elapsed| Err(too_long(server, account, "until it is ready")))
}

async fn ready(
    gateway: &Gateway,
    server: &Server,
    failed: Option<&Failed>,
) -> Result<InFlight, Refusal> {
    let name = &server.route.server;
    let is_other = |incarnation: &Arc<Incarnation>| {
        failed.is_none_or(|failed| !Arc::ptr_eq(&failed.incarnation, incarnation))
    };
    loop {
        // Made before the look, so that no change is missed.
        let moved = server.traffic.moved.notified();
        let (current, link) = now(gateway, name)?;
        if let Some(current) = current.filter(is_other)
            && let Some(begun) = current.begin()
        {
            return Ok(begun);
        }
        if link == Link::Lost {
            return Err(Refusal::magid_away());
        }
        let offered = gateway.ensure_ready(name).await?;
        if !is_other(&offered) {
            // It ended, and magid is about to notice; or it goes on without answering.
            if let (Err(_elapsed), Some(failed)) = (timeout(NOTICE, moved).await, failed) {
                return Err(failed.failure.refusal(name));
            }
            continue;
        }
        if let Some(begun) = offered.begin() {
            return Ok(begun);
        }
        // It is being let go of: that will be called off, or another one comes.
        moved.await;
    }
}

/// The incarnation that is ready now.
fn now(gateway: &Gateway, name: &str) -> Result<(Option<Arc<Incarnation>>, Link), Refusal> {
    let table = gateway.table.load();
    let Some(server) = table.servers.get(name) else {
        let message = format!("the server {name} has been removed");
        return Err(Refusal::new(Reason::NoSuchModel, message));
    };
    if server.route.held {
        let message = format!("{name} is held stopped; `magictl start {name}` lets it go");
        return Err(Refusal::new(Reason::Held, message));
    }
    Ok((server.current.clone(), table.link))
}

fn too_long(server: &Server, account: &Account, what: &str) -> Refusal {
    let seconds = account.begun().elapsed().as_secs();
    let message = format!(
        "the request waited {seconds} s for {} {what}, which is its `max_wait`",
        server.route.server
    );
    Refusal::new(Reason::QueueTimeout, message)
}

/// When a place at the server will be free, by how long requests take and how many are before.
fn next_place(server: &Server) -> Duration {
    let before = server.traffic.waiting().max(1);
    let at_once = server.route.max_in_flight.max(1);
    let wait = server.traffic.takes() * before / at_once;
    wait.clamp(Duration::from_secs(1), MAX_RETRY)
}
