//! Where a request goes by its path.

use http::Method;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the server of the model that its body names, by one of the paths of [`INFERENCE`].
    Inference(&'static str),
    /// To the server of the model that its query names.
    Properties,
    /// To the server that its path names.
    Upstream {
        /// The server.
        server: String,
        /// Where its own path begins, in bytes.
        rest: usize,
    },
    /// To the gateway itself.
    Own,
    /// Nowhere: the path knows another method.
    NotAllowed,
}

/// What llama-server answers to with a model: all are computed from the request alone, so that a request
/// may be sent again if there was no answer.
pub(crate) const INFERENCE: [&str; 22] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/chat/completions",
    "/completion",
    "/completions",
    "/responses",
    "/embedding",
    "/embeddings",
    "/rerank",
    "/reranking",
    "/infill",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/v1/infill",
    "/v1/chat/completions/input_tokens",
];

impl Way {
    /// The way of a request.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        if let Some(below) = path.strip_prefix("/upstream/") {
            return Self::upstream(path.len() - below.len(), below);
        }
        let path = match path.strip_suffix('/') {
            Some(path) if !path.is_empty() => path,
            Some(_) | None => path,
        };
        if let Some(known) = INFERENCE.iter().find(|known| **known == path) {
            return match *method {
                Method::POST => Self::Inference(known),
                _ => Self::NotAllowed,
            };
        }
        match path {
            "/props" if method == Method::GET => Self::Properties,
            "/props" => Self::NotAllowed,
            _ => Self::Own,
        }
    }

    fn upstream(start: usize, below: &str) -> Self {
        let end = below.find('/').unwrap_or(below.len());
        match percent_decoded(&below[..end]) {
            Some(server) if !server.is_empty() => Self::Upstream {
                server,
                rest: start + end,
            },
            Some(_) | None => Self::Own,
        }
    }
}

/// The value of `name` in a query, decoded.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name);
    percent_decoded(&values.next()?.1.replace('+', " "))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_with_and_without_a_slash_at_its_end() {
        for path in ["/v1/chat/completions", "/v1/chat/completions/", "/infill"] {
            let way = Way::of(&Method::POST, path);
            assert!(matches!(way, Way::Inference(_)), "{path}");
            assert_eq!(Way::of(&Method::GET, path), Way::NotAllowed);
        }
        for path in [
            "/",
            "/v1/chat",
            "/v1/models",
            "/upstream",
            "/upstream/",
            "//",
        ] {
            assert_eq!(Way::of(&Method::POST, path), Way::Own, "{path}");
        }
    }

    #[test]
    fn what_is_below_upstream_is_the_servers_own_path() {
        let path = "/upstream/a%2Fb/slots/0";
        let Way::Upstream { server, rest } = Way::of(&Method::GET, path) else {
            panic!("it has a server");
        };
        assert_eq!((server.as_str(), &path[rest..]), ("a/b", "/slots/0"));
        assert_eq!(Way::of(&Method::GET, "/upstream/%zz/x"), Way::Own);
        assert_eq!(Way::of(&Method::GET, "/upstream/%e9"), Way::Own);
    }

    #[test]
    fn a_query_is_decoded() {
        assert_eq!(query_value("a=1&model=q%2Fx+y", "model").unwrap(), "q/x y");
        assert_eq!(query_value("models=1", "model"), None);
    }
}
