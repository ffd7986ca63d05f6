//! stub
pub mod lifecycle;
pub mod logs;
pub mod moment;
pub mod name;
pub mod process;
