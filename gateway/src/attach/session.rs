//! One stream to magid, from its beginning until it breaks.

use std::future::pending;

use magi_proto::v1;
use magi_proto::v1::attach_request::Message as Out;
use magi_proto::v1::attach_response::Message as In;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Attach;
use super::report::PERIOD;
use super::wanted::Calls;
use crate::refusal::Refusal;

/// Messages that magid has not read yet. Were there more of them, it is stuck, and as good as away.
const OUTBOX: usize = 1024;

/// A thousand routes do not fit into tonic's own 4 MiB if each carries a failure.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The stream is of no more use.
#[derive(Debug)]
pub(super) struct Broken;

/// What goes out by one stream.
pub(super) struct Outbox(mpsc::Sender<v1::AttachRequest>);

impl Outbox {
    pub(super) fn send(&self, message: Out) -> Result<(), Broken> {
        let request = v1::AttachRequest {
            message: Some(message),
        };
        self.0.try_send(request).map_err(|_| Broken)
    }
}

impl Attach {
    /// Attaches, and follows the stream until it breaks. True: it was attached.
    pub(super) async fn session(&mut self) -> bool {
        let Some((client, outbox, stream)) = self.open_stream().await else {
            return false;
        };
        let mut is_up = false;
        let end = self.follow(client, &outbox, stream, &mut is_up).await;
        if is_up {
            let why = end.unwrap_or_else(|Broken| "it does not read".to_owned());
            tracing::warn!(name: "magid_lost", "magid is away: {why}");
        }
        is_up
    }

    /// Connects, and refuses what is wanted meanwhile.
    async fn open_stream(
        &mut self,
    ) -> Option<(
        GatewayServiceClient<magi_proto::DaemonChannel>,
        Outbox,
        Streaming<v1::AttachResponse>,
    )> {
        let socket = self.socket.clone();
        let hello = self.hello.clone();
        let opening = async move {
            let channel = magi_proto::connect_gateway(socket.as_deref())
                .await
                .map_err(|error| error.to_string())?;
            let mut client =
                GatewayServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
            let (sender, receiver) = mpsc::channel(OUTBOX);
            let outbox = Outbox(sender);
            let _ = outbox.send(Out::Hello(hello));
            let stream = client
                .attach(ReceiverStream::new(receiver))
                .await
                .map_err(|status| status.message().to_owned())?;
            Ok::<_, String>((client, outbox, stream.into_inner()))
        };
        tokio::pin!(opening);
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                // Cancel-safe: nothing is taken before it is refused.
                Some(wanted) = self.inbox.wanted.recv() => {
                    let _ = wanted.answer.send(Err(Refusal::magid_away()));
                }
            }
        };
        opened
            .inspect_err(|why| tracing::debug!(name: "magid_unreachable", "{why}"))
            .ok()
    }

    async fn follow(
        &mut self,
        client: GatewayServiceClient<magi_proto::DaemonChannel>,
        outbox: &Outbox,
        mut stream: Streaming<v1::AttachResponse>,
        is_up: &mut bool,
    ) -> Result<String, Broken> {
        let mut calls = Calls::new(client);
        let mut drains = JoinSet::new();
        let mut tick = interval_at(Instant::now() + PERIOD, PERIOD);
        let mut is_quiet = true;
        let gateway = self.gateway.clone();
        loop {
            // All arms are cancel-safe: a message is taken whole or not at all, and the ends of calls
            // and drains stay in their sets.
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(message)) => {
                        let Some(message) = message.message else { continue };
                        self.take(message, outbox, &mut drains, is_up)?;
                    }
                    Ok(None) => return Ok("it ended the stream".into()),
                    Err(status) => return Ok(status.message().to_owned()),
                },
                Some(wanted) = self.inbox.wanted.recv() => self.want(wanted, &mut calls),
                (server, result) = calls.next() => self.called(&server, result, &mut calls),
                Some(Ok(drained)) = next(&mut drains) => outbox.send(Out::Drained(drained))?,
                // The first sign after a pause is told at once, and what follows in steps.
                () = gateway.activity.notified(), if is_quiet => {
                    is_quiet = false;
                    tick.reset();
                    self.report(outbox)?;
                }
                _ = tick.tick(), if !is_quiet => is_quiet = !self.report(outbox)?,
            }
        }
    }

    fn take(
        &mut self,
        message: In,
        outbox: &Outbox,
        drains: &mut JoinSet<v1::Drained>,
        is_up: &mut bool,
    ) -> Result<(), Broken> {
        match message {
            In::Routes(routes) => {
                if routes.snapshot {
                    *is_up = true;
                    let servers = routes.routes.len();
                    tracing::info!(name: "attached", servers, "attached to magid");
                    self.reroute(routes);
                    self.report_all(outbox)?;
                } else {
                    self.reroute(routes);
                }
            }
            In::Drain(drain) if drain.only_if_idle => self.drain_if_idle(drain, outbox)?,
            In::Drain(drain) => self.drain(drain, outbox, drains)?,
            In::DrainOver(over) => {
                self.incarnations.open(&over.server, over.incarnation);
                self.moved(&over.server);
            }
        }
        Ok(())
    }

    fn drain(
        &mut self,
        drain: v1::Drain,
        outbox: &Outbox,
        drains: &mut JoinSet<v1::Drained>,
    ) -> Result<(), Broken> {
        let drained = v1::Drained {
            server: drain.server,
            incarnation: drain.incarnation,
        };
        let closed = self
            .incarnations
            .close(&drained.server, drained.incarnation);
        match closed {
            Some(incarnation) if incarnation.in_flight() > 0 => {
                drains.spawn(async move {
                    incarnation.released().await;
                    drained
                });
                Ok(())
            }
            Some(_) | None => outbox.send(Out::Drained(drained)),
        }
    }

    fn drain_if_idle(&mut self, drain: v1::Drain, outbox: &Outbox) -> Result<(), Broken> {
        let v1::Drain {
            server,
            incarnation,
            only_if_idle: _,
        } = drain;
        let waits = self
            .routes
            .get(&server)
            .is_some_and(|server| server.traffic.waiting() > 0);
        if !waits && self.incarnations.close_if_idle(&server, incarnation) {
            outbox.send(Out::Drained(v1::Drained {
                server,
                incarnation,
            }))
        } else {
            outbox.send(Out::Busy(v1::Busy {
                server,
                incarnation,
            }))
        }
    }

    /// Wakes who waits for the way to a server to change.
    fn moved(&self, server: &str) {
        if let Some(server) = self.routes.get(server) {
            server.traffic.moved.notify_waiters();
        }
    }
}

/// The next that ends; never, if there are none.
async fn next<T: 'static>(set: &mut JoinSet<T>) -> Option<Result<T, tokio::task::JoinError>> {
    match set.is_empty() {
        true => pending().await,
        false => set.join_next().await,
    }
}
