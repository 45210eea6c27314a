//! Why bytes are not a valid object of the repository.

/// What is wrong with an object's bytes. The caller knows, and names, the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends before the structure does.
    #[error("it ends too early, while reading {0}")]
    Truncated(&'static str),
    /// Bytes follow the end of the structure.
    #[error("{0} extra bytes follow its end")]
    Trailing(usize),
    /// The magic number is another one.
    #[error("it does not start as {0} does")]
    Magic(&'static str),
    /// A later version of the format, or a kind that this version does not know.
    #[error("it has {what} {found}, which this version of ark does not know")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// Authentication failed: changed bytes, another object's bytes, or another key.
    #[error("it fails authentication: its bytes were changed, or it belongs elsewhere")]
    Unauthentic,
    /// A signature does not verify.
    #[error("its signature is not valid")]
    Signature,
    /// The content hash differs from the id.
    #[error("its content does not match its id")]
    IdMismatch,
    /// A number exceeds a limit of the format.
    #[error("{what} is {found}, over the limit of {limit}")]
    Limit {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The largest that is allowed.
        limit: u64,
    },
    /// A rule of the format is broken.
    #[error("{0}")]
    Invalid(&'static str),
    /// The document inside the envelope is not what its schema says.
    #[error("its document does not decode: {0}")]
    Document(String),
    /// Decompression failed.
    #[error("it does not decompress")]
    Compression,
}
