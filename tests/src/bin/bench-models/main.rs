//! What many models and many servers cost: see `cargo xtask bench models`, which makes a page of what
//! this prints.

mod engine;
mod folder;
mod peers;
mod profile;
mod registry;
mod table;

use std::process::ExitCode;

use magi_tests::harness::Fleet;

use folder::MODELS;
use table::{Figure, print_figures, print_ratios};

#[tokio::main]
async fn main() -> ExitCode {
    let mut fleet = Fleet::new();
    let models = fleet.path("models");
    eprintln!("writing {MODELS} models");
    folder::fill(&models);

    let mut figures = Vec::new();
    let scans = registry::measure(&mut fleet, &mut figures).await;
    profile::measure(&mut fleet, &mut figures).await;
    registry::large_headers(&mut figures).await;
    print_figures(&figures);
    println!();
    print_ratios(&scans, &peers::measure(&models).await);
    match figures.iter().all(Figure::is_kept) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
