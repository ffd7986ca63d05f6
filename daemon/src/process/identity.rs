//! What names a process beyond its life, and what marks its descendants.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use super::procfs;

/// 128 random bits, written as 32 hexadecimal digits. An incarnation carries it in its environment,
/// and with it whatever it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl Token {
    const DIGITS: usize = 32;

    /// A new one.
    ///
    /// # Errors
    ///
    /// If the kernel's random numbers cannot be read, which means that no file can be opened.
    pub fn random() -> io::Result<Self> {
        let mut bits = [0; Self::DIGITS / 2];
        File::open("/dev/urandom")?.read_exact(&mut bits)?;
        Ok(Self(
            bits.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() == Self::DIGITS && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err("a token has 32 hexadecimal digits")
        }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// One process among all that ever had its pid. It outlives magid: written down, it tells later
/// whether the pid still names the same process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The pid, in the pid namespace of magid.
    pub pid: u32,
    /// When it started, in clock ticks after boot, as `/proc/PID/stat` tells.
    pub start_time: u64,
    /// Which boot that was: the kernel's `boot_id`.
    pub boot_id: String,
}

impl Identity {
    /// The identity of the process that `pid` names now; `None` if it names none.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let Some(stat) = procfs::Stat::read(pid)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id()?,
        }))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

/// The kernel's name for this boot.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(procfs::text("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_survive_being_written_down() {
        let token = Token::random().unwrap();
        assert_ne!(token, Token::random().unwrap());
        let text = serde_json::to_string(&token).unwrap();
        assert_eq!(serde_json::from_str::<Token>(&text).unwrap(), token);
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        for bad in [
            "",
            "abc",
            "0123456789abcdef0123456789abcdeF",
            "0123456789abcdef0123456789abcde\n",
        ] {
            assert!(Token::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
