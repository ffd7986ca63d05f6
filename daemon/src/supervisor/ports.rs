//! Which seat has which port.
//!
//! One task owns the table. A port is given out only if it can be bound at that moment, and stays
//! given until the whole process tree in that seat is gone. Ports that the profile fixes for a server
//! are never given to another one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::seat::Seat;
use crate::name::ServerName;
use crate::process::sockets::{Holder, holder};

/// Requests that may wait: one for each start that is under way, and room for bursts.
const QUEUE: usize = 1024;

/// How long a port that another server has is waited for: about a drain and a stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server needs.
#[derive(Clone, Debug)]
pub struct PortRequest {
    /// Where it sits.
    pub seat: Seat,
    /// The address it will listen on.
    pub host: IpAddr,
    /// The port that the profile fixes.
    pub fixed: Option<u16>,
    /// The port it had last, which is preferred.
    pub last: Option<u16>,
    /// Where a port is looked for otherwise.
    pub range: RangeInclusive<u16>,
}

/// Why there is no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another process listens there.
    #[error("cannot listen on {address}: it is held by {}", held_by(.holder))]
    Held {
        /// The address.
        address: SocketAddr,
        /// Who listens there, as far as that can be known.
        holder: Option<Holder>,
    },
    /// Another server has it.
    #[error("cannot listen on port {port}: server {server} has it")]
    Given {
        /// The port.
        port: u16,
        /// The server.
        server: ServerName,
    },
    /// The host's address cannot be bound at all.
    #[error(
        "cannot listen on {address}: {reason}; set [llama_server] host to an address of this machine"
    )]
    Unbindable {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        reason: String,
    },
    /// None is free.
    #[error("cannot find a free port in {}-{}: widen [llama_server] port_range", .range.start(), .range.end())]
    Exhausted {
        /// Where it was looked for.
        range: RangeInclusive<u16>,
    },
}

fn held_by(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => holder.to_string(),
        None => "a process that this user may not look into".to_owned(),
    }
}

enum Request {
    Take(PortRequest, oneshot::Sender<Result<u16, PortError>>),
    Release(Seat),
}

/// A handle on the owner of the table.
#[derive(Clone, Debug)]
pub struct Ports {
    requests: mpsc::Sender<Request>,
    fixed: watch::Sender<BTreeMap<u16, ServerName>>,
    /// Changes whenever a port was given back.
    released: watch::Receiver<()>,
}

impl Ports {
    /// Starts the owner.
    pub fn spawn() -> Self {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (fixed, reserved) = watch::channel(BTreeMap::new());
        let (tell, released) = watch::channel(());
        tokio::spawn(run(inbox, reserved, tell));
        Self {
            requests,
            fixed,
            released,
        }
    }

    /// Takes a port for a seat; it is the seat's until [`Ports::release`]. A port that another
    /// server has is waited for: an edit can swap ports, and then one server waits for the other's end.
    ///
    /// # Errors
    ///
    /// Names who has the port.
    pub async fn take(&self, request: PortRequest) -> Result<u16, PortError> {
        let mut released = self.released.clone();
        let latest = Instant::now() + PATIENCE;
        loop {
            released.mark_unchanged();
            let taken = self.try_take(request.clone()).await;
            let Err(PortError::Given { .. }) = taken else {
                return taken;
            };
            let more = tokio::time::timeout_at(latest, released.changed()).await;
            if !matches!(more, Ok(Ok(()))) {
                return taken;
            }
        }
    }

    async fn try_take(&self, request: PortRequest) -> Result<u16, PortError> {
        let range = request.range.clone();
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Take(request, reply)).await;
        match sent {
            Ok(()) => answer.await.unwrap_or(Err(PortError::Exhausted { range })),
            // The owner ends with magid only.
            Err(_) => Err(PortError::Exhausted { range }),
        }
    }

    /// Gives a seat's port back.
    pub async fn release(&self, seat: Seat) {
        let _ = self.requests.send(Request::Release(seat)).await;
    }

    /// Says which ports the profile fixes for which server.
    pub fn reserve(&self, fixed: BTreeMap<u16, ServerName>) {
        self.fixed.send_replace(fixed);
    }
}

async fn run(
    mut inbox: mpsc::Receiver<Request>,
    reserved: watch::Receiver<BTreeMap<u16, ServerName>>,
    released: watch::Sender<()>,
) {
    let mut table = Table::default();
    while let Some(request) = inbox.recv().await {
        table.fixed.clone_from(&reserved.borrow());
        match request {
            Request::Take(request, reply) => {
                let _ = reply.send(table.take(&request));
            }
            Request::Release(seat) => {
                table.given.retain(|_, owner| *owner != seat);
                released.send_replace(());
            }
        }
    }
}

#[derive(Default)]
struct Table {
    given: BTreeMap<u16, Seat>,
    fixed: BTreeMap<u16, ServerName>,
}

impl Table {
    fn take(&mut self, request: &PortRequest) -> Result<u16, PortError> {
        self.given.retain(|_, owner| *owner != request.seat);
        let port = match request.fixed {
            Some(port) => self.check_fixed(request, port)?,
            None => self.find(request)?,
        };
        self.given.insert(port, request.seat.clone());
        Ok(port)
    }

    fn check_fixed(&self, request: &PortRequest, port: u16) -> Result<u16, PortError> {
        if let Some(seat) = self.given.get(&port) {
            let server = seat.server.clone();
            return Err(PortError::Given { port, server });
        }
        let address = SocketAddr::new(request.host, port);
        match bind(address) {
            Ok(()) => Ok(port),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(PortError::Held {
                address,
                holder: holder(request.host, port).ok().flatten(),
            }),
            Err(error) => Err(PortError::Unbindable {
                address,
                reason: error.to_string(),
            }),
        }
    }

    fn find(&self, request: &PortRequest) -> Result<u16, PortError> {
        let mut tried = BTreeSet::new();
        let last = request.last.filter(|port| request.range.contains(port));
        for port in last.into_iter().chain(request.range.clone()) {
            let others = self.given.contains_key(&port)
                || self
                    .fixed
                    .get(&port)
                    .is_some_and(|s| *s != request.seat.server);
            if others || !tried.insert(port) {
                continue;
            }
            let address = SocketAddr::new(request.host, port);
            match bind(address) {
                Ok(()) => return Ok(port),
                Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                    return Err(PortError::Unbindable {
                        address,
                        reason: error.to_string(),
                    });
                }
                Err(_) => {}
            }
        }
        Err(PortError::Exhausted {
            range: request.range.clone(),
        })
    }
}

/// Whether the address can be bound as llama-server would: the standard library sets SO_REUSEADDR
/// as it does, so a connection of an earlier incarnation in TIME_WAIT is no obstacle.
fn bind(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn request(server: &str, range: RangeInclusive<u16>) -> PortRequest {
        PortRequest {
            seat: Seat::parse(server).unwrap(),
            host: Ipv4Addr::LOCALHOST.into(),
            fixed: None,
            last: None,
            range,
        }
    }

    fn free_port() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn a_held_port_is_refused_with_the_name_of_its_holder() {
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = stranger.local_addr().unwrap().port();
        let mut fixed = request("a", 1..=1);
        fixed.fixed = Some(port);
        let error = Table::default().take(&fixed).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn the_last_port_is_taken_again_if_it_is_free() {
        let port = free_port();
        let mut again = request("a", port..=port);
        again.last = Some(port);
        assert_eq!(Table::default().take(&again), Ok(port));
    }

    #[test]
    fn a_port_is_given_to_one_server_until_it_is_released() {
        let port = free_port();
        let mut table = Table::default();
        assert_eq!(table.take(&request("a", port..=port)), Ok(port));
        assert!(table.take(&request("b", port..=port)).is_err());
        assert_eq!(table.take(&request("a", port..=port)), Ok(port));
    }

    #[test]
    fn a_port_that_the_profile_fixes_is_kept_for_its_server() {
        let port = free_port();
        let mut table = Table::default();
        table.fixed.insert(port, ServerName::new("a").unwrap());
        assert!(table.take(&request("b", port..=port)).is_err());
        assert_eq!(table.take(&request("a", port..=port)), Ok(port));
    }
}
