//! The requests that are under way, for those who ask.
//!
//! Each worker keeps its own in a [`Board`], so that a request takes no lock; who wants to see or cancel
//! requests asks every worker through its [`Desk`].

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use crate::table::Server;

/// Questions that may wait at one worker. A person asks now and then.
const QUESTIONS: usize = 16;

/// A worker that does not answer in this time is passed over: it is busy with requests.
const PATIENCE: Duration = Duration::from_secs(1);

/// The id of a request, in its reply's `x-request-id` and on its way: sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl RequestId {
    /// As a header says it.
    pub fn header(self) -> HeaderValue {
        let digit = |n: usize| b"0123456789abcdef"[(self.0 >> (60 - 4 * n)) as usize & 0xf];
        let digits: [u8; 16] = std::array::from_fn(digit);
        HeaderValue::from_bytes(&digits).expect("hexadecimal digits are a header's value")
    }
}

impl Display for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a place in the server's queue.
    Queued,
    /// It waits for the server to get ready.
    Loading,
    /// The server has it, and has not begun to answer.
    Forwarded,
    /// The answer is on its way.
    Answering,
}

/// A request that is under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// When it came.
    pub at: Timestamp,
    /// The model that it asks for. Empty if it names none.
    pub model: String,
    /// The server that it goes to, once that is known.
    pub server: Option<Arc<Server>>,
    /// The incarnation that has it.
    pub incarnation: Option<u64>,
    /// Its path, without the query.
    pub path: Cow<'static, str>,
    /// The name of the key that it carries. Empty if none is asked for.
    pub key: String,
    /// How far it has come.
    pub phase: Phase,
}

/// The requests of one worker.
#[derive(Clone, Debug, Default)]
pub struct Board {
    entries: Rc<RefCell<Slab<Rc<Entry>>>>,
}

/// One request's place on the board. Dropped, the request is over.
#[derive(Debug)]
pub struct Active {
    board: Board,
    place: usize,
    entry: Rc<Entry>,
}

/// Where it is heard that a request is cancelled.
#[derive(Debug)]
pub struct Cancelling(Rc<Entry>);

#[derive(Debug)]
struct Entry {
    request: RefCell<Request>,
    is_cancelled: Cell<bool>,
    /// Who waits in [`Cancelling::poll`].
    waker: RefCell<Option<Waker>>,
}

/// Where the questions for one worker are handed in.
#[derive(Clone, Debug)]
pub struct Desk {
    questions: mpsc::Sender<Question>,
}

/// The questions for one worker.
#[derive(Debug)]
pub struct Questions {
    questions: mpsc::Receiver<Question>,
}

#[derive(Debug)]
enum Question {
    List(oneshot::Sender<Vec<Request>>),
    Cancel(String, oneshot::Sender<bool>),
}

/// The way from those who ask to one worker.
pub fn desk() -> (Desk, Questions) {
    let (sender, receiver) = mpsc::channel(QUESTIONS);
    let desk = Desk { questions: sender };
    let questions = Questions {
        questions: receiver,
    };
    (desk, questions)
}

impl Board {
    /// Puts a request on the board.
    pub fn begin(&self, request: Request) -> Active {
        let entry = Rc::new(Entry {
            request: RefCell::new(request),
            is_cancelled: Cell::new(false),
            waker: RefCell::new(None),
        });
        let place = self.entries.borrow_mut().insert(entry.clone());
        Active {
            board: self.clone(),
            place,
            entry,
        }
    }

    /// Answers questions until nobody can ask any more.
    pub async fn answer(self, mut questions: Questions) {
        while let Some(question) = questions.questions.recv().await {
            // Who asked may be gone: then nobody misses the answer.
            match question {
                Question::List(reply) => drop(reply.send(self.list())),
                Question::Cancel(id, reply) => drop(reply.send(self.cancel(&id))),
            }
        }
    }

    fn list(&self) -> Vec<Request> {
        let entries = self.entries.borrow();
        let requests = entries
            .iter()
            .map(|(_, entry)| entry.request.borrow().clone());
        requests.collect()
    }

    fn cancel(&self, id: &str) -> bool {
        let entries = self.entries.borrow();
        let mut found = false;
        for (_, entry) in entries.iter() {
            if entry.request.borrow().id.to_string() == id {
                found = true;
                entry.cancel();
            }
        }
        found
    }
}

impl Entry {
    fn cancel(&self) {
        self.is_cancelled.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Active {
    /// What is known of the request.
    pub fn request(&self) -> Request {
        self.entry.request.borrow().clone()
    }

    /// Notes what has become of the request.
    pub fn update(&self, change: impl FnOnce(&mut Request)) {
        change(&mut self.entry.request.borrow_mut());
    }

    /// Where it is heard that somebody cancels the request.
    pub fn cancelling(&self) -> Cancelling {
        Cancelling(self.entry.clone())
    }
}

impl Cancelling {
    /// Ready if the request was cancelled. If not, the task is woken when it is; one task may wait.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_cancelled.get() {
            return Poll::Ready(());
        }
        let mut waker = self.0.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.board.entries.borrow_mut().remove(self.place);
    }
}

/// All requests that are under way, the oldest first.
pub async fn list(desks: &[Desk]) -> Vec<Request> {
    let mut requests = Vec::new();
    for desk in desks {
        let asked = desk.ask(Question::List).await;
        requests.extend(asked.unwrap_or_default());
    }
    requests.sort_by_key(|request| request.at);
    requests
}

/// Cancels the request of this id. False: there is none.
pub async fn cancel(desks: &[Desk], id: &str) -> bool {
    let mut found = false;
    for desk in desks {
        let asked = desk.ask(|reply| Question::Cancel(id.to_owned(), reply));
        found |= asked.await.unwrap_or(false);
    }
    found
}

impl Desk {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.questions.try_send(question(reply)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::LocalSet;

    use super::*;

    fn request(id: u64, second: i64) -> Request {
        Request {
            id: RequestId(id),
            at: Timestamp::from_second(second).unwrap(),
            model: "alpha".to_owned(),
            server: None,
            incarnation: None,
            path: "/v1/completions".into(),
            key: String::new(),
            phase: Phase::Queued,
        }
    }

    #[tokio::test]
    async fn requests_of_all_workers_are_listed_by_age_until_they_end() {
        let (first, first_questions) = desk();
        let (second, second_questions) = desk();
        let boards = [Board::default(), Board::default()];
        let local = LocalSet::new();
        local.spawn_local(boards[0].clone().answer(first_questions));
        local.spawn_local(boards[1].clone().answer(second_questions));
        let desks = [first, second];
        local
            .run_until(async {
                let newer = boards[0].begin(request(2, 2));
                let older = boards[1].begin(request(1, 1));
                older.update(|request| request.phase = Phase::Answering);
                let seen = list(&desks).await;
                assert_eq!(seen[0].id, RequestId(1));
                assert_eq!(seen[0].phase, Phase::Answering);
                assert_eq!(seen[1].id, RequestId(2));
                drop((older, newer));
                assert!(list(&desks).await.is_empty());
            })
            .await;
    }

    #[tokio::test]
    async fn one_that_waits_hears_that_it_is_cancelled() {
        let (desk, questions) = desk();
        let board = Board::default();
        let local = LocalSet::new();
        local.spawn_local(board.clone().answer(questions));
        local
            .run_until(async {
                let active = board.begin(request(1, 1));
                let desks = [desk];
                assert!(!cancel(&desks, "0000000000000002").await);
                let cancelling = active.cancelling();
                let cancelled = poll_fn(|cx| cancelling.poll(cx));
                let ((), found) = tokio::join!(cancelled, cancel(&desks, "0000000000000001"));
                assert!(found);
            })
            .await;
    }

    #[tokio::test]
    async fn a_worker_that_is_gone_is_passed_over() {
        let (desk, questions) = desk();
        drop(questions);
        assert!(list(&[desk]).await.is_empty());
    }
}
