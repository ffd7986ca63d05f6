//! Which model a request asks for.
//!
//! A body is forwarded as it came, so nothing is made of it but the answer to two questions: what its
//! top-level `model` says, and whether its top-level `stream` is true. It is walked over once, without
//! a tree and without an allocation.
//!
//! The whole of it is walked over, also after `model` was found. What a key may ask for is decided by
//! the `model` found here, and another reader of the same bytes must not find another one. So this
//! reader is as strict as JSON is: names are compared after their escapes are decoded, a second `model`
//! is refused, whichever of the two others would take, and so is everything that other readers may mend
//! in ways of their own: comments, byte order marks, lone surrogates, text behind the end.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

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

/// Finds what `body` asks for.
///
/// # Errors
///
/// It is not one JSON object and nothing else, or it can be read in more ways than one.
pub fn find(body: &[u8]) -> Result<Asked<'_>, BodyError> {
    Walk { body, at: 0 }.document()
}

/// A walk over a body.
struct Walk<'b> {
    body: &'b [u8],
    /// How far it got, in bytes.
    at: usize,
}

impl<'b> Walk<'b> {
    fn document(mut self) -> Result<Asked<'b>, BodyError> {
        let mut model = None;
        let mut stream = None;
        self.space();
        self.expect(b'{')?;
        self.space();
        if !self.eat(b'}') {
            loop {
                match &*self.name()? {
                    "model" if model.is_some() => return Err(BodyError::DuplicateModel),
                    "model" => model = Some(self.model()?),
                    "stream" if stream.is_some() => return Err(BodyError::DuplicateStream),
                    "stream" => stream = Some(self.value()? == b"true"),
                    _ => {
                        self.value()?;
                    }
                }
                self.space();
                if !self.eat(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.space();
        match self.peek() {
            Some(_) => Err(self.wrong(Problem::Unexpected)),
            None => Ok(Asked {
                model,
                stream: stream.unwrap_or(false),
            }),
        }
    }

    fn model(&mut self) -> Result<Cow<'b, str>, BodyError> {
        self.space();
        match self.peek() {
            Some(b'"') => Ok(decode(self.text()?)),
            // What is no value at all is told as such.
            Some(_) | None => self.value().and(Err(BodyError::ModelNotAString)),
        }
    }

    /// The name of a member, with its escapes decoded, and the colon behind it.
    fn name(&mut self) -> Result<Cow<'b, str>, BodyError> {
        self.space();
        let name = self.text()?;
        self.space();
        self.expect(b':')?;
        Ok(decode(name))
    }

    /// Any value of a member of the top-level object, as it stands.
    fn value(&mut self) -> Result<&'b [u8], BodyError> {
        self.space();
        let start = self.at;
        let mut open = Open::default();
        loop {
            // A value begins here.
            self.space();
            let is_empty = match self.peek() {
                Some(b'{') => {
                    self.open(&mut open, true)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.skip_name()?;
                        continue;
                    }
                    true
                }
                Some(b'[') => {
                    self.open(&mut open, false)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    true
                }
                _ => false,
            };
            if !is_empty {
                self.scalar()?;
            }
            // One has ended here, or will at the next bracket.
            loop {
                let Some(in_object) = open.innermost() else {
                    return Ok(&self.body[start..self.at]);
                };
                self.space();
                let close = if in_object { b'}' } else { b']' };
                if self.eat(close) {
                    open.pop();
                    continue;
                }
                self.expect(b',')?;
                if in_object {
                    self.skip_name()?;
                }
                break;
            }
        }
    }

    fn open(&self, open: &mut Open, is_object: bool) -> Result<(), BodyError> {
        open.push(is_object)
            .ok_or_else(|| self.wrong(Problem::TooDeep))
    }

    fn skip_name(&mut self) -> Result<(), BodyError> {
        self.space();
        self.string()?;
        self.space();
        self.expect(b':')
    }

    fn scalar(&mut self) -> Result<(), BodyError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), BodyError> {
        word.bytes().try_for_each(|byte| self.expect(byte))
    }

    fn number(&mut self) -> Result<(), BodyError> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _is_signed = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), BodyError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(Problem::Unexpected));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    /// What is between two quotes, as a text.
    fn text(&mut self) -> Result<&'b str, BodyError> {
        let inside = self.string()?;
        self.utf8(inside)
    }

    /// Where that is. It is UTF-8.
    fn string(&mut self) -> Result<Range<usize>, BodyError> {
        self.expect(b'"')?;
        let start = self.at;
        // Most are long and ASCII, and those are looked at only once.
        let mut first_other = None;
        loop {
            self.at += match first_other {
                None => plain(self.rest(), |byte| is_special(byte) | !byte.is_ascii()),
                Some(_) => plain(self.rest(), is_special),
            };
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    if let Some(first_other) = first_other {
                        self.utf8(first_other..end)?;
                    }
                    self.at += 1;
                    return Ok(start..end);
                }
                Some(b'\\') => {
                    let escape = escape(self.rest());
                    self.at += escape.ok_or_else(|| self.wrong(Problem::Escape))?.1;
                }
                Some(byte) if !byte.is_ascii() => first_other = Some(self.at),
                Some(_) | None => return Err(self.wrong(Problem::Unexpected)),
            }
        }
    }

    fn utf8(&self, range: Range<usize>) -> Result<&'b str, BodyError> {
        let start = range.start;
        std::str::from_utf8(&self.body[range]).map_err(|error| BodyError::InvalidJson {
            at: start + error.valid_up_to(),
            problem: Problem::NotUtf8,
        })
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), BodyError> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(self.wrong(Problem::Unexpected)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn rest(&self) -> &'b [u8] {
        &self.body[self.at..]
    }

    fn wrong(&self, problem: Problem) -> BodyError {
        let problem = match (problem, self.peek()) {
            (Problem::Unexpected, None) => Problem::Truncated,
            (problem, _) => problem,
        };
        BodyError::InvalidJson {
            at: self.at,
            problem,
        }
    }
}

/// The arrays and objects that are open: a bit for each, set for an object.
#[derive(Default)]
struct Open {
    objects: u128,
    depth: u32,
}

impl Open {
    /// None: they are too many, with the top-level object.
    fn push(&mut self, is_object: bool) -> Option<()> {
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        (self.depth < MAX_DEPTH).then_some(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    /// Whether the innermost one is an object.
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }
}

/// Whether a byte of a string ends it, begins an escape, or cannot be there.
fn is_special(byte: u8) -> bool {
    // Without a branch, so that many bytes are looked at with one instruction.
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// How many bytes at the beginning are not special.
fn plain(text: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let many = plain_blocks::<64>(text, &is_special);
    let most = many + plain_blocks::<16>(&text[many..], &is_special);
    let rest = &text[most..];
    let more = rest.iter().position(|&byte| is_special(byte));
    most + more.unwrap_or(rest.len())
}

/// How many bytes are in the blocks at the beginning that have no special one.
fn plain_blocks<const BLOCK: usize>(text: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    // Without a way out of the inner loop either.
    let is_plain = |block: &&[u8; BLOCK]| {
        let special = |any, &byte: &u8| any | u8::from(is_special(byte));
        block.iter().fold(0, special) == 0
    };
    let (blocks, _) = text.as_chunks::<BLOCK>();
    BLOCK * blocks.iter().take_while(is_plain).count()
}

/// The character that the escape at the beginning stands for, and its length in bytes.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.get(1)? {
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(text),
        _ => return None,
    };
    Some((character, 2))
}

/// The same for `\uXXXX`, or two of them that make a pair.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = hex(text.get(2..6)?)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = text.get(6..12)?.strip_prefix(b"\\u")?;
    let second = hex(second)?
        .checked_sub(0xDC00)
        .filter(|low| *low < 0x400)?;
    let both = 0x1_0000 + ((first - 0xD800) << 10) + second;
    Some((char::from_u32(both)?, 12))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| {
        Some(number << 4 | char::from(digit).to_digit(16)?)
    })
}

/// The text of a string whose escapes were looked at.
fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        let (character, length) =
            escape(&rest.as_bytes()[at..]).expect("the walk looked at every escape of the string");
        decoded.push(character);
        rest = &rest[at + length..];
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests;
