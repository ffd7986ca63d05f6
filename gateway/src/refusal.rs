//! What is answered if a request is not forwarded.
