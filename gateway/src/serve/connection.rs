//! One connection of a client, from its first request to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::wire::{Phase, Talk, Wire};
use super::{Client, Worker};
use crate::proxy;

/// The largest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A connection, before it has a runtime.
pub(super) enum Stream {
    Tcp(std::net::TcpStream, IpAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Serves a client until it leaves, or until `ending` is cancelled and its request is answered.
pub(super) async fn serve(worker: Rc<Worker>, client: Client, ending: CancellationToken) {
    let Client {
        stream,
        place: _place,
        count: _count,
    } = client;
    let served = match stream {
        Stream::Tcp(tcp, peer) => match tokio::net::TcpStream::from_std(tcp) {
            Ok(tcp) => speak(worker, tcp, Some(peer.to_string().into()), ending).await,
            Err(error) => lost(&error),
        },
        Stream::Unix(unix) => match tokio::net::UnixStream::from_std(unix) {
            Ok(unix) => speak(worker, unix, None, ending).await,
            Err(error) => lost(&error),
        },
    };
    if let Err(error) = served {
        // Clients come and go as they like; that is not our failure.
        tracing::trace!(name: "connection_ended", "{error}");
    }
}

fn lost(error: &io::Error) -> Result<(), hyper::Error> {
    tracing::warn!(name: "connection_lost", "cannot take a connection: {error}");
    Ok(())
}

async fn speak<S>(
    worker: Rc<Worker>,
    stream: S,
    peer: Option<Rc<str>>,
    ending: CancellationToken,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + 'static,
{
    let (head_timeout, keep_alive) = {
        let config = &worker.gateway.settings.load().config;
        (config.header_timeout, config.keep_alive)
    };
    let talk = Talk::new();
    let wire = Wire::new(stream, talk.clone(), worker.clone());
    let talking = talk.clone();
    let service = service_fn(move |request| {
        let (worker, talk) = (worker.clone(), talking.clone());
        talk.request();
        let version = request.version();
        // A connection keeps the room of this future while the answer is streamed: so only a pointer.
        let answering = proxy::answer(worker, peer.clone(), request);
        async move { Ok::<_, Infallible>(talk.answer(answering.await, version)) }
    });
    // hyper's own limit makes a timer for each request, and counts the time between two as part of a head.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    let mut ended = pin!(ending.cancelled());
    let mut is_ending = false;
    let mut due = pin!(sleep(head_timeout));
    let mut is_timed = true;
    poll_fn(|cx| {
        if !is_ending && ended.as_mut().poll(cx).is_ready() {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(served) = connection.as_mut().poll(cx) {
            return Poll::Ready(served);
        }
        // A head that came in one piece is over by now, and needs no timer.
        if let Some(phase) = talk.take_phase() {
            let limit = match phase {
                Phase::Head => Some(head_timeout),
                Phase::Idle => Some(keep_alive),
                Phase::Answer => None,
            };
            if let Some(limit) = limit {
                due.as_mut().reset(Instant::now() + limit);
            }
            is_timed = limit.is_some();
        }
        match is_timed && due.as_mut().poll(cx).is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}
