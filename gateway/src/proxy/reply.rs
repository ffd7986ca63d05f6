//! The body of an answer to a client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::answer::Answer;
use super::early::Early;
use crate::refusal::{Refusal, Shape};

/// The body of an answer to a client.
pub(crate) enum Reply {
    /// It is known as a whole. None: it was sent.
    Whole(Option<Bytes>),
    /// It comes from a server.
    Answer(Box<Answer>),
    /// It will come from a server, once there is one.
    Early(Box<Early>),
    /// It comes from the gateway's own pages.
    Own(axum::body::Body),
}

/// An answer ends here, and not as it should. The connection is broken off, so that nobody takes the
/// part for the whole.
#[derive(Debug, Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

impl Reply {
    /// The answer to a request that is refused.
    pub(super) fn refusal(refusal: &Refusal, shape: Shape) -> Response<Self> {
        refusal.respond(shape).map(|body| Self::Whole(Some(body)))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Answer(answer) => answer.poll_frame(cx),
            Self::Early(early) => early.poll_frame(cx),
            Self::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|_| BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Answer(answer) => answer.is_end(),
            Self::Early(_) => false,
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Answer(answer) => answer.size_hint(),
            Self::Early(_) => SizeHint::default(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
