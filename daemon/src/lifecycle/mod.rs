//! stub
pub mod exit;
pub mod policy;
pub use exit::{Exit, ExitClass, ExitStatus, Prospect};
pub use policy::{Policy, RestartMode, RestartPolicy};
