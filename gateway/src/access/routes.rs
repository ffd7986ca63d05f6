//! What a key needs for each path.

use http::Method;

use crate::proxy::INFERENCE;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// No key.
    Nothing,
    /// A key, whatever its scopes.
    AnyKey,
    /// The scope `inference`.
    Inference,
    /// The scope `read`.
    Read,
    /// The scope `admin`.
    Admin,
}

/// Which methods a line is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// Those that only look.
    Get,
    Post,
    Any,
}

/// The first line that fits counts. `*` stands for one or more segments. What no line fits is for
/// `admin`, so a path that is forgotten here is no way in.
#[rustfmt::skip]
const ROUTES: &[(With, &str, Needs)] = &[
    // What says nothing of this machine: whether the gateway lives, and what its API is.
    (With::Get, "/", Needs::Nothing),
    (With::Get, "/health", Needs::Nothing),
    (With::Get, "/v1/health", Needs::Nothing),
    (With::Get, "/docs", Needs::Nothing),
    (With::Get, "/docs/*", Needs::Nothing),
    (With::Get, "/openapi.json", Needs::Nothing),

    // Beside these, what is for a model: see `INFERENCE`.
    (With::Get, "/props", Needs::Inference),
    (With::Any, "/upstream/*", Needs::Inference),

    // A list of what the key may use.
    (With::Get, "/v1/models", Needs::AnyKey),
    (With::Get, "/v1/models/*", Needs::AnyKey),
    (With::Get, "/models", Needs::AnyKey),
    (With::Get, "/models/*", Needs::AnyKey),

    (With::Get, "/health/ready", Needs::AnyKey),
    (With::Get, "/metrics", Needs::Read),
    (With::Get, "/workers", Needs::Read),
    (With::Get, "/api/*", Needs::Read),
    (With::Post, "/models", Needs::Admin),
    (With::Any, "/api/*", Needs::Admin),
];

/// What a request for that path needs. None: the table does not know the path.
pub fn needs(method: &Method, path: &str) -> Option<Needs> {
    // A slash at the end makes no difference to the paths either.
    let path = match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    if *method == Method::POST && INFERENCE.contains(&path) {
        return Some(Needs::Inference);
    }
    let fits = |with: With, pattern: &str| with.fits(method) && is_like(path, pattern);
    let mut routes = ROUTES.iter();
    routes
        .find(|(with, pattern, _)| fits(*with, pattern))
        .map(|(_, _, needs)| *needs)
}

impl With {
    fn fits(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
            Self::Any => true,
        }
    }
}

fn is_like(path: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(folder) => path.len() > folder.len() && path.starts_with(folder),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_does_not_know_is_no_way_in() {
        for path in [
            "",
            "/apix",
            "//api/models/start",
            "/v1/x",
            "/%61pi/x",
            "/slots",
        ] {
            assert_eq!(needs(&Method::POST, path), None, "{path}");
        }
        assert_eq!(needs(&Method::DELETE, "/health"), None);
    }

    #[test]
    fn looking_and_changing_are_two_scopes() {
        let path = "/api/models/profiles/x";
        assert_eq!(needs(&Method::GET, path), Some(Needs::Read));
        assert_eq!(needs(&Method::HEAD, path), Some(Needs::Read));
        assert_eq!(needs(&Method::DELETE, path), Some(Needs::Admin));
        assert_eq!(
            needs(&Method::PUT, "/api/models/a/tier"),
            Some(Needs::Admin)
        );
        assert_eq!(needs(&Method::GET, "/models"), Some(Needs::AnyKey));
        assert_eq!(needs(&Method::POST, "/models/"), Some(Needs::Admin));
    }

    #[test]
    fn the_data_path_takes_inference_also_with_a_slash_at_its_end() {
        for path in INFERENCE
            .iter()
            .chain(&["/v1/messages/", "/upstream/a/slots"])
        {
            assert_eq!(needs(&Method::POST, path), Some(Needs::Inference));
        }
        assert_eq!(needs(&Method::GET, "/upstream/a/"), Some(Needs::Inference));
    }
}
