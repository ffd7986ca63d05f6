//! One connection of a client, from its first request to its last.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

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
        permit: _permit,
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
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (head_timeout, keep_alive) = {
        let config = &worker.gateway.settings.load().config;
        (config.header_timeout, config.keep_alive)
    };
    let is_known = Rc::new(Cell::new(false));
    let known = is_known.clone();
    let service = service_fn(move |request| {
        let worker = worker.clone();
        known.set(true);
        // A connection keeps the room of this future while the answer is streamed: so only a pointer.
        let answering = proxy::answer(worker, peer.clone(), request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // hyper's own limit counts the time between two requests as well.
    let mut no_head = pin!(async {
        sleep(head_timeout).await;
        if is_known.get() {
            pending().await
        }
    });
    tokio::select! {
        // The connection is held outside, so that what is under way can end.
        biased;
        served = connection.as_mut() => served,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = no_head.as_mut() => Ok(()),
    }
}
