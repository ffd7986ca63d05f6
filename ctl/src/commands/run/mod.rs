//! `magictl run NAME [PROMPT]`: has a server ready, and talks to it.
//!
//! An answer goes to stdout as it comes; what the model thinks first, and what it took, to stderr.

mod input;
mod show;

use std::time::Duration;

use clap::Args;
use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::follow::refuse_endless_document;
use super::waiting::{self, Audience};
use crate::answer::{Answer, AnswerError, Event, Figures, Message};
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::times;
use crate::output::{Output, narrate};
use input::Input;
use show::Shown;

/// A server that is replaced between its being ready and the question is asked for again so often.
const ATTEMPTS: u32 = 3;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Name or alias of a server, or id of a model that a server serves
    name: String,
    /// What to ask [default: what is piped in, else a conversation]; with a pipe as well, that follows
    prompt: Option<String>,
    /// What to tell the model beforehand
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The longest answer
    #[arg(short = 'n', long, value_name = "TOKENS")]
    max_tokens: Option<u32>,
    /// Wait at most this long until it is ready, for example 90s or 2m
    #[arg(long, value_name = "DURATION", value_parser = times::parse_duration)]
    timeout: Option<Duration>,
}

/// Asks once, or for as long as there are questions.
pub(crate) async fn run(
    client: &Client,
    args: RunArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let mut talk = Talk::new(client, &args, output);
    let done = match input::read(args.prompt.as_deref())? {
        Input::Prompt(prompt) => talk.ask(prompt).await.map(|()| ExitStatus::Done),
        Input::Conversation => {
            refuse_endless_document(output.format)?;
            talk.converse().await
        }
    };
    match (done, args.timeout) {
        (Err(failure), Some(timeout)) if failure.is_timeout() => {
            waiting::time_is_up(client, Audience::Serving(&args.name), timeout).await
        }
        (done, _) => done,
    }
}

/// What was said so far, and to whom.
struct Talk<'a> {
    client: &'a Client,
    args: &'a RunArgs,
    output: Output,
    said: Vec<Message>,
}

/// An answer, as `-o json` prints it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    server: String,
    incarnation: u64,
    content: String,
    /// What the model thought before it said something.
    reasoning: Option<String>,
    finish_reason: Option<String>,
    prompt_tokens: Option<u64>,
    tokens: Option<u64>,
    tokens_per_second: Option<f64>,
    /// From the question until the first token, loading left out.
    first_token_seconds: Option<f64>,
    took_seconds: f64,
}

impl<'a> Talk<'a> {
    fn new(client: &'a Client, args: &'a RunArgs, output: Output) -> Self {
        let system = args.system.iter().map(|text| Message {
            role: "system",
            content: text.clone(),
        });
        Self {
            client,
            args,
            output,
            said: system.collect(),
        }
    }

    /// Asks, shows the answer, and remembers both.
    async fn ask(&mut self, prompt: String) -> Result<(), Failure> {
        self.said.push(Message {
            role: "user",
            content: prompt,
        });
        let mut shown = Shown::new(self.output);
        let told = self.answer(&mut shown).await?;
        shown.end(&told)?;
        self.said.push(Message {
            role: "assistant",
            content: told.content,
        });
        Ok(())
    }

    /// Asks what a person types, until there is no more.
    async fn converse(&mut self) -> Result<ExitStatus, Failure> {
        // Whoever talks waits for the first answer, and not for the model.
        self.ready().await?;
        narrate(format_args!("Ctrl-C stops an answer, Ctrl-D ends"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
        let mut lines = input::lines();
        loop {
            input::invite(self.output)?;
            let line = tokio::select! {
                // Both are cancel safe: a line that is not taken stays in the channel.
                line = lines.recv() => line,
                _ = interrupt.recv() => None,
            };
            match line {
                None => return Ok(ExitStatus::Done),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => self.ask_unless(line, &mut interrupt).await?,
            }
        }
    }

    /// Asks, and stops in the middle if told to. What went wrong with one answer does not end a
    /// conversation.
    async fn ask_unless(&mut self, line: String, interrupt: &mut Signal) -> Result<(), Failure> {
        let before = self.said.len();
        let asked = tokio::select! {
            asked = self.ask(line) => asked,
            // Dropping the answer is what stops it: the server sees the connection close.
            _ = interrupt.recv() => {
                narrate(format_args!(""));
                self.said.truncate(before);
                return Ok(());
            }
        };
        match asked {
            Err(failure @ Failure::Answer { .. }) => {
                self.said.truncate(before);
                failure.report();
                Ok(())
            }
            asked => asked,
        }
    }

    /// Reads an answer to its end, showing it.
    async fn answer(&self, shown: &mut Shown) -> Result<Told, Failure> {
        let (ready, mut answer, began) = self.begin().await?;
        let failed = |source| Failure::Answer {
            server: ready.server.clone(),
            source,
        };
        let mut told = Told {
            server: ready.server.clone(),
            incarnation: ready.incarnation,
            ..Told::default()
        };
        let mut thought = String::new();
        while let Some(event) = answer.next().await.map_err(failed)? {
            match event {
                Event::Text(text) => {
                    told.note_first(began);
                    shown.text(&text)?;
                    told.content.push_str(&text);
                }
                Event::Thought(text) => {
                    told.note_first(began);
                    shown.thought(&text);
                    thought.push_str(&text);
                }
                Event::Finish(reason) => told.finish_reason = Some(reason),
                Event::Figures(figures) => told.note_figures(figures),
                Event::Done => {}
            }
        }
        told.reasoning = (!thought.is_empty()).then_some(thought);
        told.took_seconds = began.elapsed().as_secs_f64();
        Ok(told)
    }

    /// Has the question answered by whoever is ready, and says since when.
    async fn begin(&self) -> Result<(EnsureReadyResponse, Answer, Instant), Failure> {
        let mut attempt = 1;
        loop {
            let ready = self.ready().await?;
            let began = Instant::now();
            match Answer::ask(&ready, &self.said, self.args.max_tokens).await {
                Ok(answer) => return Ok((ready, answer, began)),
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => attempt += 1,
                Err(source) => return Err(failed(ready, source)),
            }
        }
    }

    async fn ready(&self) -> Result<EnsureReadyResponse, Failure> {
        let name = &self.args.name;
        let request = EnsureReadyRequest {
            server: name.clone(),
        };
        let mut gateways = self.client.gateways();
        let request = gateways.ensure_ready(with_timeout(request, self.args.timeout));
        let answer = waiting::narrated(self.client, Audience::Serving(name), request).await;
        Ok(answer?)
    }
}

fn failed(ready: EnsureReadyResponse, source: AnswerError) -> Failure {
    Failure::Answer {
        server: ready.server,
        source,
    }
}

impl Told {
    fn note_first(&mut self, began: Instant) {
        let first = || began.elapsed().as_secs_f64();
        self.first_token_seconds.get_or_insert_with(first);
    }

    fn note_figures(&mut self, figures: Figures) {
        self.prompt_tokens = figures.prompt_tokens.or(self.prompt_tokens);
        self.tokens = figures.tokens.or(self.tokens);
        self.tokens_per_second = figures.tokens_per_second.or(self.tokens_per_second);
    }
}
