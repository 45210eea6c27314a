//! What a decoder allocates is bounded: a small multiple of the input beside a constant, however large the numbers in
//! the input are.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ark_format::documents::{BackupRow, Claim, EpochBody, Manifest};
use ark_format::envelope::{Kind, from_bytes};
use ark_format::pack;
use ark_format::tree::{NodeBuilder, Value, decode_node};

use crate::sample::*;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts the bytes that each thread has allocated.
pub struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = LIVE.try_with(|live| {
        let now = live.get().saturating_add_signed(bytes);
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

#[allow(unsafe_code)]
// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

const MIB: usize = 1 << 20;

/// The most bytes that were allocated at once while `act` ran.
fn peak<T>(act: impl FnOnce() -> T) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    let result = act();
    let peak = PEAK.get() - before;
    drop(result);
    peak
}

#[test]
fn it_counts() {
    assert!(peak(|| vec![1u8; 5 * MIB]) >= 5 * MIB);
}

#[test]
fn a_string_that_claims_to_be_long() {
    // Two claims before the string: the session's id and the epoch.
    for length in [1u64 << 20, 200 << 20, 1 << 31, 1 << 40, u64::MAX] {
        let mut bytes = vec![0; 17];
        bytes.push(253);
        bytes.extend_from_slice(&length.to_le_bytes());
        let peak = peak(|| assert!(from_bytes::<Claim>(&bytes).is_err()));
        assert!(peak <= MIB, "{length}: {peak}");
    }
}

#[test]
fn a_list_that_claims_to_be_long() {
    for length in [1u64 << 20, 1 << 31, u64::MAX >> 8] {
        let mut bytes = vec![0, 253];
        bytes.extend_from_slice(&length.to_le_bytes());
        let peak = peak(|| assert!(from_bytes::<EpochBody>(&bytes).is_err()));
        assert!(peak <= 3 * MIB, "{length}: {peak}");
    }
}

#[test]
fn the_densest_documents() {
    let zeros = vec![0; MIB];
    let bytes = zeros.len();
    for peak in [
        peak(|| from_bytes::<Manifest>(&zeros).is_err()),
        peak(|| from_bytes::<Vec<BackupRow>>(&zeros).is_err()),
        peak(|| from_bytes::<EpochBody>(&zeros).is_err()),
    ] {
        assert!(peak <= MIB, "{peak}");
    }
    let mut dense = vec![0, 252];
    dense.extend_from_slice(&(bytes as u32 / 19).to_le_bytes());
    dense.extend_from_slice(&zeros);
    let peak = peak(|| from_bytes::<EpochBody>(&dense).is_ok());
    assert!(peak <= 8 * bytes, "{peak}");
}

/// bincode counts 8 bytes for a number that stands in one: the limit must leave room for honest documents.
#[test]
fn documents_of_small_numbers_decode_whatever_their_length() {
    for length in [0x1_0000, 0x1_0001, 0x8_0000, 0x8_0001] {
        let mut bytes = vec![252];
        bytes.extend_from_slice(&(length as u32 - 5).to_le_bytes());
        bytes.resize(length, 1);
        let numbers = from_bytes::<Vec<u64>>(&bytes).unwrap();
        assert_eq!(numbers.len(), length - 5);
    }
}

#[test]
fn a_body_that_claims_to_decompress_to_much() {
    let plain = [&(200u32 << 20).to_le_bytes(), b"not zstd".as_slice()].concat();
    let document = sealed_document(Kind::Manifest, 2, &plain);
    let peak = peak(|| {
        SEALER
            .decode::<Manifest>(Kind::Manifest, OBJECT, &document)
            .is_err()
    });
    assert!(peak <= MIB, "{peak}");
}

#[test]
fn tables_that_claim_to_be_long() {
    let segment = sealed_segment(&[&[0xFF; 16]]);
    assert!(peak(|| assert!(SEGMENTS.decode(&segment).is_err())) <= MIB);
    let mut many = b"ARKINDX0\x01\0\0\0".to_vec();
    many.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(peak(|| assert!(SEGMENTS.decode(&many).is_err())) <= MIB);
    let trailer = sealed_trailer(&65_535u32.to_le_bytes());
    let decode = || pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, 1000, &trailer);
    assert!(peak(|| assert!(decode().is_err())) <= MIB);
    let plain = [&[0], u32::MAX.to_le_bytes().as_slice()].concat();
    let frame = sealed_frame(&plain);
    assert!(peak(|| assert!(FRAMES.decode(&frame).is_err())) <= MIB);
}

/// Shared prefixes expand: at most 128 keys of 4 KiB.
#[test]
fn nodes_expand_to_at_most_a_mebibyte() {
    let mut builder = NodeBuilder::default();
    for n in 0..128u8 {
        let mut key = vec![1; 4095];
        key.push(n);
        builder.push_value(&key, &Value::Inline(Vec::new()));
    }
    let bytes = builder.take(0);
    assert!(bytes.len() < 5000);
    assert!(peak(|| decode_node(&bytes).unwrap()) <= MIB);
}
