//! stub
pub mod exit;
pub use exit::{Exit, ExitClass, ExitStatus, Prospect};
