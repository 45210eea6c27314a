//! `cluster` of the main crate: what an apiserver sends, and patterns and selectors.

#[path = "../../src/cluster/glob.rs"]
pub mod glob;
#[path = "../../src/cluster/object.rs"]
pub mod object;
#[path = "../../src/cluster/page.rs"]
pub mod page;
#[path = "../../src/cluster/select.rs"]
pub mod select;

/// The errors that a page can have.
pub mod error {
    pub type Result<T> = std::result::Result<T, Error>;

    #[derive(Debug)]
    pub enum Error {
        NotText {
            path: String,
        },
        Decode {
            path: String,
            source: serde_json::Error,
        },
    }
}
