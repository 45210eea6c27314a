//! What the fuzz targets share: fixed keys, and seals around any plaintext.
//!
//! A fuzzer cannot guess an authentication tag. So each sealed format has a target for what is in the clear, and one
//! that seals its input first: the decoder behind the seal must hold for any bytes too.
//!
//! Parsers of the main crate and of the engine are taken by their source files, with what little these need around them:
//! as dependencies both would bring clients of clouds and of Kubernetes into every target.

#[allow(dead_code)]
pub mod api;
#[allow(dead_code)]
pub mod cli;
#[allow(dead_code)]
pub mod cluster;
#[allow(dead_code)]
pub mod engine;

// The name by which the sources above know where portions are.
extern crate self as ark_engine;

use ark_format::envelope::{Kind, Sealer};
use ark_format::frame::FrameSealer;
use ark_format::id::PackClass;
use ark_format::keys::{Binding, Key};
use ark_format::seal::{Cipher, OVERHEAD, seal};
use ark_format::segment::SegmentSealer;
use ark_format::{PackName, RepositoryId, SessionId, layout, pack};

/// The repository.
pub const REPOSITORY: RepositoryId = RepositoryId([0x0F; 16]);
/// Every key.
pub const KEY: Key = [0x44; 32];
/// The cipher.
pub const CIPHER: Cipher = Cipher::Aes256Gcm;
/// The key of the object.
pub const OBJECT: &str = "index/x";
/// The pack.
pub const PACK: PackName = PackName {
    session: SessionId([1; 16]),
    sequence: 0,
    class: PackClass::Data,
};
/// Opens documents.
pub const SEALER: Sealer<'static> = Sealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    key: &KEY,
};
/// Opens frames.
pub const FRAMES: FrameSealer<'static> = FrameSealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    kind: Kind::DataFrame,
    key: &KEY,
    data_key: 1,
};
/// Opens segments.
pub const SEGMENTS: SegmentSealer<'static> = SegmentSealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    key: &KEY,
    object_key: OBJECT,
};

fn sealed(kind: Kind, data_key: u16, context: &[&[u8]], plain: &[u8]) -> Vec<u8> {
    let binding = Binding {
        repository: REPOSITORY,
        kind,
        data_key,
        context,
    };
    seal(CIPHER, &KEY, [0; 24], &binding, plain).unwrap_or_default()
}

/// A frame with this plaintext.
pub fn frame(plain: &[u8]) -> Vec<u8> {
    sealed(Kind::DataFrame, 1, &[], plain)
}

/// An envelope with this encoding and body.
pub fn envelope(kind: Kind, encoding: u8, plain: &[u8]) -> Vec<u8> {
    let header = [b'A', b'R', b'K', b'0', kind.byte(), encoding, 0, 0];
    let body = sealed(kind, 0, &[OBJECT.as_bytes(), &header], plain);
    [header.as_slice(), &body].concat()
}

/// A trailer with this plaintext.
pub fn trailer(plain: &[u8]) -> Vec<u8> {
    let length = ((plain.len() + OVERHEAD) as u32).to_le_bytes();
    let (key, head) = (layout::pack(&PACK), pack::header(&PACK));
    sealed(Kind::Trailer, 0, &[key.as_bytes(), &head, &length], plain)
}

/// A segment with this stream in one block.
pub fn segment(stream: &[u8]) -> Vec<u8> {
    let header = *b"ARKINDX0\x01\0\0\0\x01\0\0\0";
    let body = sealed(
        Kind::Segment,
        0,
        &[OBJECT.as_bytes(), &header, &[0; 4]],
        stream,
    );
    [header.as_slice(), &body].concat()
}

/// A portion of the data, as the engine has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    Bytes(u64),
    Percent(f64),
    Part { number: u32, of: u32 },
}
