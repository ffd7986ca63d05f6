//! Names of servers.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest name, in characters.
pub const MAX_LENGTH: usize = 64;

/// The name of a server, valid by construction: it is safe as a file name, in a URL path and in a
/// terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

/// Another name for a server, which may also hold `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias(Arc<str>);

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// It has no characters.
    #[error("cannot be empty")]
    Empty,
    /// It has more than [`MAX_LENGTH`] characters.
    #[error("cannot have {0} characters: {MAX_LENGTH} are allowed")]
    TooLong(usize),
    /// It begins with something other than a letter or a digit.
    #[error("cannot begin with {0:?}: write a letter or a digit first")]
    BadStart(char),
    /// It has a character that is not allowed.
    #[error("cannot contain {0:?}: letters, digits, '.', '_', '-' and ':' are allowed")]
    BadCharacter(char),
}

impl ServerName {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// Says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, |c| matches!(c, '.' | '_' | '-' | ':'))?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Alias {
    /// Checks and takes an alias.
    ///
    /// # Errors
    ///
    /// Says which rule the alias breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, |c| matches!(c, '.' | '_' | '-' | ':' | '/'))?;
        Ok(Self(name.into()))
    }

    /// The alias.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str, punctuation: impl Fn(char) -> bool) -> Result<(), NameError> {
    let first = name.chars().next().ok_or(NameError::Empty)?;
    let length = name.chars().count();
    if length > MAX_LENGTH {
        return Err(NameError::TooLong(length));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::BadStart(first));
    }
    match name
        .chars()
        .find(|&c| !c.is_ascii_alphanumeric() && !punctuation(c))
    {
        Some(bad) => Err(NameError::BadCharacter(bad)),
        None => Ok(()),
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_accepted() {
        for name in ["a", "qwen2.5-7b", "q2_fast:1", "0"] {
            assert_eq!(ServerName::new(name).unwrap().as_str(), name);
        }
        assert!(Alias::new("openai/gpt-4o").is_ok());
    }

    #[test]
    fn names_that_could_escape_a_folder_or_an_option_are_refused() {
        assert_eq!(ServerName::new(""), Err(NameError::Empty));
        assert_eq!(ServerName::new(".."), Err(NameError::BadStart('.')));
        assert_eq!(ServerName::new("-x"), Err(NameError::BadStart('-')));
        assert_eq!(ServerName::new("a/b"), Err(NameError::BadCharacter('/')));
        assert_eq!(
            ServerName::new("a\u{e9}"),
            Err(NameError::BadCharacter('\u{e9}'))
        );
        assert_eq!(
            ServerName::new(&"a".repeat(65)),
            Err(NameError::TooLong(65))
        );
    }
}
