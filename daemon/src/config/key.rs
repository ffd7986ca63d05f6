//! Keys of clients: what is kept of them, and what they may be used for.

use std::fmt;

use sha2::{Digest, Sha256};

/// How a hash begins when it is written down.
const ALGORITHM: &str = "sha256:";

/// How keys begin, so that they can be told from others when they turn up somewhere.
const PREFIX: &str = "magi_";

/// The hash of a key. A key is as good as random, so nothing slower than SHA-256 is needed, which each
/// request pays for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Requests to models.
    Inference,
    /// Looking at servers, models, profiles and metrics.
    Read,
    /// Changing them; looking at them too.
    Admin,
}

impl KeyHash {
    /// The hash of `key`.
    pub fn of(key: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The hash that is written as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(ALGORITHM)?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
        }
        Some(Self(hash))
    }

    /// Its bytes, for a comparison that takes the same time whatever they are.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", hex(&self.0))
    }
}

/// Nothing of it: logs are read by more people than files.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHash").finish_non_exhaustive()
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inference, Self::Read, Self::Admin];

    /// The word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.code() == word)
    }
}

/// A new key, of bytes that nobody can guess.
pub fn new_key(random: &[u8; 24]) -> String {
    format!("{PREFIX}{}", hex(random))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = KeyHash::of("magi_1");
        assert_eq!(KeyHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(KeyHash::parse(&hash.to_string().to_uppercase()), None);
        assert_ne!(hash, KeyHash::of("magi_2"));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let digits = "0".repeat(64);
        assert!(KeyHash::parse(&format!("sha256:{digits}")).is_some());
        for text in [
            "",
            "sha256:",
            &digits,
            "sha256:0",
            &format!("sha256:{digits}0"),
        ] {
            assert_eq!(KeyHash::parse(text), None, "{text}");
        }
        assert_eq!(KeyHash::parse(&format!("sha256:+{}", &digits[1..])), None);
        assert_eq!(
            KeyHash::parse(&format!("sha256:\u{e4}{}", &digits[2..])),
            None
        );
    }

    #[test]
    fn a_hash_does_not_get_into_logs() {
        assert_eq!(format!("{:?}", KeyHash::of("x")), "KeyHash { .. }");
    }

    #[test]
    fn a_new_key_can_be_told_from_others() {
        let key = new_key(&[0xa5; 24]);
        assert_eq!(key, format!("magi_{}", "a5".repeat(24)));
    }
}
