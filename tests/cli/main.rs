//! The command line from outside: help texts as snapshots, and what the binary says to bad input.
//!
//! Nothing here needs a cluster: repositories are folders, and the apiserver that is asked for is not there.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod frozen;
mod help;
mod image;
mod install;
mod prune;
mod run;
mod smoke;
mod terminal;
