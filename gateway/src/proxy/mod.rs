//! The data path: a request of a client, on its way to a server and back.
//!
//! A request is read once, and its model found ([`crate::body`]). The model's server has so many places
//! ([`crate::queue`]); with one of them the request goes to the server's ready incarnation, which is
//! started if there is none ([`admission`]). What it is answered there goes to the client as it comes
//! ([`mod@answer`]). Everything that a request holds on its way belongs to one future, and later to the body
//! of its answer: a client that goes away drops that, and with it all the rest, the connection to the
//! server included.

mod account;
mod admission;
mod answer;
mod ask;
mod early;
mod exchange;
mod headers;
mod pool;
mod read;
mod reply;
mod request;
mod tokens;
mod unreadable;
mod way;

pub(crate) use ask::ask;
pub(crate) use pool::Pool;
pub(crate) use reply::Reply;
pub(crate) use request::answer;
pub(crate) use unreadable::unreadable;
pub(crate) use way::INFERENCE;

#[cfg(test)]
mod tests;
