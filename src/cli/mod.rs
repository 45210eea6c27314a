//! The command line: args say, settings mean, verbs do, the printer prints.

pub mod args;
pub mod env;
pub mod exit;
pub mod printer;
pub mod progress;
pub mod prompt;
pub mod settings;
pub mod size;
pub mod time;
