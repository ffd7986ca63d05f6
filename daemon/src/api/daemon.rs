//! `DaemonService`.

use std::collections::VecDeque;
use std::pin::Pin;

use magi_proto::v1;
use magi_proto::v1::daemon_service_server::DaemonService;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::reader::{Gone, Reader};
use super::{Api, convert, errors, peer, reader};
use crate::reload::{Order, Target};
use crate::supervisor::events::EventReader;

/// Events that a reader is given at a time, unless he asks for another number.
const LAST: u32 = 50;

/// The most of the history that can be asked for.
const MOST: u32 = 1000;

/// Events in one message.
const EVENTS_PER_MESSAGE: usize = 250;

#[tonic::async_trait]
impl DaemonService for Api {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let config = self.reload.status();
        Ok(Response::new(v1::GetStatusResponse {
            node: self.about.node.clone(),
            profile: config.profile.clone(),
            generation: config.generation,
            config: Some(convert::config_status(&config)),
            servers: self.measured(self.context.board.read()).await,
            gateways: self.gateways(),
        }))
    }

    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        Ok(Response::new(v1::GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: Some(convert::timestamp(self.about.started_at)),
            environment: self.about.environment.clone(),
            state_dir: self.about.state_dir.display().to_string(),
            log_dir: self.about.log_dir.display().to_string(),
        }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        let v1::ReloadRequest {
            dry_run,
            wait,
            expected_generation,
        } = *request.get_ref();
        if !dry_run {
            peer::log(&request, "a reload");
        }
        let order = Order {
            target: Target::Files,
            dry_run,
            expected_generation,
        };
        Ok(Response::new(self.apply(order, wait).await?))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (reader, stream) = reader::stream(&request, "events");
        let request = request.into_inner();
        let last = request.last.unwrap_or(LAST);
        if last > MOST {
            return Err(errors::invalid(format!(
                "cannot give the last {last} events: at most {MOST} can be asked for"
            )));
        }
        let last = usize::try_from(last).unwrap_or(usize::MAX);
        let events = self.context.events.read(last);
        tokio::spawn(pass_events(events, request, reader, self.ending.clone()));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopResponse>, Status> {
        peer::log(&request, "the end of magid");
        self.stop.send_replace(true);
        Ok(Response::new(v1::StopResponse {}))
    }
}

/// Passes events on until the reader is gone, has all he asked for, or magid ends.
async fn pass_events(
    mut events: EventReader,
    request: v1::WatchEventsRequest,
    mut reader: Reader<v1::WatchEventsResponse>,
    mut ending: tokio::sync::watch::Receiver<bool>,
) {
    let is_meant = |event: &v1::Event| {
        request.servers.is_empty()
            || event
                .server
                .as_ref()
                .is_some_and(|name| request.servers.contains(name))
    };
    loop {
        let (fresh, mut missed) = events.take();
        let mut fresh: VecDeque<v1::Event> = fresh
            .iter()
            .map(|event| convert::event(event))
            .filter(is_meant)
            .collect();
        while !fresh.is_empty() || missed > 0 {
            let count = fresh.len().min(EVENTS_PER_MESSAGE);
            let message = v1::WatchEventsResponse {
                events: fresh.drain(..count).collect(),
                missed: std::mem::take(&mut missed),
            };
            if reader.send(message).await == Err(Gone) {
                return;
            }
        }
        if !request.follow {
            return;
        }
        // All arms are cancel-safe: each only waits for something that stays true.
        tokio::select! {
            more = events.changed() => if !more { return },
            () = reader.closed() => return,
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}
