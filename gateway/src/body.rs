//! Which model a request asks for.
//!
//! A body is forwarded as it came, so nothing is made of it but the answer to two questions: what its
//! top-level `model` says, and whether its top-level `stream` is true. It is walked over once, without
//! a tree and without an allocation, and as it comes: of a large body the beginning would have to be
//! fetched from memory again when its end is there.
//!
//! The whole of it is walked over, also after `model` was found. What a key may ask for is decided by
//! the `model` found here, and another reader of the same bytes must not find another one. So this
//! reader is as strict as JSON is: names are compared after their escapes are decoded, a second `model`
//! is refused, whichever of the two others would take, and so is everything that other readers may mend
//! in ways of their own: comments, byte order marks, lone surrogates, text behind the end.

mod number;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use number::Number;
use text::End;

/// The deepest nesting of arrays and objects. It is that of `serde_json`.
const MAX_DEPTH: u32 = 127;

/// What a body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'b> {
    /// The value of `model`. Absent if there is no such key.
    pub model: Option<Cow<'b, str>>,
    /// Whether `stream` is true.
    pub stream: bool,
}

/// Why a body cannot be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It is no JSON object.
    #[error("the body is no JSON object: {problem} at byte {at}")]
    InvalidJson {
        /// Where, in bytes from its beginning.
        at: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// `model` is there twice.
    #[error("the body has `model` twice")]
    DuplicateModel,
    /// `stream` is there twice.
    #[error("the body has `stream` twice")]
    DuplicateStream,
    /// `model` is something else than a string.
    #[error("`model` is not a string")]
    ModelNotAString,
}

/// What is wrong at a place of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Bytes that are no UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Nothing where something has to be.
    #[error("it ends too early")]
    Truncated,
    /// A character that cannot be there.
    #[error("an unexpected character")]
    Unexpected,
    /// An escape that does not exist, or half of a pair.
    #[error("an invalid escape")]
    Escape,
    /// Arrays and objects in each other.
    #[error("more than {MAX_DEPTH} levels of nesting")]
    TooDeep,
}

/// A walk over a body, which goes on as more of it comes.
#[derive(Debug, Default)]
pub struct Walk {
    /// How far it got, in bytes.
    at: usize,
    place: Place,
    open: Open,
    /// Where the last name or value of the top-level object began.
    start: usize,
    /// Whose value comes next in the top-level object.
    member: Member,
    /// Where `model` is, with its quotes.
    model: Option<Range<usize>>,
    stream: Option<bool>,
    /// What is wrong, where it has stopped.
    error: Option<BodyError>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// The top-level object.
    #[default]
    Document,
    /// The name of a member, or the end of an empty object.
    Name { is_first: bool },
    /// What is behind a name.
    Colon,
    /// A value, or the end of an empty array.
    Value { is_first: bool },
    /// More of a string.
    Text { is_name: bool },
    /// More of a number.
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// What is behind a value.
    Behind,
    /// Nothing.
    Over,
}

/// A member of the top-level object.
#[derive(Clone, Copy, Debug, Default)]
enum Member {
    Model,
    Stream,
    #[default]
    Other,
}

impl Walk {
    /// Looks at what has come of the body: all that had come the last time, and more.
    pub fn look(&mut self, so_far: &[u8]) {
        if self.error.is_none() {
            self.error = self.go(so_far, false).err();
        }
    }

    /// What the body asks for, now that all of it is there.
    ///
    /// # Errors
    ///
    /// It is not one JSON object and nothing else, or it can be read in more ways than one.
    pub fn find(mut self, body: &[u8]) -> Result<Asked<'_>, BodyError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.go(body, true)?;
        match self.place {
            Place::Over => Ok(Asked {
                model: self.model.map(|quoted| text::decode(&body[quoted])),
                stream: self.stream.unwrap_or(false),
            }),
            _ => Err(self.wrong(Problem::Truncated)),
        }
    }

    fn go(&mut self, body: &[u8], is_whole: bool) -> Result<(), BodyError> {
        while self.step(body, is_whole)? {}
        Ok(())
    }

    /// False: it cannot go on before there is more.
    fn step(&mut self, body: &[u8], is_whole: bool) -> Result<bool, BodyError> {
        match self.place {
            Place::Text { is_name } => self.text(body, is_whole, is_name),
            Place::Number(number) => self.number(body, number),
            Place::Word(rest) => self.word(body, rest),
            place => self.token(body, place),
        }
    }

    /// What is one character, or begins with it.
    fn token(&mut self, body: &[u8], place: Place) -> Result<bool, BodyError> {
        let is_space = |byte: &&u8| matches!(**byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += body[self.at..].iter().take_while(is_space).count();
        let Some(&byte) = body.get(self.at) else {
            return Ok(false);
        };
        let in_object = self.open.is_object();
        match (place, byte) {
            (Place::Document, b'{') => self.open(true)?,
            (Place::Name { .. }, b'"') => self.begin(Place::Text { is_name: true }),
            (Place::Colon, b':') => self.place = Place::Value { is_first: false },
            (Place::Behind, b',') if in_object => self.place = Place::Name { is_first: false },
            (Place::Behind, b',') => self.place = Place::Value { is_first: false },
            (Place::Name { is_first: true }, b'}') => self.close(body)?,
            (Place::Value { is_first: true }, b']') => self.close(body)?,
            (Place::Behind, b'}') if in_object => self.close(body)?,
            (Place::Behind, b']') if !in_object => self.close(body)?,
            (Place::Value { .. }, _) => self.value(byte)?,
            _ => return Err(self.wrong(Problem::Unexpected)),
        }
        self.at += 1;
        Ok(true)
    }

    fn value(&mut self, first: u8) -> Result<(), BodyError> {
        let place = match first {
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b'"' => Place::Text { is_name: false },
            b't' => Place::Word(b"rue"),
            b'f' => Place::Word(b"alse"),
            b'n' => Place::Word(b"ull"),
            _ => match Number::default().then(first) {
                Some(number) => Place::Number(number),
                None => return Err(self.wrong(Problem::Unexpected)),
            },
        };
        self.begin(place);
        Ok(())
    }

    /// A name or a value begins.
    fn begin(&mut self, place: Place) {
        if self.open.depth == 1 {
            self.start = self.at;
        }
        self.place = place;
    }

    fn open(&mut self, is_object: bool) -> Result<(), BodyError> {
        self.begin(match is_object {
            true => Place::Name { is_first: true },
            false => Place::Value { is_first: true },
        });
        let opened = self.open.push(is_object);
        opened.ok_or_else(|| self.wrong(Problem::TooDeep))
    }

    fn close(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.open.pop();
        if self.open.depth == 0 {
            self.place = Place::Over;
            return Ok(());
        }
        self.ended(body)
    }

    fn text(&mut self, body: &[u8], is_whole: bool, is_name: bool) -> Result<bool, BodyError> {
        let (length, end) = text::walk(&body[self.at..], is_whole);
        self.at += length;
        match end {
            End::Quote => self.at += 1,
            End::Later => return Ok(false),
            End::Wrong(problem) => return Err(self.wrong(problem)),
        }
        match is_name {
            true => self.named(body)?,
            false => self.ended(body)?,
        }
        Ok(true)
    }

    fn number(&mut self, body: &[u8], mut number: Number) -> Result<bool, BodyError> {
        while let Some(&byte) = body.get(self.at) {
            match number.then(byte) {
                Some(next) => number = next,
                None if number.may_end() => return self.ended(body).map(|()| true),
                None => return Err(self.wrong(Problem::Unexpected)),
            }
            self.at += 1;
        }
        self.place = Place::Number(number);
        Ok(false)
    }

    fn word(&mut self, body: &[u8], mut rest: &'static [u8]) -> Result<bool, BodyError> {
        while let [next, behind @ ..] = rest {
            match body.get(self.at) {
                Some(byte) if byte == next => rest = behind,
                Some(_) => return Err(self.wrong(Problem::Unexpected)),
                None => {
                    self.place = Place::Word(rest);
                    return Ok(false);
                }
            }
            self.at += 1;
        }
        self.ended(body).map(|()| true)
    }

    /// A name has ended.
    fn named(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.place = Place::Colon;
        if self.open.depth > 1 {
            return Ok(());
        }
        self.member = match &*text::decode(&body[self.start..self.at]) {
            "model" if self.model.is_some() => return Err(BodyError::DuplicateModel),
            "model" => Member::Model,
            "stream" if self.stream.is_some() => return Err(BodyError::DuplicateStream),
            "stream" => Member::Stream,
            _ => Member::Other,
        };
        Ok(())
    }

    /// A value has ended.
    fn ended(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.place = Place::Behind;
        if self.open.depth > 1 {
            return Ok(());
        }
        match self.member {
            Member::Model if body[self.start] != b'"' => return Err(BodyError::ModelNotAString),
            Member::Model => self.model = Some(self.start..self.at),
            Member::Stream => self.stream = Some(&body[self.start..self.at] == b"true"),
            Member::Other => {}
        }
        Ok(())
    }

    fn wrong(&self, problem: Problem) -> BodyError {
        BodyError::InvalidJson {
            at: self.at,
            problem,
        }
    }
}

/// The arrays and objects that are open: a bit for each, set for an object.
#[derive(Debug, Default)]
struct Open {
    objects: u128,
    depth: u32,
}

impl Open {
    /// None: they are too many.
    fn push(&mut self, is_object: bool) -> Option<()> {
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    /// Whether the innermost one is an object.
    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

#[cfg(test)]
mod tests;
