//! A real magid in a directory of its own, and ways to wait for what it does.
//!
//! A test makes a [`Fleet`], saves a profile of [`Server`]s, real or faulty, starts magid and waits
//! for states. Nothing sleeps to be right: a wait ends when the state is there, and after a generous
//! deadline it panics with the status, the events and magid's own output. When a fleet is dropped,
//! magid and every process it started are killed.

mod bystander;
mod chat;
mod disk;
mod fleet;
mod freezer;
mod gateway;
mod http;
mod models;
mod notify;
mod percentiles;
mod places;
mod ports;
mod processes;
mod raw;
mod report;
mod resources;
mod run;
mod server;
mod wait;

pub use bystander::Bystander;
pub use chat::{Chat, ask, chat, chat_with, post, post_patiently, question};
pub use disk::Disk;
pub use fleet::Fleet;
pub use freezer::Freezer;
pub use gateway::Gateway;
pub use http::{Answer, Call, Reply};
pub use notify::NotifySocket;
pub use percentiles::Percentiles;
pub use places::{
    LLAMA_SERVER_VERSION, PYTHON_CLIENTS, bar, cache, cached_llama_server, cached_python_clients,
    faulty_llama_server, full, llama_server, llama_server_with_fit, program, python_clients,
    skipped, tell_figure,
};
pub use processes::{is_alive, pids_with, raise_descriptor_limit, send, wait_gone};
pub use raw::Raw;
pub use resources::{Resources, cpu_seconds, peak_memory, zombies_of};
pub use run::Ran;
pub use server::Server;
pub use wait::{DEADLINE, Servers};
