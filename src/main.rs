//! The `ark` binary: parse, run, exit code.

use std::process::ExitCode;

mod heap;

fn main() -> ExitCode {
    heap::settle();
    ark::cli::run(std::env::args_os()).into()
}
