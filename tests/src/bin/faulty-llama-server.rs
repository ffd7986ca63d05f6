//! The faulty llama-server as a program: see [`magi_tests::faulty`].

use std::process::ExitCode;

fn main() -> ExitCode {
    magi_tests::faulty::main()
}
