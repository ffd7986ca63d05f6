//! Which model a request asks for.
