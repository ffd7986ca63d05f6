//! Programs that are run to their end.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// How a program ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// The exit status. `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Checks the exit status.
    ///
    /// # Panics
    ///
    /// With everything the program wrote, if it is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit status of {self:#?}");
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("this is no JSON: {error}: {self:#?}"))
    }

    /// Everything it wrote.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    pub(super) fn new(command: &Command, output: Output) -> Self {
        Self {
            command: format!("{:?}", command.as_std()),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end.
///
/// # Panics
///
/// If it does not end in time.
pub(super) async fn run(mut command: Command, deadline: Duration) -> Ran {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = timeout(deadline, command.output())
        .await
        .unwrap_or_else(|_| panic!("{:?} still runs after {deadline:?}", command.as_std()))
        .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.as_std()));
    Ran::new(&command, output)
}
