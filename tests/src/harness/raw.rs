//! A client that says what it likes, byte by byte.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Gateway;

/// Nothing here takes longer, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a gateway.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects.
    pub async fn connect(gateway: &Gateway) -> Self {
        let address = gateway.url().replace("http://", "");
        Self(TcpStream::connect(address).await.expect("it listens"))
    }

    /// Says this. False: the gateway does not listen any more.
    pub async fn try_say(&mut self, text: &str) -> bool {
        self.0.write_all(text.as_bytes()).await.is_ok()
    }

    /// Says this.
    pub async fn say(&mut self, text: &str) {
        assert!(self.try_say(text).await, "the connection has ended");
    }

    /// What comes until this.
    pub async fn until(&mut self, what: &str) -> String {
        let mut answer = String::new();
        let read = async {
            while !answer.contains(what) {
                let mut piece = [0; 4096];
                let count = self.0.read(&mut piece).await.expect("it goes on");
                assert!(count > 0, "it ended: {answer}");
                answer.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        let came = timeout(PATIENCE, read).await;
        assert!(came.is_ok(), "{what:?} does not come");
        answer
    }

    /// What comes until the end, and how that was.
    pub async fn rest(&mut self) -> (String, Result<usize, ErrorKind>) {
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut answer)).await;
        let end = read.expect("it ends").map_err(|error| error.kind());
        (String::from_utf8_lossy(&answer).into_owned(), end)
    }

    /// Whether anything comes within so long.
    pub async fn hears_within(&mut self, patience: Duration) -> bool {
        let answered = timeout(patience, self.0.read(&mut [0; 4096])).await;
        answered.is_ok_and(|count| count.is_ok_and(|count| count > 0))
    }
}
