//! The figures that are promised, measured: see `cargo xtask bench`.

fn main() {}
