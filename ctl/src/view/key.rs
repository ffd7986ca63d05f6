//! Keys of the gateway's clients.

use magid::config::Key;
use serde::Serialize;

/// All keys of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClientKeys {
    pub(crate) file: String,
    pub(crate) keys: Vec<ClientKey>,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClientKey {
    pub(crate) name: String,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) models: Vec<String>,
}

/// A key that was made just now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    pub(crate) key: ClientKey,
    #[serde(rename = "key")]
    pub(crate) secret: String,
    pub(crate) file: Option<String>,
}

impl From<&Key> for ClientKey {
    fn from(key: &Key) -> Self {
        Self {
            name: key.name.clone(),
            scopes: key.scopes.iter().map(|scope| scope.code()).collect(),
            models: key.models.iter().map(ToString::to_string).collect(),
        }
    }
}
