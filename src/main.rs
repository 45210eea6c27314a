//! The `ark` binary: parse, run, exit code.
fn main() {}
