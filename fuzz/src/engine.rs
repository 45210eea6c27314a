//! `ark-engine`: addresses of repositories, and key files.

#[path = "../../src/engine/store/address.rs"]
pub mod address;
#[path = "../../src/engine/key_file.rs"]
pub mod key_file;

/// The error that an address can have.
pub mod error {
    #[derive(Debug)]
    pub enum StoreError {
        BadUrl { url: String, reason: String },
    }
}
