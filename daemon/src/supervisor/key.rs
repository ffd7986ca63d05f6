//! The key of an incarnation.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::process::Token;

/// The variable in which llama-server is given its key: unlike an argument, others cannot read it.
const VARIABLE: &str = "LLAMA_API_KEY";

/// What a llama-server asks its clients for. Nothing shows it: gateways are told, and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the kernel's random numbers cannot be read.
    pub fn random() -> io::Result<Self> {
        Ok(Self(Token::random()?.as_str().into()))
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable that tells it to the process.
    pub(super) fn variable(&self) -> (String, String) {
        (VARIABLE.to_owned(), self.0.as_ref().to_owned())
    }
}

/// One that magid told.
impl From<&str> for ApiKey {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_random_and_not_shown() {
        let [one, two] = [(); 2].map(|()| ApiKey::random().unwrap());
        assert_ne!(one, two);
        assert!(!format!("{one:?}").contains(one.as_str()));
    }
}
