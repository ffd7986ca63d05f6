//! The package, installed by apt under a real systemd: each test in a container of its own.
//! `cargo xtask test systemd` runs them.

#![allow(missing_docs)]

mod crash;
mod gateway;
mod install;
mod pages;
mod reload;
mod service;
mod upgrade;
