//! stub
pub mod config;
pub mod lifecycle;
pub mod moment;
pub mod name;
pub mod plan;
