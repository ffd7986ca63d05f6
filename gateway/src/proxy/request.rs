//! One request, from its head to the head of its answer.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;

use super::account::Account;
use super::admission::{self, Failed};
use super::answer::{Answer, Held, cancelled, is_events};
use super::early;
use super::exchange::{Failure, Outgoing, Upstream, now};
use super::headers::{self, Forwarded};
use super::read;
use super::reply::Reply;
use super::way::{Way, query_value};
use crate::access::{Admission, Caller, Cors, Entry};
use crate::body::{Asked, Walk};
use crate::configuration::Settings;
use crate::http1::write;
use crate::manage;
use crate::refusal::{Reason, Refusal, Shape};
use crate::serve::{Incoming, Worker};
use crate::table::{InFlight, Incarnation, Server};

/// More than most heads have, in bytes.
const HEAD: usize = 512;

/// More than most addresses and keys of servers have, in bytes.
const ADDRESS: usize = 128;

/// A request that is ready to be forwarded.
struct Job {
    worker: Rc<Worker>,
    server: Arc<Server>,
    head: Head,
    body: Bytes,
    /// Whether it may be sent a second time if there was no answer to the first.
    is_repeatable: bool,
    shape: Shape,
    account: Account,
    /// It has a place and an incarnation.
    is_forwarded: Rc<Cell<bool>>,
}

/// What is sent before the body.
struct Head {
    method: Method,
    /// All of it but to whom.
    lines: Vec<u8>,
}

/// What becomes of a request.
type Answering = Pin<Box<dyn Future<Output = Response<Reply>>>>;

/// Answers a request.
pub(crate) fn answer(
    worker: Rc<Worker>,
    peer: Option<Rc<str>>,
    mut request: Request<Incoming>,
) -> Answering {
    let settings = worker.gateway.settings.load_full();
    let (method, uri) = (request.method(), request.uri());
    let Admission { cors, entry } = settings.access.admit(method, uri, request.headers());
    let way = Way::of(method, uri.path());
    let shape = Shape::of(uri.path());
    match entry {
        Ok(Entry::Caller(caller)) if way == Way::Own => {
            request.extensions_mut().insert(caller);
            Box::pin(own(worker, settings, request, cors))
        }
        Ok(Entry::Caller(caller)) => {
            let asking = Asking {
                settings,
                caller,
                way,
                shape,
                peer,
                cors,
            };
            let account = asking.begin(&worker, uri);
            let (parts, incoming) = request.into_parts();
            Box::pin(asking.answer(worker, account, parts, incoming))
        }
        Ok(Entry::Preflight(answer)) => at_once(preflight(&worker, answer), &cors),
        Err(refusal) => at_once(turned_away(&worker, request.uri(), &refusal), &cors),
    }
}

fn at_once(mut response: Response<Reply>, cors: &Cors) -> Answering {
    cors.apply(response.headers_mut());
    Box::pin(ready(response))
}

/// What is known of a request by its head.
struct Asking {
    settings: Arc<Settings>,
    caller: Caller,
    way: Way,
    shape: Shape,
    peer: Option<Rc<str>>,
    cors: Cors,
}

/// The answer to a request that is not for a server.
async fn own(
    worker: Rc<Worker>,
    settings: Arc<Settings>,
    request: Request<Incoming>,
    cors: Cors,
) -> Response<Reply> {
    let id = worker.request_id().header();
    let (parts, mut incoming) = request.into_parts();
    let read = read::body(
        &mut incoming,
        &settings.config,
        &worker.gateway.bodies,
        |_| {},
    )
    .await;
    let mut response = match read {
        Ok(body) => {
            let request = Request::from_parts(parts, Full::new(body));
            manage::answer(&worker.own, request).await.map(Reply::Own)
        }
        Err(refusal) => Reply::refusal(&refusal, Shape::of(parts.uri.path())),
    };
    response.headers_mut().insert(headers::REQUEST_ID, id);
    cors.apply(response.headers_mut());
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
    fn begin(&self, worker: &Worker, uri: &Uri) -> Account {
        let path = match self.way {
            Way::Inference(path) => path.into(),
            Way::Properties | Way::Upstream { .. } | Way::Own | Way::NotAllowed => {
                uri.path().to_owned().into()
            }
        };
        Account::begin(worker, path, self.caller.name())
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "it would have room for each argument twice"
    )]
    fn answer(
        self,
        worker: Rc<Worker>,
        mut account: Account,
        parts: Parts,
        mut incoming: Incoming,
    ) -> impl Future<Output = Response<Reply>> {
        async move {
            let id = account.id().clone();
            let found = self
                .find(&worker, &mut account, &parts, &mut incoming)
                .await;
            // Who waits for an answer keeps nothing of what was read before.
            drop((parts, incoming));
            let answered = match found {
                Ok(found) if found.is_stream => self.job(worker, account, found).stream().await,
                Ok(found) => self.job(worker, account, found).run().await,
                Err(refusal) => {
                    account.refused(&refusal);
                    Err(refusal)
                }
            };
            let mut response = answered.unwrap_or_else(|refusal| refuse(&refusal, self.shape, &id));
            self.cors.apply(response.headers_mut());
            response
        }
    }

    fn job(&self, worker: Rc<Worker>, account: Account, found: Found) -> Job {
        let is_inference = matches!(self.way, Way::Inference(_));
        Job {
            worker,
            is_repeatable: is_inference || found.head.method.is_safe(),
            server: found.server,
            head: found.head,
            body: found.body,
            shape: self.shape,
            account,
            is_forwarded: Rc::default(),
        }
    }

    /// Reads a request, and finds its server.
    async fn find(
        &self,
        worker: &Worker,
        account: &mut Account,
        parts: &Parts,
        incoming: &mut Incoming,
    ) -> Result<Found, Refusal> {
        if self.way == Way::NotAllowed {
            let message = format!("{} does not know {}", parts.uri.path(), parts.method);
            return Err(Refusal::new(Reason::MethodNotAllowed, message));
        }
        let mut walk = Walk::default();
        let look = |so_far: &[u8]| {
            if matches!(self.way, Way::Inference(_)) {
                walk.look(so_far);
            }
        };
        let (config, bodies) = (&self.settings.config, &worker.gateway.bodies);
        let body = read::body(incoming, config, bodies, look).await?;
        let asked = self.asked(&parts.uri, &body, walk)?;
        account.asks_for(asked.model.as_deref().unwrap_or_default());
        worker.gateway.told().await;
        let table = worker.gateway.table.load();
        let default = &self.settings.config.default;
        let may_use = |server: &Server| self.caller.may_use(server);
        let server = table.resolve(asked.model.as_deref(), default, may_use)?;
        account.goes_to(server);
        Ok(Found {
            server: server.clone(),
            head: self.head(parts, account.id(), &body)?,
            is_stream: asked.stream,
            body,
        })
    }

    fn asked<'b>(&'b self, uri: &Uri, body: &'b [u8], walk: Walk) -> Result<Asked<'b>, Refusal> {
        let named = |model: Option<Cow<'b, str>>| Asked {
            model,
            stream: false,
        };
        Ok(match &self.way {
            Way::Inference(_) => walk.find(body)?,
            Way::Properties => {
                let query = uri.query().unwrap_or_default();
                named(query_value(query, "model").map(Cow::Owned))
            }
            Way::Upstream { server, .. } => named(Some(Cow::Borrowed(server))),
            Way::Own | Way::NotAllowed => named(None),
        })
    }

    /// The head as it is sent. Nothing is kept of the client's own, which would keep the room that it was
    /// read into.
    fn head(&self, parts: &Parts, id: &HeaderValue, body: &[u8]) -> Result<Head, Refusal> {
        let uri = &parts.uri;
        let path = match &self.way {
            Way::Upstream { rest, .. } => below(uri, *rest),
            Way::Inference(_) | Way::Properties | Way::Own | Way::NotAllowed => {
                uri.path_and_query().cloned()
            }
        };
        let path =
            path.ok_or_else(|| Refusal::new(Reason::NoSuchPath, "the path cannot be read"))?;
        let has_body = !body.is_empty() || !parts.method.is_safe();
        let with = Forwarded {
            id,
            peer: self.peer.as_deref(),
            length: has_body.then_some(body.len()),
        };
        let mut lines = Vec::with_capacity(HEAD);
        write::request_line(&mut lines, &parts.method, path.as_str());
        headers::forward(&mut lines, &parts.headers, &with);
        Ok(Head {
            method: parts.method.clone(),
            lines,
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
    /// Forwards the request, and begins a stream meanwhile if it has to wait.
    async fn stream(self) -> Result<Response<Reply>, Refusal> {
        let shape = self.shape;
        let id = self.account.id().clone();
        let gateway = self.worker.gateway.clone();
        let server = self.server.route.server.clone();
        let is_forwarded = self.is_forwarded.clone();
        let waits = move || !is_forwarded.get();
        early::answer(Box::pin(self.run()), &id, &gateway, &server, shape, waits).await
    }

    /// Forwards the request, and waits for the head of the answer.
    #[expect(
        clippy::manual_async_fn,
        reason = "it would have room for `self` twice"
    )]
    fn run(mut self) -> impl Future<Output = Result<Response<Reply>, Refusal>> {
        async move {
            match self.forward_unless_cancelled().await {
                Ok((response, held)) => Ok(self.pass(response, held)),
                Err(refusal) => {
                    self.account.refused(&refusal);
                    Err(refusal)
                }
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
        let mut head = Vec::with_capacity(self.head.lines.len() + ADDRESS);
        head.extend_from_slice(&self.head.lines);
        headers::address(&mut head, to);
        Outgoing {
            method: self.head.method.clone(),
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
