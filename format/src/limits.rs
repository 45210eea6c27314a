//! The limits of the format: a reader refuses what exceeds them, a writer never produces it.

/// Version of the format that this crate writes and reads. 0 was a draft.
pub const FORMAT_VERSION: u16 = 1;
/// Longest chunk, in bytes of plaintext.
pub const CHUNK_MAX: usize = 4 << 20;
/// Most chunks in one frame.
pub const FRAME_CHUNKS_MAX: usize = 4096;
/// Longest frame before compression: the chunks and the table of their lengths.
pub const FRAME_RAW_MAX: usize = CHUNK_MAX + 2 + 4 * FRAME_CHUNKS_MAX;
/// Longest frame as stored (zstd may grow incompressible data a little; then it is stored as it is).
pub const FRAME_STORED_MAX: usize = FRAME_RAW_MAX + 5 + crate::seal::OVERHEAD;
/// Most frames in one pack.
pub const PACK_FRAMES_MAX: usize = 65_535;
/// Largest pack object.
pub const PACK_MAX: u64 = 256 << 20;
/// Longest key of a Merkle map.
pub const KEY_MAX: usize = 4096;
/// Longest encoded value of a Merkle map.
pub const VALUE_MAX: usize = 4096;
/// Most entries of a tree node.
pub const NODE_ENTRIES_MAX: usize = 128;
/// Most levels of a tree.
pub const TREE_LEVELS_MAX: u8 = 40;
/// Longest plaintext of a document.
pub const DOCUMENT_MAX: usize = 256 << 20;
/// Largest `ark.json`, key slot, data key, session, claim or tombstone object.
pub const SMALL_OBJECT_MAX: u64 = 64 << 10;
/// Largest index segment object.
pub const SEGMENT_MAX: u64 = 2 << 30;
