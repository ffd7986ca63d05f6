//! magi-gateway: see the library's page for what it is made of.

fn main() {}
