//! stub
pub mod api;
pub mod config;
pub mod files;
pub mod lifecycle;
pub mod logs;
pub mod moment;
pub mod name;
pub mod plan;
pub mod process;
pub mod reload;
pub mod supervisor;
