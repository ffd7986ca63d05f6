//! What requests carry: a path, a query, a body. What does not fit is answered with a [`Problem`].

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query as AxumQuery, RawPathParams};
use http::request::Parts;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;

/// The largest body: that of a profile, many times over.
const MAX_BODY: usize = 1 << 20;

/// A body of JSON. An empty one is an empty object.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
        let body = body.map_err(|_| {
            let detail = format!("the body could not be read, or is larger than {MAX_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
        })?;
        let text = if body.is_empty() { b"{}" } else { &body[..] };
        let value = serde_json::from_slice(text).map_err(|error| {
            let detail = format!("the body is not what is expected: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
        })?;
        Ok(Self(value))
    }
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = AxumQuery::try_from_uri(&parts.uri);
        let AxumQuery(query) = query.map_err(|error| Problem::invalid(error.body_text()))?;
        Ok(Self(query))
    }
}

/// The only parameter of the path, decoded.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|error| Problem::invalid(error.body_text()))?;
        let name = params.iter().next().map(|(_, value)| value.to_owned());
        name.map(Self)
            .ok_or_else(|| Problem::no_such_path(parts.uri.path()))
    }
}

/// Whether to wait for what was asked.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// Answer when each server is ready, stopped or failed. Else at once, with 202.
    #[serde(default = "yes")]
    pub(super) wait: bool,
}

fn yes() -> bool {
    true
}

impl Wait {
    /// The status of an answer to what is done, or only begun.
    pub(super) fn status(self) -> StatusCode {
        match self.wait {
            true => StatusCode::OK,
            false => StatusCode::ACCEPTED,
        }
    }
}
