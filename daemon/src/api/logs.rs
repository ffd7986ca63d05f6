//! The output of servers, as a stream.

use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Arc;

use magi_proto::v1;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Code, Request, Status};

use super::reader::{Gone, Message, Reader};
use super::{Api, errors, reader};
use crate::blocking::blocking;
use crate::files::Hints;
use crate::logs::{self, Follower, Fresh, LogStore};
use crate::name::ServerName;
use crate::supervisor::board::Fleet;
use crate::supervisor::context::Context;

/// Lines that a reader begins with, unless he asks for another number.
const LAST: u32 = 20;

/// The most lines that a reader can begin with.
const MOST: u32 = 10_000;

/// Bytes of lines in one message, but for one that is longer by itself. Most clients refuse messages of
/// more than 4 MiB, and what waits for a reader takes memory.
const BYTES_PER_MESSAGE: usize = 64 * 1024;

/// One reader.
struct Tail {
    context: Arc<Context>,
    server: ServerName,
    store: LogStore,
    reader: Reader<v1::TailLogsResponse>,
    ending: watch::Receiver<bool>,
    board: watch::Receiver<Fleet>,
}

pub(super) async fn tail(
    api: &Api,
    request: Request<v1::TailLogsRequest>,
) -> Result<impl Stream<Item = Message<v1::TailLogsResponse>> + use<>, Status> {
    let (reader, stream) = reader::stream(&request, "the output of a server");
    let request = request.into_inner();
    let lines = request.lines.unwrap_or(LAST);
    if lines > MOST {
        return Err(errors::invalid(format!(
            "cannot give the last {lines} lines: at most {MOST} can be asked for"
        )));
    }
    let (server, _) = api.fleet.explain(request.name).await.map_err(errors::ask)?;
    let store = api.context.rules.borrow().logs.clone();
    let incarnation = choose(&store, &server, request.incarnation)?;
    let tail = Tail {
        board: api.context.board.subscribe(),
        context: api.context.clone(),
        server,
        store,
        reader,
        ending: api.ending.clone(),
    };
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    let (follow, only_this) = (request.follow, request.incarnation.is_some());
    tokio::spawn(async move {
        // It ends when the reader is gone; there is nobody to tell why.
        let _ = tail.run(incarnation, lines, follow, only_this).await;
    });
    Ok(stream)
}

/// The incarnation to read: the one that is asked for, else the newest. None: there is none yet.
fn choose(
    store: &LogStore,
    server: &ServerName,
    asked: Option<u64>,
) -> Result<Option<u64>, Status> {
    let kept = store.incarnations(server).unwrap_or_default();
    match asked {
        None => Ok(kept.last().copied()),
        Some(number) if kept.contains(&number) => Ok(Some(number)),
        Some(number) => {
            let kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
            let left = match kept.is_empty() {
                true => "none is left".to_owned(),
                false => format!("left are {}", kept.join(", ")),
            };
            Err(errors::status(
                Code::NotFound,
                "no-such-incarnation",
                format!("cannot find the output of incarnation {number} of {server}: {left}"),
            ))
        }
    }
}

/// The reader is gone, or magid ends.
struct Over;

impl Tail {
    async fn run(
        mut self,
        first: Option<u64>,
        lines: usize,
        follow: bool,
        only_this: bool,
    ) -> Result<(), Over> {
        let mut current = first;
        if let Some(number) = current {
            let path = self.store.path(&self.server, number);
            // Opened before the last lines are read: what is written between comes twice rather than
            // not at all.
            let follower = opened(path.clone()).await;
            let last = read_last(path, lines).await;
            self.send(number, last, 0).await?;
            if !follow {
                return Ok(());
            }
            self.follow(number, follower, only_this).await?;
        } else if !follow {
            return Ok(());
        }
        loop {
            let number = self.next_incarnation(current).await?;
            current = Some(number);
            let path = self.store.path(&self.server, number);
            let follower = Follower::at_start(&path).ok();
            self.follow(number, follower, false).await?;
        }
    }

    /// Passes new lines on, until there is a newer incarnation or, for a reader of only this one, it
    /// has ended.
    async fn follow(
        &mut self,
        number: u64,
        follower: Option<Follower>,
        only_this: bool,
    ) -> Result<(), Over> {
        let hints: &Hints = &self.context.hints;
        let mut changes = hints.watch(&self.store.folder_of(&self.server));
        let Some(mut follower) = follower else {
            return Ok(());
        };
        loop {
            // Looked at before reading, so that what an incarnation wrote last is read.
            let is_over = self.newest() > Some(number) || (only_this && !self.runs(number));
            let read = blocking(move || (follower.read(), follower)).await;
            let Ok((Ok(mut fresh), back)) = read else {
                return Ok(());
            };
            follower = back;
            if is_over && fresh.at_end {
                fresh.lines.extend(follower.finish());
            }
            let at_end = fresh.at_end;
            self.pass(number, fresh).await?;
            if !at_end {
                continue;
            }
            if is_over {
                return if only_this { Err(Over) } else { Ok(()) };
            }
            // All arms are cancel-safe: each only waits for something that stays true.
            tokio::select! {
                () = changes.changed() => {}
                _ = self.board.changed() => {}
                () = self.reader.closed() => return Err(Over),
                _ = self.ending.wait_for(|ending| *ending) => return Err(Over),
            }
        }
    }

    async fn next_incarnation(&mut self, after: Option<u64>) -> Result<u64, Over> {
        loop {
            let kept = self.store.incarnations(&self.server).unwrap_or_default();
            if let Some(next) = kept.into_iter().find(|number| Some(*number) > after) {
                return Ok(next);
            }
            // All arms are cancel-safe: each only waits for something that stays true.
            tokio::select! {
                changed = self.board.changed() => changed.map_err(|_| Over)?,
                () = self.reader.closed() => return Err(Over),
                _ = self.ending.wait_for(|ending| *ending) => return Err(Over),
            }
        }
    }

    fn newest(&mut self) -> Option<u64> {
        let board = self.board.borrow_and_update();
        let (_, row) = board.rows.get(&self.server)?;
        row.incarnation
    }

    fn runs(&mut self, number: u64) -> bool {
        let board = self.board.borrow_and_update();
        let row = board.rows.get(&self.server);
        row.is_some_and(|(_, row)| row.pid.is_some() && row.incarnation == Some(number))
    }

    async fn pass(&mut self, number: u64, fresh: Fresh) -> Result<(), Over> {
        if fresh.lines.is_empty() && fresh.skipped == 0 {
            return Ok(());
        }
        self.send(number, fresh.lines, fresh.skipped).await
    }

    async fn send(
        &mut self,
        incarnation: u64,
        lines: Vec<String>,
        skipped: u64,
    ) -> Result<(), Over> {
        let mut skipped_bytes = skipped;
        let mut rest = lines.into_iter().peekable();
        loop {
            let message = v1::TailLogsResponse {
                incarnation,
                lines: take_bytes(&mut rest),
                skipped_bytes,
            };
            self.reader.send(message).await.map_err(|Gone| Over)?;
            skipped_bytes = 0;
            if rest.peek().is_none() {
                return Ok(());
            }
        }
    }
}

/// The next lines, as many as go into one message.
fn take_bytes(lines: &mut Peekable<impl Iterator<Item = String>>) -> Vec<String> {
    let mut taken: Vec<String> = lines.next().into_iter().collect();
    let mut bytes = taken.first().map_or(0, String::len);
    while let Some(line) = lines.next_if(|line| bytes + line.len() <= BYTES_PER_MESSAGE) {
        bytes += line.len();
        taken.push(line);
    }
    taken
}

async fn opened(path: PathBuf) -> Option<Follower> {
    let open = move || Follower::at_end(&path).ok();
    blocking(open).await.ok().flatten()
}

async fn read_last(path: PathBuf, lines: usize) -> Vec<String> {
    let read = move || logs::tail(&path, lines).unwrap_or_default();
    blocking(read).await.unwrap_or_default()
}
