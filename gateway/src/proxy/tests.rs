//! Requests through real connections: a worker's thread between a client and a server that misbehaves.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use magi_proto::v1;
use magid::config::{GatewayConfig, Listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::activity;
use crate::configuration::Settings;
use crate::gateway::{Gateway, Inbox};
use crate::refusal::{Reason, Refusal};
use crate::serve::{self, Listener};
use crate::table::{Incarnation, Link, Server, Table};
use crate::traffic::Traffic;

/// Nothing here takes longer, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

const CHAT: &str = r#"{"model":"alpha","messages":[]}"#;
const STREAM: &str = r#"{"model":"alpha","stream":true,"messages":[]}"#;

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                      transfer-encoding: chunked\r\n\r\n";

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Act {
    /// It says this, and waits for the next request.
    Say(&'static str),
    /// It says this, and closes the connection.
    Leave(&'static str),
    /// It says this, and nothing more.
    Hold(&'static str),
}

/// A server that does as it is told, one act for each request.
struct Upstream {
    address: SocketAddr,
    /// The requests as they came.
    seen: mpsc::Receiver<String>,
    /// Told of each connection that was closed by the gateway.
    left: mpsc::Receiver<()>,
}

impl Upstream {
    async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (see, seen) = mpsc::channel(64);
        let (leave, left) = mpsc::channel(64);
        let acts = acts.to_vec();
        let acts = Arc::new(std::sync::Mutex::new(acts.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acts, see, leave) = (acts.clone(), see.clone(), leave.clone());
                tokio::spawn(async move {
                    let next = || acts.lock().unwrap().next();
                    converse(stream, next, see).await;
                    let _ = leave.send(()).await;
                });
            }
        });
        Self {
            address,
            seen,
            left,
        }
    }

    async fn next_request(&mut self) -> String {
        let seen = timeout(PATIENCE, self.seen.recv()).await;
        seen.expect("a request comes").unwrap()
    }
}

async fn converse(
    mut stream: TcpStream,
    mut next: impl FnMut() -> Option<Act>,
    see: mpsc::Sender<String>,
) {
    while let Some(request) = read_request(&mut stream).await {
        see.send(request).await.unwrap();
        let Some(act) = next() else { return };
        let (Act::Say(text) | Act::Leave(text) | Act::Hold(text)) = act;
        stream.write_all(text.as_bytes()).await.unwrap();
        match act {
            Act::Say(_) => {}
            Act::Leave(_) => return,
            Act::Hold(_) => {
                let _ = stream.read(&mut [0; 64]).await;
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&piece[..count]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(whole);
            }
        }
    }
}

/// A gateway with one server.
struct Bench {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    inbox: Inbox,
    traffic: Arc<Traffic>,
    ending: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Bench {
    fn start() -> Self {
        let settings = Settings::new(GatewayConfig::default());
        let (gateway, inbox) = Gateway::new(settings);
        let (desk, questions) = activity::desk();
        drop(desk);
        let listener = Listener::bind(&Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let address = listener
            .url()
            .trim_start_matches("http://")
            .parse()
            .unwrap();
        let ending = CancellationToken::new();
        let own = axum::Router::new();
        serve::start(
            &gateway,
            &own,
            vec![questions],
            vec![listener],
            &Arc::default(),
            &ending,
        )
        .unwrap();
        Self {
            address,
            gateway,
            inbox,
            traffic: Arc::default(),
            ending,
        }
    }

    /// Has the server's places and its incarnation be these.
    fn route(&self, places: u32, queue: u32, current: Option<&Arc<Incarnation>>) {
        self.traffic.queue.set_limit(places);
        let server = Server {
            route: v1::Route {
                server: "alpha".into(),
                max_in_flight: places,
                max_queue: queue,
                ..v1::Route::default()
            },
            current: current.cloned(),
            traffic: self.traffic.clone(),
        };
        let servers = BTreeMap::from([("alpha".to_owned(), Arc::new(server))]);
        let table = Table::new(Link::Up, servers);
        self.gateway.table.store(Arc::new(table));
        let _ = self.gateway.told.set(());
        self.traffic.moved.notify_waiters();
    }

    async fn send(&self, path: &str, body: &str) -> Client {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer mine\r\n\
             content-length: {length}\r\n\r\n{body}",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Client {
            stream,
            text: String::new(),
        }
    }

    async fn chat(&self, body: &str) -> Client {
        self.send("/v1/chat/completions", body).await
    }

    /// The next server that is to be made ready: answers with that incarnation.
    async fn make_ready(&mut self, incarnation: &Arc<Incarnation>) {
        let wanted = timeout(PATIENCE, self.inbox.wanted.recv()).await;
        let wanted = wanted.expect("a server is wanted").unwrap();
        assert_eq!(wanted.server, "alpha");
        wanted.answer.send(Ok(incarnation.clone())).unwrap();
    }

    async fn finished(&mut self) -> v1::FinishedRequest {
        let finished = timeout(PATIENCE, self.inbox.finished.recv()).await;
        finished.expect("a request ends").unwrap()
    }
}

/// A client, and what it was told.
struct Client {
    stream: TcpStream,
    text: String,
}

impl Client {
    /// Reads until it was told this.
    async fn hears(&mut self, what: &str) {
        let hearing = async {
            while !self.text.contains(what) {
                assert!(self.read().await > 0, "it ended: {}", self.text);
            }
        };
        let heard = timeout(PATIENCE, hearing).await;
        assert!(heard.is_ok(), "{what:?} is not in {:?}", self.text);
    }

    /// Reads until the connection is closed.
    async fn hears_all(mut self) -> String {
        let hearing = async { while self.read().await > 0 {} };
        timeout(PATIENCE, hearing).await.expect("it ends");
        self.text
    }

    async fn read(&mut self) -> usize {
        let mut piece = [0; 4096];
        let count = self.stream.read(&mut piece).await.unwrap_or(0);
        self.text
            .push_str(&String::from_utf8_lossy(&piece[..count]));
        count
    }
}

fn incarnation(number: u64, address: SocketAddr) -> Arc<Incarnation> {
    let endpoint = format!("http://{address}");
    let incarnation = Incarnation::new("alpha", number, &endpoint, Some("theirs"));
    Arc::new(incarnation.unwrap())
}

const OK: Act = Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_but_for_its_key() {
    let mut upstream = Upstream::start(&[OK, OK]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let body = r#"{ "x" : 1, "model":"al\u0070ha"  }"#;
    bench.chat(body).await.hears("\r\n\r\n{}").await;
    let request = upstream.next_request().await;
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    assert!(request.ends_with(&format!("\r\n\r\n{body}")));
    assert!(request.contains("authorization: Bearer theirs"));
    assert!(!request.contains("mine"));
    let finished = bench.finished().await;
    assert_eq!((finished.outcome.as_str(), finished.status), ("done", 200));
    bench
        .send("/upstream/alpha/slots/0?a=b", "")
        .await
        .hears("{}")
        .await;
    let request = upstream.next_request().await;
    assert!(
        request.starts_with("POST /slots/0?a=b HTTP/1.1\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a_refused_request_is_told_of_with_what_it_asked_for() {
    let mut bench = Bench::start();
    bench.route(1, 1, None);
    let mut refused = bench.chat(r#"{"model":"alhpa"}"#).await;
    refused.hears("no-such-model").await;
    let finished = bench.finished().await;
    let told = (&*finished.model, &*finished.server, &*finished.reason);
    assert_eq!(told, ("alhpa", "", "no-such-model"));
    // No more of it than a name has.
    let long = "\u{e9}".repeat(100_000);
    let mut refused = bench.chat(&format!(r#"{{"model":"x{long}"}}"#)).await;
    refused.hears("no-such-model").await;
    let told = bench.finished().await.model;
    assert!(told.starts_with("x\u{e9}") && told.len() <= 256);
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_event_and_without_an_end() {
    let piece = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    let upstream = Upstream::start(&[Act::Leave(piece)]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let told = bench.chat(STREAM).await.hears_all().await;
    assert!(told.contains("data: 1\n\n"));
    assert!(told.contains(r#""code":"upstream-broken""#), "{told}");
    assert!(!told.ends_with("0\r\n\r\n"), "the end is not a proper one");
    assert_eq!(bench.finished().await.outcome, "broken");
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_broken_off() {
    let part = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half";
    let upstream = Upstream::start(&[Act::Leave(part)]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let told = bench.chat(CHAT).await.hears_all().await;
    assert!(told.contains("content-length: 100"));
    assert!(!told.contains("error"), "{told}");
    assert_eq!(bench.finished().await.reason, "upstream-broken");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let mut upstream = Upstream::start(&[Act::Hold(EVENTS), Act::Hold("")]).await;
    let mut bench = Bench::start();
    let current = incarnation(1, upstream.address);
    bench.route(1, 5, Some(&current));
    let mut answered = bench.chat(STREAM).await;
    answered.hears("200 OK").await;
    let queued = bench.chat(CHAT).await;
    while bench.traffic.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    drop(queued);
    assert_eq!(bench.finished().await.outcome, "cancelled");
    assert_eq!((bench.traffic.waiting(), current.in_flight()), (0, 1));
    drop(answered);
    let left = timeout(PATIENCE, upstream.left.recv()).await;
    left.expect("the server notices").unwrap();
    assert_eq!(bench.finished().await.outcome, "cancelled");
    assert_eq!(current.in_flight(), 0);
    // Also while the server has not begun to answer.
    let unanswered = bench.chat(CHAT).await;
    upstream.next_request().await;
    upstream.next_request().await;
    drop(unanswered);
    let left = timeout(PATIENCE, upstream.left.recv()).await;
    left.expect("the server notices").unwrap();
}

#[tokio::test]
async fn a_request_without_an_answer_is_sent_once_more_to_the_next_incarnation() {
    let mut first = Upstream::start(&[Act::Leave("")]).await;
    let second = Upstream::start(&[OK]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, first.address)));
    let mut client = bench.chat(CHAT).await;
    first.next_request().await;
    bench.make_ready(&incarnation(2, second.address)).await;
    client.hears("200 OK").await;
    assert_eq!(bench.finished().await.incarnation, Some(2));
}

#[tokio::test]
async fn a_request_that_kills_its_server_does_not_kill_a_third() {
    let first = Upstream::start(&[Act::Leave("")]).await;
    let second = Upstream::start(&[Act::Leave("")]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, first.address)));
    let mut client = bench.chat(CHAT).await;
    bench.make_ready(&incarnation(2, second.address)).await;
    client.hears("502 Bad Gateway").await;
    client.hears("upstream-broken").await;
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not_sent_again() {
    let mut upstream = Upstream::start(&[Act::Leave(""), OK]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let mut client = bench
        .send("/upstream/alpha/slots/0?action=save", "{}")
        .await;
    client.hears("502 Bad Gateway").await;
    upstream.next_request().await;
    assert!(upstream.seen.try_recv().is_err());
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_replaced() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let mut upstream = Upstream::start(&[Act::Leave(closing), OK]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    bench.chat(CHAT).await.hears("{}").await;
    timeout(PATIENCE, upstream.left.recv()).await.unwrap();
    bench.chat(CHAT).await.hears("{}").await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_called_that() {
    let upstream = Upstream::start(&[Act::Leave("SSH-2.0-OpenSSH_9.2\r\n\r\n")]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let mut client = bench.chat(CHAT).await;
    client.hears("502 Bad Gateway").await;
    client.hears("upstream-not-http").await;
}

#[tokio::test]
async fn a_server_may_say_a_few_times_that_it_will_answer_and_not_without_end() {
    const INTERIM: &str = "HTTP/1.1 102 Processing\r\nx: y\r\n\r\n";
    const LATE: &str =
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
    let endless = INTERIM.repeat(17).leak();
    let upstream = Upstream::start(&[Act::Say(LATE), Act::Say(endless)]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    bench.chat(CHAT).await.hears("late").await;
    bench.chat(CHAT).await.hears("upstream-not-http").await;
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_when_to_come_again() {
    let upstream = Upstream::start(&[Act::Hold("")]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let _answered = bench.chat(CHAT).await;
    while bench.traffic.queue.try_enter().is_some() {
        tokio::task::yield_now().await;
    }
    let _queued = bench.chat(CHAT).await;
    while bench.traffic.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let mut refused = bench.chat(CHAT).await;
    refused.hears("429 Too Many Requests").await;
    refused.hears("retry-after: 1").await;
    refused.hears("queue-full").await;
}

#[tokio::test]
async fn a_drained_incarnation_ends_what_it_has_and_its_successor_gets_the_rest() {
    let tail = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
    let mut first = Upstream::start(&[Act::Hold(tail)]).await;
    let second = Upstream::start(&[OK]).await;
    let mut bench = Bench::start();
    let old = incarnation(1, first.address);
    bench.route(2, 1, Some(&old));
    let mut streaming = bench.chat(STREAM).await;
    streaming.hears("data: 1").await;
    first.next_request().await;
    assert!(!old.close(), "something is in flight");
    let mut next = bench.chat(CHAT).await;
    bench.make_ready(&incarnation(2, second.address)).await;
    next.hears("200 OK").await;
    assert_eq!(old.in_flight(), 1);
    drop(streaming);
    let released = timeout(PATIENCE, old.released()).await;
    released.expect("nothing is in flight any more");
}

#[tokio::test]
async fn a_stream_that_waits_for_a_load_hears_of_it() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n";
    let upstream = Upstream::start(&[Act::Say(whole)]).await;
    let mut bench = Bench::start();
    bench.route(1, 1, None);
    let mut client = bench.chat(STREAM).await;
    client.hears(": alpha is not ready yet\n\n").await;
    bench.make_ready(&incarnation(1, upstream.address)).await;
    client.hears("data: 1\n\n").await;
    client.hears("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_refusal_within_a_stream_is_an_event_and_no_end() {
    let mut bench = Bench::start();
    bench.route(1, 1, None);
    let mut client = bench.chat(STREAM).await;
    client.hears("200 OK").await;
    let wanted = bench.inbox.wanted.recv().await.unwrap();
    let refusal = Refusal::new(Reason::Held, "it is held");
    wanted.answer.send(Err(refusal)).unwrap();
    let told = client.hears_all().await;
    assert!(told.contains(r#""code":"held""#), "{told}");
    assert!(!told.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn without_magid_what_is_ready_is_served_and_what_is_not_is_refused() {
    let upstream = Upstream::start(&[OK]).await;
    let bench = Bench::start();
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    let lost = |table: &Table| Table::new(Link::Lost, table.servers.clone());
    let table = lost(&bench.gateway.table.load());
    bench.gateway.table.store(Arc::new(table));
    bench.chat(CHAT).await.hears("200 OK").await;
    bench.route(1, 1, None);
    let table = lost(&bench.gateway.table.load());
    bench.gateway.table.store(Arc::new(table));
    let mut refused = bench.chat(CHAT).await;
    refused.hears("503 Service Unavailable").await;
    refused.hears("magid-away").await;
}

#[tokio::test]
async fn a_request_waits_for_the_first_word_of_magid() {
    let mut upstream = Upstream::start(&[OK]).await;
    let bench = Bench::start();
    let mut client = bench.chat(CHAT).await;
    let early = timeout(Duration::from_millis(50), client.read()).await;
    assert!(early.is_err(), "it was answered: {}", client.text);
    bench.route(1, 1, Some(&incarnation(1, upstream.address)));
    client.hears("200 OK").await;
    upstream.next_request().await;
}
