//! ark backs up Kubernetes clusters into a content-addressed repository, and restores them.
//!
//! Direction of use: `api` ← `cluster` ← `install` and `hooks` ← `capture` and `restore` ← `server` ← `cli`. A row never uses its own row.

pub mod api;
pub mod capture;
pub mod cli;
pub mod cluster;
mod direction;
pub mod hooks;
pub mod install;
pub mod restore;
pub mod server;
