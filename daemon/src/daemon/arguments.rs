//! The command line of magid.

use std::path::PathBuf;

use clap::Parser;

/// Owns a fleet of llama-server processes
///
/// Starts the models of a profile, follows the profile as it is edited, restarts what crashes or hangs, and
/// answers on a Unix socket, which is what magictl and magi-gateway talk to.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "magid", version)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket to answer on.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Run the HTTP gateway too, for a terminal or a container. Under systemd it is a unit of its own.
    #[arg(long)]
    pub gateway: bool,
    /// Folders to look for models in, in place of those that are configured.
    #[arg(value_name = "DIR")]
    pub scan_paths: Vec<PathBuf>,
}
