//! What is asked: on the command line, through a pipe, or line by line at a terminal.

use std::io::{self, BufRead, IsTerminal, Read};
use std::os::fd::AsFd;
use std::thread;

use rustix::fs::{FileType, fstat};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::output::Output;
use crate::output::colour::Colour;

/// More than any context holds.
const MAX_PROMPT_BYTES: u64 = 64 << 20;

/// What stands before a line that is typed.
const INVITATION: &str = "> ";

/// Where questions come from.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    /// There is one, and this is it.
    Prompt(String),
    /// From somebody at a terminal.
    Conversation,
}

/// What is to be asked.
///
/// # Errors
///
/// There is nothing, or stdin cannot be read.
pub(super) fn read(prompt: Option<&str>) -> Result<Input, Failure> {
    let stdin = io::stdin();
    let piped = match prompt {
        None if stdin.is_terminal() => return Ok(Input::Conversation),
        // With a question at hand only what was meant for it is waited for: a script's stdin may be
        // a socket on which nothing ever comes.
        Some(_) if !is_pipe_or_file(&stdin) => None,
        Some(_) | None => Some(read_all(stdin)?),
    };
    let parts = [prompt.map(str::to_owned), piped];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let parts: Vec<_> = parts.iter().map(|part| part.trim_end()).collect();
    let all = parts.join("\n\n").trim_end().to_owned();
    match all.is_empty() {
        true => Err(Failure::NothingToAsk),
        false => Ok(Input::Prompt(all)),
    }
}

fn is_pipe_or_file(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::Fifo | FileType::RegularFile)
    })
}

fn read_all(stdin: io::Stdin) -> Result<String, Failure> {
    let mut text = String::new();
    let read = stdin
        .lock()
        .take(MAX_PROMPT_BYTES)
        .read_to_string(&mut text);
    read.map_err(|source| Failure::Input {
        what: "stdin".to_owned(),
        source,
    })?;
    Ok(text)
}

/// Lines that are typed, until there are no more.
///
/// They are read by a thread, which nobody waits for: what is read from a terminal cannot be called
/// off.
pub(super) fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    // Without a thread the channel is closed at once, which is the end of the conversation.
    let _detached = thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || {
            let stdin = io::stdin().lock().take(MAX_PROMPT_BYTES);
            for line in stdin.lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
    receiver
}

/// Asks for a line.
///
/// # Errors
///
/// Nobody reads stdout any more.
pub(super) fn invite(output: Output) -> Result<(), Failure> {
    let shown = match output.colours {
        true => Colour::Dim.paint(INVITATION),
        false => INVITATION.to_owned(),
    };
    match output.is_terminal {
        true => output.bytes(shown.as_bytes()),
        false => Ok(()),
    }
}
