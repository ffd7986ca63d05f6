//! The stream to magid.
