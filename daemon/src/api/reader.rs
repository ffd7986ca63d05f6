//! One reader of a stream.
//!
//! A reader takes messages at his own pace, and nothing is made ahead of him. But one who takes nothing
//! at all for long is let go: he is told why in place of the next message, should he ever read on, and
//! what was kept for him is given back.

use std::time::Duration;

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use super::{errors, peer};

/// How long a reader may take for one message.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Messages that wait for a reader.
const BACKLOG: usize = 2;

/// What a stream carries.
pub(super) type Message<T> = Result<T, Status>;

/// The sending end of a stream.
pub(super) struct Reader<T> {
    messages: mpsc::Sender<Message<T>>,
    /// Room for the reason why he was let go.
    last_word: Option<OwnedPermit<Message<T>>>,
    /// Who he is and what he reads, for the log.
    who: String,
}

/// The reader is gone, or was let go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// A stream, for whoever sent the request, of what `what` names.
pub(super) fn stream<T, R>(
    request: &Request<R>,
    what: &'static str,
) -> (Reader<T>, ReceiverStream<Message<T>>) {
    let (messages, stream) = mpsc::channel(BACKLOG + 1);
    let reader = Reader {
        last_word: messages.clone().try_reserve_owned().ok(),
        messages,
        who: format!("{}, who read {what}", peer::describe(request)),
    };
    (reader, ReceiverStream::new(stream))
}

impl<T> Reader<T> {
    /// Hands a message over, when there is room for it.
    ///
    /// Not cancel-safe: the message is lost.
    pub(super) async fn send(&mut self, message: T) -> Result<(), Gone> {
        match timeout(PATIENCE, self.messages.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(Gone),
            Err(_elapsed) => {
                self.let_go();
                Err(Gone)
            }
        }
    }

    /// Tells the reader why there is nothing more for him.
    pub(super) fn refuse(&mut self, why: Status) {
        if let Some(last_word) = self.last_word.take() {
            last_word.send(Err(why));
        }
    }

    /// Waits until the reader is gone.
    pub(super) async fn closed(&self) {
        self.messages.closed().await;
    }

    fn let_go(&mut self) {
        let seconds = PATIENCE.as_secs();
        tracing::warn!(
            "{}, was let go: nothing was taken for {seconds} s",
            self.who
        );
        let why = format!("cannot go on: you took nothing for {seconds} s; ask again");
        self.refuse(errors::status(
            Code::ResourceExhausted,
            "reader-too-slow",
            why,
        ));
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;
    use tonic_types::StatusExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_takes_nothing_is_let_go_and_told_why() {
        let (mut reader, stream) = stream(&Request::new(()), "numbers");
        let mut sent = 0;
        while reader.send(sent).await.is_ok() {
            sent += 1;
        }
        assert_eq!(sent, BACKLOG);
        drop(reader);
        let messages: Vec<_> = stream.collect().await;
        assert_eq!(messages.len(), BACKLOG + 1);
        let why = messages.last().unwrap().as_ref().unwrap_err();
        assert_eq!(
            why.get_details_error_info().unwrap().reason,
            "reader-too-slow"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        let (mut reader, mut stream) = stream(&Request::new(()), "numbers");
        let slow = async {
            let mut last = 0;
            while let Some(Ok(number)) = stream.next().await {
                last = number;
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            }
            last
        };
        let quick = async move {
            for number in 1..=10 {
                reader.send(number).await.unwrap();
            }
        };
        let (last, ()) = tokio::join!(slow, quick);
        assert_eq!(last, 10);
    }
}
