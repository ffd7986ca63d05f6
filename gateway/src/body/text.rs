//! Strings.

use std::borrow::Cow;

use super::Problem;

/// The longest escape, in bytes.
const ESCAPE: usize = 12;

/// How a walk over a string ended.
pub(super) enum End {
    /// At the quote that ends it.
    Quote,
    /// Before what is not all there.
    Later,
    /// Before what cannot be there.
    Wrong(Problem),
}

/// Walks over what is behind the first quote, and says how far it came, in bytes. `is_whole`: nothing more comes.
pub(super) fn walk(text: &[u8], is_whole: bool) -> (usize, End) {
    let mut at = 0;
    loop {
        // Most are long and ASCII, and those are looked at only once.
        at += plain(&text[at..], is_special_or_other);
        let rest = &text[at..];
        match rest.first() {
            None => return (at, End::Later),
            Some(b'"') => return (at, End::Quote),
            Some(b'\\') if !is_whole && rest.len() < ESCAPE => return (at, End::Later),
            Some(b'\\') => match escape(rest) {
                Some((_, length)) => at += length,
                None => return (at, End::Wrong(Problem::Escape)),
            },
            Some(byte) if byte.is_ascii() => return (at, End::Wrong(Problem::Unexpected)),
            Some(_) => {
                let other = &rest[..plain(rest, is_special)];
                let Err(error) = str::from_utf8(other) else {
                    at += other.len();
                    continue;
                };
                let is_cut = error.error_len().is_none() && other.len() == rest.len();
                let end = match is_cut && !is_whole {
                    true => End::Later,
                    false => End::Wrong(Problem::NotUtf8),
                };
                return (at + error.valid_up_to(), end);
            }
        }
    }
}

/// Whether a byte of a string ends it, begins an escape, or cannot be there.
fn is_special(byte: u8) -> bool {
    // Without a branch, so that many bytes are looked at with one instruction.
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// The same, or whether it is not ASCII.
fn is_special_or_other(byte: u8) -> bool {
    // Other bytes are negative, so that one instruction finds them with those below a space.
    (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\')
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

/// What stands between the quotes of a string that was walked over.
pub(super) fn decode(quoted: &[u8]) -> Cow<'_, str> {
    let raw = &quoted[1..quoted.len() - 1];
    let raw = str::from_utf8(raw).expect("the walk looked at every byte of the string");
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
