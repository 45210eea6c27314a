//! The secrets of a repository, and what is derived from them.
//!
//! Seven independent random keys of 32 bytes; a slot may hold a subset, which is what a role is. Each use derives its
//! own key with a context string, so that no key is used for two purposes.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{ChunkId, RepositoryId};

/// A secret of 32 bytes.
pub type Key = [u8; 32];

/// The named keys of a repository.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct KeySet {
    /// Ids of data chunks.
    pub id_data: Key,
    /// Ids of tree nodes.
    pub id_tree: Key,
    /// Boundaries of chunks and tree nodes.
    pub chunker: Key,
    /// Seals control documents, pack trailers and index segments.
    pub index: Key,
    /// Seals tree frames.
    pub tree: Key,
    /// Wraps the numbered data keys.
    pub data: Key,
    /// Ed25519 seed that signs epochs and tombstones; absent in the backup role.
    pub signing: Option<Key>,
}

/// What a chunk is, which decides the key of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKind {
    /// Data of a backup.
    Data,
    /// A tree node.
    Tree,
}

impl KeySet {
    /// Builds a set from random bytes.
    pub fn from_random(mut random: impl FnMut() -> Key) -> Self {
        KeySet {
            id_data: random(),
            id_tree: random(),
            chunker: random(),
            index: random(),
            tree: random(),
            data: random(),
            signing: Some(random()),
        }
    }

    /// The id of a chunk's plaintext.
    pub fn chunk_id(&self, kind: ChunkKind, plaintext: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.id_data,
            ChunkKind::Tree => &self.id_tree,
        };
        let hash = blake3::keyed_hash(key, plaintext);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        ChunkId(id)
    }

    /// The key that authenticates the settings in `ark.json`.
    pub fn settings_mac_key(&self) -> Key {
        derive(&self.index, b"ark 0 settings mac", &[])
    }

    /// The name of the claim of a backup's name within a cluster: 32 hexadecimal digits.
    pub fn claim_hash(&self, cluster: &str, name: &str) -> String {
        let mut input = Vec::with_capacity(cluster.len() + name.len() + 1);
        input.extend_from_slice(cluster.as_bytes());
        input.push(0);
        input.extend_from_slice(name.as_bytes());
        hex::encode(&derive(&self.index, b"ark 0 name claim", &input)[..16])
    }

    /// The gear table of the content-defined chunker: 256 little-endian words.
    pub fn gear_table(&self) -> Box<[u64; 256]> {
        let mut bytes = [0u8; 2048];
        let mut hasher = blake3::Hasher::new_keyed(&self.chunker);
        hasher.update(b"ark 0 gear table");
        hasher.finalize_xof().fill(&mut bytes);
        let mut table = Box::new([0u64; 256]);
        for (word, chunk) in table.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut le = [0; 8];
            le.copy_from_slice(chunk);
            *word = u64::from_le_bytes(le);
        }
        table
    }
}

/// Derives a key: BLAKE3 keyed with `key` of `context ‖ 0x00 ‖ input`.
pub fn derive(key: &Key, context: &[u8], input: &[u8]) -> Key {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(context);
    hasher.update(&[0]);
    hasher.update(input);
    *hasher.finalize().as_bytes()
}

/// What a sealed unit is bound to besides its key: moving it elsewhere breaks its authentication.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// What kind of unit.
    pub kind: crate::envelope::Kind,
    /// The number of the data key, 0 where none is used.
    pub data_key: u16,
    /// The object's full key, and for parts of an object their position; empty for frames, which may be moved.
    pub context: &'a [&'a [u8]],
}
