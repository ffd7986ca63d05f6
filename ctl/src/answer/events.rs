//! Reading the events of an answer from the bytes that they come in.

use serde::Deserialize;

use super::AnswerError;

/// The longest line that is read: an event is a few tokens, and the last one has figures.
const MAX_LINE_BYTES: usize = 1 << 20;

/// What an answer is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// What it says.
    Text(String),
    /// What it thinks before it says something.
    Thought(String),
    /// Why it ends, as `stop` or `length`.
    Finish(String),
    /// What it took.
    Figures(Figures),
    /// That this is all.
    Done,
}

/// What an answer took, as the server tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Tokens of the question.
    pub(crate) prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub(crate) tokens: Option<u64>,
    pub(crate) tokens_per_second: Option<f64>,
}

/// Takes bytes as they come, and gives the events of whole lines.
#[derive(Default)]
pub(super) struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    /// The events that are complete with these bytes.
    ///
    /// # Errors
    ///
    /// A line is no event, or never ends; or the server says that it cannot go on.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, AnswerError> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            read_line(line.trim_ascii(), &mut events)?;
        }
        match self.rest.len() > MAX_LINE_BYTES {
            true => Err(AnswerError::NotAnAnswer),
            false => Ok(events),
        }
    }
}

fn read_line(line: &[u8], events: &mut Vec<Event>) -> Result<(), AnswerError> {
    // Comments, empty lines and the names of events say nothing here.
    let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start) else {
        return match line.strip_prefix(b"error:") {
            Some(error) => Err(refusal(error)),
            None => Ok(()),
        };
    };
    if data == b"[DONE]" {
        events.push(Event::Done);
        return Ok(());
    }
    let chunk: Chunk = serde_json::from_slice(data).map_err(|_| AnswerError::NotAnAnswer)?;
    if chunk.error.is_some() {
        return Err(refusal(data));
    }
    events.extend(chunk.into_events());
    Ok(())
}

/// What a body says that is an error: its message, else all of it.
pub(super) fn refusal(body: &[u8]) -> AnswerError {
    let told: Option<Refusal> = serde_json::from_slice(body).ok();
    let message = told.map(|told| match told {
        Refusal::Wrapped { error } => error.message,
        Refusal::Bare(error) => error.message,
    });
    AnswerError::Refused {
        message: message.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned()),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Refusal {
    Wrapped { error: Message },
    Bare(Message),
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Timings {
    predicted_n: Option<u64>,
    predicted_per_second: Option<f64>,
}

impl Chunk {
    fn into_events(self) -> Vec<Event> {
        let figures = self.figures().map(Event::Figures);
        let first = self.choices.into_iter().next();
        let said = first.map(|choice| {
            let full = |text: &String| !text.is_empty();
            let Delta {
                content,
                reasoning_content,
            } = choice.delta;
            [
                reasoning_content.filter(full).map(Event::Thought),
                content.filter(full).map(Event::Text),
                choice.finish_reason.map(Event::Finish),
            ]
        });
        let said = said.into_iter().flatten().flatten();
        said.chain(figures).collect()
    }

    fn figures(&self) -> Option<Figures> {
        if self.usage.is_none() && self.timings.is_none() {
            return None;
        }
        let (usage, timings) = (self.usage.as_ref(), self.timings.as_ref());
        let counted = usage.and_then(|usage| usage.completion_tokens);
        Some(Figures {
            prompt_tokens: usage.and_then(|usage| usage.prompt_tokens),
            tokens: counted.or_else(|| timings.and_then(|timings| timings.predicted_n)),
            tokens_per_second: timings.and_then(|timings| timings.predicted_per_second),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\
data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n\
: a comment\n\n\
data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n\
data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"grüß\"}}]}\n\n\
data: {\"choices\":[{\"finish_reason\":\"length\",\"index\":0,\"delta\":{}}]}\n\n\
data: {\"choices\":[],\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":9,\"total_tokens\":11},\
\"timings\":{\"predicted_n\":2,\"predicted_per_second\":41.5}}\n\n\
data: [DONE]\n\n";

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        let events = pieces.iter().map(|piece| parser.take(piece).unwrap());
        events.flatten().collect()
    }

    #[test]
    fn an_answer_is_the_same_however_its_bytes_come() {
        let whole = read(&[STREAM.as_bytes()]);
        let figures = Figures {
            prompt_tokens: Some(9),
            tokens: Some(2),
            tokens_per_second: Some(41.5),
        };
        assert_eq!(
            whole,
            [
                Event::Thought("hm".to_owned()),
                Event::Text("grüß".to_owned()),
                Event::Finish("length".to_owned()),
                Event::Figures(figures),
                Event::Done,
            ]
        );
        let bytes: Vec<_> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn a_server_that_cannot_go_on_says_why() {
        for text in [
            "data: {\"error\":{\"code\":500,\"message\":\"out of context\"}}\n",
            "error: {\"code\":500,\"message\":\"out of context\"}\n",
        ] {
            let error = Parser::default().take(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("out of context"), "{error}");
        }
    }

    #[test]
    fn what_is_no_event_is_no_answer_and_is_not_kept() {
        let mut parser = Parser::default();
        assert!(matches!(
            parser.take(b"data: {\"choices\": 7}\n"),
            Err(AnswerError::NotAnAnswer)
        ));
        let endless = vec![b'x'; MAX_LINE_BYTES + 1];
        assert!(matches!(
            parser.take(&endless),
            Err(AnswerError::NotAnAnswer)
        ));
    }
}
