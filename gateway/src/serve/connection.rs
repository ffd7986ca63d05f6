//! One connection of a client, from its first request to its last.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response, Version};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::sending::{Asked, End, Sending};
use super::wire::{Socket, Wire};
use super::{Client, Worker};
use crate::http1::request::{Head, Unreadable};
use crate::proxy::{self, Reply};

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
    match stream.open() {
        Ok((socket, peer)) => {
            let wire = Wire::new(socket);
            let connection = Connection {
                worker,
                wire,
                peer,
                ending,
            };
            connection.serve().await;
        }
        Err(error) => {
            tracing::warn!(name: "connection_lost", "cannot take a connection: {error}");
        }
    }
}

impl Stream {
    /// With the address of the client, if it has one.
    fn open(self) -> io::Result<(Socket, Option<Rc<str>>)> {
        Ok(match self {
            Self::Tcp(tcp, peer) => {
                let tcp = TcpStream::from_std(tcp)?;
                (Either::Left(tcp), Some(peer.to_string().into()))
            }
            Self::Unix(unix) => (Either::Right(UnixStream::from_std(unix)?), None),
        })
    }
}

struct Connection {
    worker: Rc<Worker>,
    wire: Rc<Wire>,
    peer: Option<Rc<str>>,
    ending: CancellationToken,
}

/// How long is waited.
struct Patience {
    /// For the end of a head.
    head: Duration,
    /// For the next request.
    idle: Duration,
    /// One timer for all of it, which is set only when there is something to wait for.
    clock: Pin<Box<Sleep>>,
}

impl Connection {
    async fn serve(&self) {
        let mut patience = {
            let config = &self.worker.gateway.settings.load().config;
            Patience {
                head: config.header_timeout,
                idle: config.keep_alive,
                clock: Box::pin(sleep(config.header_timeout)),
            }
        };
        let mut ended = pin!(self.ending.cancelled());
        let mut is_first = true;
        loop {
            let is_kept = match self.next(is_first, &mut patience, ended.as_mut()).await {
                Ok(Some(head)) => self.answer(head).await,
                Ok(None) => false,
                Err(why) => self.refuse(why).await,
            };
            if !is_kept {
                return;
            }
            is_first = false;
        }
    }

    /// Waits for a request, the first of which is to come at once. None: there is no other.
    async fn next(
        &self,
        is_first: bool,
        patience: &mut Patience,
        mut ended: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Head>, Unreadable> {
        let mut waits_for_head = None;
        poll_fn(|cx| {
            if let Poll::Ready(next) = self.wire.poll_head(cx) {
                return Poll::Ready(next);
            }
            let is_head = is_first || self.wire.has_begun();
            if waits_for_head != Some(is_head) {
                waits_for_head = Some(is_head);
                patience.wait(is_head);
            }
            let is_over =
                ended.as_mut().poll(cx).is_ready() || patience.clock.as_mut().poll(cx).is_ready();
            match is_over {
                true => Poll::Ready(Ok(None)),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Answers a request. False: it was the last.
    async fn answer(&self, head: Head) -> bool {
        let Head {
            request, is_kept, ..
        } = head;
        let mut asked = Asked {
            method: request.method().clone(),
            version: request.version(),
            is_kept,
        };
        let request = request.map(|()| self.wire.body());
        let mut answering = proxy::answer(self.worker.clone(), self.peer.clone(), request);
        let answer = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => self.wire.poll_gone(cx).map(|()| None),
        })
        .await;
        drop(answering);
        let Some(answer) = answer else { return false };
        asked.is_kept &= self.wire.skip_body() && !self.ending.is_cancelled();
        self.send(answer, &asked).await
    }

    /// Answers what is no request.
    async fn refuse(&self, why: Unreadable) -> bool {
        let asked = Asked {
            method: Method::GET,
            version: Version::HTTP_11,
            is_kept: false,
        };
        let answer = proxy::unreadable(&self.worker, why);
        self.send(answer, &asked).await
    }

    async fn send(&self, answer: Response<Reply>, asked: &Asked) -> bool {
        let (sending, is_kept) = Sending::new(self.wire.clone(), answer, asked);
        match sending.end().await {
            End::Complete if is_kept => return true,
            End::Complete => self.wire.close().await,
            End::Misleading => self.wire.reset(),
            End::BrokenOff | End::Gone => {}
        }
        false
    }
}

impl Patience {
    fn wait(&mut self, is_head: bool) {
        let limit = if is_head { self.head } else { self.idle };
        self.clock.as_mut().reset(Instant::now() + limit);
    }
}
