//! What is answered if a head cannot be read: there is no request then, and no path that would tell the
//! shape that its client knows.

use std::borrow::Cow;

use http::Response;

use super::account::Account;
use super::headers::REQUEST_ID;
use super::reply::Reply;
use crate::http1::request::Unreadable;
use crate::refusal::{Reason, Refusal, Shape};
use crate::serve::Worker;

/// The answer to a head that cannot be read. It is counted and told of as other refusals are.
pub(crate) fn unreadable(worker: &Worker, why: Unreadable) -> Response<Reply> {
    let refusal = refusal(why);
    let mut account = Account::begin(worker, Cow::Borrowed(""), "");
    account.refused(&refusal);
    let mut response = Reply::refusal(&refusal, Shape::OpenAi);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, account.id().clone());
    response
}

fn refusal(why: Unreadable) -> Refusal {
    match why {
        Unreadable::PathTooLong => Refusal::new(Reason::PathTooLong, "the path is too long"),
        Unreadable::TooLarge => {
            let message = "the head of a request may have 100 headers, and 64 KiB with its path";
            Refusal::new(Reason::HeadTooLarge, message)
        }
        Unreadable::NotHttp => {
            let message = "what came is no request of HTTP/1.1; if it was meant to be encrypted, write \
                           http:// in place of https://";
            Refusal::new(Reason::InvalidHttp, message)
        }
    }
}
