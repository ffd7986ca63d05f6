//! One request, from its head to the head of its answer.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;

use super::account::Account;
use super::admission::{self, Failed};
use super::answer::{Answer, Held, cancelled, is_events};
use super::early;
use super::exchange::{Failure, Outgoing, Upstream, now};
use super::headers::{self, Forwarded};
use super::http1;
use super::read;
use super::reply::Reply;
use super::way::{Way, query_value};
use crate::access::{Admission, Caller, Entry};
use crate::body::{self, Asked};
use crate::configuration::Settings;
use crate::manage;
use crate::refusal::{Reason, Refusal, Shape};
use crate::serve::Worker;
use crate::table::{InFlight, Incarnation, Server};

/// The usual size of a head, in bytes.
const HEAD: usize = 512;

/// A request that is ready to be forwarded.
struct Job {
    worker: Rc<Worker>,
    server: Arc<Server>,
    head: Head,
    body: Bytes,
    /// Whether it may be sent a second time if there was no answer to the first.
    is_repeatable: bool,
    is_stream: bool,
    shape: Shape,
    account: Account,
    /// It has a place and an incarnation.
    is_forwarded: Rc<Cell<bool>>,
}

/// What came before the body.
struct Head {
    method: Method,
    /// As the server is asked for it.
    path: PathAndQuery,
    headers: HeaderMap,
    /// The client's address.
    peer: Option<Rc<str>>,
}

/// Answers a request.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    peer: Option<Rc<str>>,
    mut request: Request<Incoming>,
) -> Response<Reply> {
    let settings = worker.gateway.settings.load_full();
    let (method, uri) = (request.method(), request.uri());
    let Admission { cors, entry } = settings.access.admit(method, uri, request.headers());
    let way = Way::of(method, uri.path());
    let shape = Shape::of(uri.path());
    let mut response = match entry {
        Ok(Entry::Caller(caller)) if way == Way::Own => {
            request.extensions_mut().insert(caller);
            own(&worker, request).await
        }
        Ok(Entry::Caller(caller)) => {
            let asking = Asking {
                settings,
                caller,
                way,
                shape,
                peer,
            };
            asking.answer(worker, request).await
        }
        Ok(Entry::Preflight(answer)) => preflight(&worker, answer),
        Err(refusal) => turned_away(&worker, request.uri(), &refusal),
    };
    cors.apply(response.headers_mut());
    response
}

/// What is known of a request by its head.
struct Asking {
    settings: Arc<Settings>,
    caller: Caller,
    way: Way,
    shape: Shape,
    peer: Option<Rc<str>>,
}

/// The answer to a request that is not for a server.
async fn own(worker: &Worker, request: Request<Incoming>) -> Response<Reply> {
    let id = worker.request_id().header();
    let response = manage::answer(&worker.own, request).await;
    let mut response = response.map(Reply::Own);
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

/// The answer to a browser that asks what its page may send.
fn preflight(worker: &Worker, answer: Response<Bytes>) -> Response<Reply> {
    let mut response = answer.map(|_empty| Reply::Whole(None));
    let id = worker.request_id().header();
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

/// The answer to a request that its sender may not send. It is counted: somebody may be guessing keys.
fn turned_away(worker: &Worker, uri: &Uri, refusal: &Refusal) -> Response<Reply> {
    let path = uri.path().to_owned();
    let mut account = Account::begin(worker, path.into(), "");
    account.refused(refusal);
    refuse(refusal, Shape::of(uri.path()), account.id())
}

fn refuse(refusal: &Refusal, shape: Shape, id: &HeaderValue) -> Response<Reply> {
    let mut response = Reply::refusal(refusal, shape);
    let headers = response.headers_mut();
    headers.insert(headers::REQUEST_ID, id.clone());
    if refusal.reason == Reason::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

impl Asking {
    async fn answer(self, worker: Rc<Worker>, request: Request<Incoming>) -> Response<Reply> {
        let shape = self.shape;
        let path = match self.way {
            Way::Inference(path) => path.into(),
            Way::Properties | Way::Upstream { .. } | Way::Own | Way::NotAllowed => {
                request.uri().path().to_owned().into()
            }
        };
        let account = Account::begin(&worker, path, self.caller.name());
        let id = account.id().clone();
        // On the heap, so that who waits for an answer keeps no room for what was read before.
        let prepared = Box::pin(self.prepare(worker, account, request)).await;
        let answered = match prepared {
            Ok(job) => job.answer().await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(|refusal| refuse(&refusal, shape, &id))
    }

    async fn prepare(
        self,
        worker: Rc<Worker>,
        mut account: Account,
        request: Request<Incoming>,
    ) -> Result<Job, Refusal> {
        match self.find(&worker, &mut account, request).await {
            Ok(found) => Ok(Job {
                worker,
                is_repeatable: matches!(self.way, Way::Inference(_)) || found.head.method.is_safe(),
                server: found.server,
                head: found.head,
                body: found.body,
                is_stream: found.is_stream,
                shape: self.shape,
                account,
                is_forwarded: Rc::default(),
            }),
            Err(refusal) => {
                account.refused(&refusal);
                Err(refusal)
            }
        }
    }

    /// Reads a request, and finds its server.
    async fn find(
        &self,
        worker: &Worker,
        account: &mut Account,
        request: Request<Incoming>,
    ) -> Result<Found, Refusal> {
        if self.way == Way::NotAllowed {
            let message = format!(
                "{} does not know {}",
                request.uri().path(),
                request.method()
            );
            return Err(Refusal::new(Reason::MethodNotAllowed, message));
        }
        let (parts, incoming) = request.into_parts();
        let body = read::body(&parts.headers, incoming, &self.settings.config).await?;
        let asked = self.asked(&parts.uri, &body)?;
        account.asks_for(asked.model.as_deref().unwrap_or_default());
        worker.gateway.told().await;
        let table = worker.gateway.table.load();
        let default = &self.settings.config.default;
        let may_use = |server: &Server| self.caller.may_use(server);
        let server = table.resolve(asked.model.as_deref(), default, may_use)?;
        account.goes_to(server);
        Ok(Found {
            server: server.clone(),
            head: self.head(parts)?,
            is_stream: asked.stream,
            body,
        })
    }

    fn asked<'b>(&'b self, uri: &Uri, body: &'b [u8]) -> Result<Asked<'b>, Refusal> {
        let named = |model: Option<Cow<'b, str>>| Asked {
            model,
            stream: false,
        };
        Ok(match &self.way {
            Way::Inference(_) => body::find(body)?,
            Way::Properties => {
                let query = uri.query().unwrap_or_default();
                named(query_value(query, "model").map(Cow::Owned))
            }
            Way::Upstream { server, .. } => named(Some(Cow::Borrowed(server))),
            Way::Own | Way::NotAllowed => named(None),
        })
    }

    fn head(&self, parts: Parts) -> Result<Head, Refusal> {
        let path = match &self.way {
            Way::Upstream { rest, .. } => below(&parts.uri, *rest),
            Way::Inference(_) | Way::Properties | Way::Own | Way::NotAllowed => {
                parts.uri.path_and_query().cloned()
            }
        };
        let path =
            path.ok_or_else(|| Refusal::new(Reason::NoSuchPath, "the path cannot be read"))?;
        Ok(Head {
            method: parts.method,
            path,
            headers: parts.headers,
            peer: self.peer.clone(),
        })
    }
}

/// A request that is read, and whose server is found.
struct Found {
    server: Arc<Server>,
    head: Head,
    body: Bytes,
    is_stream: bool,
}

/// The part of a path behind its first bytes, and its query.
fn below(uri: &Uri, rest: usize) -> Option<PathAndQuery> {
    let rest = uri.path_and_query()?.as_str().get(rest..)?;
    match rest.starts_with('/') {
        true => rest.parse().ok(),
        false => format!("/{rest}").parse().ok(),
    }
}

impl Job {
    /// Forwards the request. A stream that has to wait is begun meanwhile.
    async fn answer(self) -> Result<Response<Reply>, Refusal> {
        if !self.is_stream {
            // On the heap as well, so that the future around both is a small one.
            return Box::pin(self.run()).await;
        }
        let shape = self.shape;
        let id = self.account.id().clone();
        let gateway = self.worker.gateway.clone();
        let server = self.server.route.server.clone();
        let is_forwarded = self.is_forwarded.clone();
        let waits = move || !is_forwarded.get();
        early::answer(Box::pin(self.run()), &id, &gateway, &server, shape, waits).await
    }

    /// Forwards the request, and waits for the head of the answer.
    async fn run(mut self) -> Result<Response<Reply>, Refusal> {
        match self.forward_unless_cancelled().await {
            Ok((response, held)) => Ok(self.pass(response, held)),
            Err(refusal) => {
                self.account.refused(&refusal);
                Err(refusal)
            }
        }
    }

    async fn forward_unless_cancelled(&mut self) -> Result<(Response<()>, Held), Refusal> {
        let cancelling = self.account.cancelling();
        let mut forwarding = pin!(self.forward());
        poll_fn(|cx| {
            if cancelling.poll(cx).is_ready() {
                return Poll::Ready(Err(cancelled()));
            }
            forwarding.as_mut().poll(cx)
        })
        .await
    }

    /// Waits for its turn, and forwards it. An incarnation that gives no answer at all is replaced by
    /// another one, once: a request that kills its server is not to kill them all.
    async fn forward(&mut self) -> Result<(Response<()>, Held), Refusal> {
        let deadline = admission::deadline(&self.server, self.account.begun());
        let place = admission::place(&self.server, &self.account, deadline).await?;
        let mut failed = None;
        loop {
            let in_flight = admission::incarnation(
                &self.worker.gateway,
                &self.server,
                &self.account,
                deadline,
                failed.as_ref(),
            )
            .await?;
            self.is_forwarded.set(true);
            self.account.forwarded(in_flight.incarnation().number);
            match self.send(&in_flight).await {
                Ok((response, upstream)) => {
                    let held = Held {
                        upstream,
                        in_flight,
                        _place: place,
                    };
                    return Ok((response, held));
                }
                Err(failure) if failed.is_none() && self.may_repeat(&failure) => {
                    let name = &self.server.route.server;
                    tracing::info!(name: "retried", server = name, "sent once more: {failure}");
                    failed = Some(Failed {
                        incarnation: in_flight.incarnation().clone(),
                        failure,
                    });
                    self.is_forwarded.set(false);
                }
                Err(failure) => return Err(failure.refusal(&self.server.route.server)),
            }
        }
    }

    fn may_repeat(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Unreachable(_) | Failure::NotSent => true,
            Failure::Broken => self.is_repeatable,
            // It answered, if badly, and would again.
            Failure::NotHttp(_) => false,
        }
    }

    /// Sends it to an incarnation: over a connection that is there already, or over a new one, also if
    /// the first turns out to have ended.
    async fn send(&self, to: &InFlight) -> Result<(Response<()>, Upstream), Failure> {
        let incarnation = to.incarnation();
        let request = self.request(incarnation);
        let pooled = now(|cx| self.worker.pool.take(incarnation, cx)).await;
        if let Some(mut upstream) = pooled {
            match upstream.send(&request).await {
                Ok(response) => return Ok((response, upstream)),
                Err(failure) if self.may_repeat(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        let mut upstream = Upstream::connect(incarnation.address).await?;
        let response = upstream.send(&request).await?;
        Ok((response, upstream))
    }

    fn request(&self, to: &Incarnation) -> Outgoing {
        let Head {
            method,
            path,
            headers,
            peer,
        } = &self.head;
        let has_body = !self.body.is_empty() || !method.is_safe();
        let with = Forwarded {
            to,
            id: self.account.id(),
            peer: peer.as_deref(),
            length: has_body.then_some(self.body.len()),
        };
        let mut head = Vec::with_capacity(HEAD);
        http1::request_line(&mut head, method, path.as_str());
        headers::forward(&mut head, headers, &with);
        Outgoing {
            method: method.clone(),
            head,
            body: self.body.clone(),
        }
    }

    fn pass(mut self, mut response: Response<()>, held: Held) -> Response<Reply> {
        let headers = response.headers_mut();
        headers.insert(headers::REQUEST_ID, self.account.id().clone());
        let is_events = is_events(headers);
        self.account.answered(response.status().as_u16(), is_events);
        let answer = Answer::new(self.worker, self.account, self.shape, is_events, held);
        response.map(|()| Reply::Answer(Box::new(answer)))
    }
}
