//! Waiting for states.

use std::collections::BTreeMap;
use std::time::Duration;

use magi_proto::v1::{
    Event, GetStatusRequest, GetStatusResponse, Server, ServerState, WatchEventsRequest,
    WatchServersRequest,
};
use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, LOOK};

/// How long a state is waited for. Generous: it ends only tests that fail.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The servers by name.
pub type Servers = BTreeMap<String, Server>;

impl Fleet {
    /// Waits until the servers satisfy `wanted`, and gives them as they are then.
    pub async fn wait(&mut self, what: &str, wanted: impl Fn(&Servers) -> bool) -> Servers {
        match timeout(DEADLINE, self.watch_until(&wanted)).await {
            Ok(Ok(servers)) => servers,
            Ok(Err(status)) => self.fail(&format!("{what}: {status}")).await,
            Err(_) => self.fail(&format!("it never came: {what}")).await,
        }
    }

    async fn watch_until(
        &self,
        wanted: impl Fn(&Servers) -> bool,
    ) -> Result<Servers, tonic::Status> {
        let mut stream = self
            .servers()
            .watch_servers(WatchServersRequest {})
            .await?
            .into_inner();
        let mut servers = Servers::new();
        while let Some(delta) = stream.message().await? {
            if delta.snapshot {
                servers.clear();
            }
            for server in delta.servers {
                servers.insert(server.name.clone(), server);
            }
            for name in &delta.removed {
                servers.remove(name);
            }
            if wanted(&servers) {
                return Ok(servers);
            }
        }
        Err(tonic::Status::unavailable("the watch ended"))
    }

    /// Waits until one server satisfies `wanted`, and gives it as it is then.
    pub async fn wait_for(
        &mut self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Server) -> bool,
    ) -> Server {
        let mut servers = self
            .wait(&format!("{name} {what}"), |servers| {
                servers.get(name).is_some_and(&wanted)
            })
            .await;
        servers
            .remove(name)
            .expect("it was there when it was looked at")
    }

    /// Waits until a server is in a state.
    pub async fn state(&mut self, name: &str, state: ServerState) -> Server {
        let what = format!("is {}", state.as_str_name());
        self.wait_for(name, &what, |server| server.state() == state)
            .await
    }

    /// Waits until a server is ready.
    pub async fn ready(&mut self, name: &str) -> Server {
        self.state(name, ServerState::Ready).await
    }

    /// Waits until there are `count` servers and all are ready.
    pub async fn all_ready(&mut self, count: usize) -> Servers {
        self.wait(&format!("{count} servers are ready"), |servers| {
            servers.len() == count
                && servers
                    .values()
                    .all(|server| server.state() == ServerState::Ready)
        })
        .await
    }

    /// Waits until a server is ready in another incarnation than `old`.
    pub async fn ready_again(&mut self, old: &Server) -> Server {
        self.wait_for(&old.name, "is ready in a new incarnation", |server| {
            server.state() == ServerState::Ready && server.incarnation > old.incarnation
        })
        .await
    }

    /// The status as it is now.
    pub async fn status(&mut self) -> GetStatusResponse {
        match self.daemon().get_status(GetStatusRequest {}).await {
            Ok(status) => status.into_inner(),
            Err(status) => self.fail(&format!("magid gives no status: {status}")).await,
        }
    }

    /// Waits until the status satisfies `wanted`. For what [`Fleet::wait`] does not show.
    pub async fn wait_status(
        &mut self,
        what: &str,
        wanted: impl Fn(&GetStatusResponse) -> bool,
    ) -> GetStatusResponse {
        let look = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                sleep(LOOK).await;
            }
        };
        match timeout(DEADLINE, look).await {
            Ok(status) => status,
            Err(_) => self.fail(&format!("it never came: {what}")).await,
        }
    }

    /// Waits until what gateways tell of the use of a server satisfies `wanted`. A watch does not show it.
    pub async fn wait_use(&mut self, name: &str, what: &str, wanted: impl Fn(&Server) -> bool) {
        self.wait_status(&format!("{name} {what}"), |status| {
            let servers = &mut status.servers.iter();
            servers.any(|server| server.name == name && wanted(server))
        })
        .await;
    }

    /// The events that magid still has, oldest first.
    pub async fn events(&self) -> Result<Vec<Event>, tonic::Status> {
        let request = WatchEventsRequest {
            last: Some(1000),
            ..WatchEventsRequest::default()
        };
        let mut stream = self.daemon().watch_events(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(message) = stream.message().await? {
            events.extend(message.events);
        }
        Ok(events)
    }

    /// Waits for an event that satisfies `wanted`, or gives one that has been.
    pub async fn event(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let search = async {
            let request = WatchEventsRequest {
                last: Some(1000),
                follow: true,
                servers: Vec::new(),
            };
            let mut stream = self.daemon().watch_events(request).await?.into_inner();
            while let Some(message) = stream.message().await? {
                if let Some(event) = message.events.into_iter().find(&wanted) {
                    return Ok(event);
                }
            }
            Err(tonic::Status::unavailable("the watch ended"))
        };
        match timeout(DEADLINE, search).await {
            Ok(Ok(event)) => event,
            Ok(Err(status)) => self.fail(&format!("{what}: {status}")).await,
            Err(_) => self.fail(&format!("no event came: {what}")).await,
        }
    }

    /// Waits until no process of this fleet is left but magid.
    pub async fn wait_no_processes(&mut self) {
        let look = async {
            while !self.processes().is_empty() {
                sleep(LOOK).await;
            }
        };
        if timeout(DEADLINE, look).await.is_err() {
            let left = self.processes();
            self.fail(&format!("these processes are left: {left:?}"))
                .await;
        }
    }
}
