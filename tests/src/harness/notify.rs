//! The socket on which systemd would listen to magid.

use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::wait::DEADLINE;

/// A notify socket, with everything that arrived so far.
pub struct NotifySocket {
    path: PathBuf,
    socket: UnixDatagram,
    messages: Vec<String>,
}

impl NotifySocket {
    /// Listens at `path`.
    ///
    /// # Panics
    ///
    /// If it cannot.
    pub fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket can be made in the test's folder");
        Self {
            path: path.into(),
            socket,
            messages: Vec::new(),
        }
    }

    /// What `NOTIFY_SOCKET` must be.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("paths of tests are UTF-8")
    }

    /// Everything that arrived so far, oldest first.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Reads on until a message satisfies `wanted`, and gives that one. Messages that were read
    /// before do not count.
    ///
    /// # Panics
    ///
    /// If none comes in time.
    pub async fn next(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let search = async {
            let mut buffer = [0; 4096];
            loop {
                let length = self
                    .socket
                    .recv(&mut buffer)
                    .await
                    .expect("a bound socket reads");
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.messages.push(message.clone());
                if wanted(&message) {
                    return message;
                }
            }
        };
        match timeout(DEADLINE, search).await {
            Ok(message) => message,
            Err(_) => panic!(
                "no message that {what} came; there were {:#?}",
                self.messages
            ),
        }
    }
}
