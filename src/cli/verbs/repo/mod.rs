//! `ark repo …`

pub mod info;
pub mod init;
pub mod keys;
