//! Reading a stream until it ends, its reader goes away or Ctrl-C is pressed.

use std::future::Future;
use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::{Status, Streaming};

use crate::cli::Format;
use crate::failure::Failure;
use crate::output::Output;

/// What came of waiting for the next message.
pub(super) enum Next<T> {
    /// It came.
    Message(T),
    /// The daemon ended the stream.
    End,
    /// Nobody wants more: a signal said so, or stdout has no reader.
    Enough,
}

/// Waits for messages on behalf of whoever reads stdout.
pub(super) struct Follower {
    interrupt: Signal,
    terminate: Signal,
    closed: Pin<Box<dyn Future<Output = ()>>>,
}

impl Follower {
    /// From now on Ctrl-C and SIGTERM end the stream and not the process, so that a terminal is
    /// left as it was found.
    pub(super) fn new(output: Output) -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::Runtime)?,
            terminate: signal(SignalKind::terminate()).map_err(Failure::Runtime)?,
            closed: Box::pin(output.closed()),
        })
    }

    /// The next message. Cancel safe: so are all that it waits for.
    pub(super) async fn next<T>(&mut self, stream: &mut Streaming<T>) -> Result<Next<T>, Status> {
        tokio::select! {
            message = stream.message() => Ok(message?.map_or(Next::End, Next::Message)),
            () = self.enough() => Ok(Next::Enough),
        }
    }

    /// Ends when nobody wants more. Cancel safe.
    pub(super) async fn enough(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = &mut self.closed => {}
        }
    }
}

/// What never ends cannot be one JSON document.
pub(super) fn refuse_endless_document(format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => Err(Failure::EndlessDocument),
        Format::Table | Format::Jsonl => Ok(()),
    }
}
