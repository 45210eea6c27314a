//! The bytes of an ark repository.
//!
//! This crate turns values into the bytes that `SPEC.md` beside it defines, and back. It does no I/O, knows no
//! clock and draws no random numbers: salts, nonces and times are arguments. Every decoder is total: any input gives
//! a value or a [`DecodeError`], never a panic, and allocates at most a small multiple of its input beside a constant of a
//! few MiB (decompression excepted, which is bounded by the limits in [`limits`]).
//!
//! One module per object or structure of the repository:
//!
//! | module | what |
//! |---|---|
//! | [`layout`] | the names (keys) of all objects in the bucket |
//! | [`config`] | `ark.json` |
//! | [`slot`], [`recovery`] | `keys/<slot>`: the wrapped key set; its printable form |
//! | [`keys`], [`seal`], [`sign`] | key set, ids, authenticated encryption, signatures |
//! | [`envelope`], [`documents`] | small sealed documents: epochs, sessions, manifests, tombstones, … |
//! | [`frame`], [`pack`], [`segment`] | chunks compressed together, packs of frames, index segments |
//! | [`tree`], [`objects`] | the ordered Merkle map, and the keys of the `objects` dataset |

mod compression;
pub mod config;
pub mod cursor;
pub mod documents;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod id;
pub mod keys;
pub mod layout;
pub mod limits;
pub mod objects;
pub mod pack;
pub mod padme;
pub mod recovery;
pub mod seal;
pub mod segment;
pub mod sign;
pub mod slot;
pub mod tree;

pub use error::DecodeError;
pub use id::{ChunkId, PackName, RepositoryId, SessionId};
pub use keys::KeySet;
