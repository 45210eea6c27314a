//! The `ark` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ark::cli::run(std::env::args_os()).into()
}
