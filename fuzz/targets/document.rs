#![no_main]
//! Every document in bincode: the first byte chooses which. What decodes must encode and decode again.

use ark_format::documents::*;
use ark_format::envelope::{from_bytes, to_bytes};
use ark_format::sign::Signed;
use ark_format::slot::SlotDocument;

fn check<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    if let Ok(document) = from_bytes::<T>(bytes) {
        let again = to_bytes(&document).expect("it encodes");
        let document: T = from_bytes(&again).expect("it decodes again");
        assert!(again == to_bytes(&document).expect("it encodes again"));
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 13 {
        0 => check::<SlotDocument>(bytes),
        1 => check::<DataKey>(bytes),
        2 => check::<Signed>(bytes),
        3 => check::<EpochStub>(bytes),
        4 => check::<EpochBody>(bytes),
        5 => check::<Pin>(bytes),
        6 => check::<Heartbeat>(bytes),
        7 => check::<Fence>(bytes),
        8 => check::<Manifest>(bytes),
        9 => check::<Tombstone>(bytes),
        10 => check::<Claim>(bytes),
        11 => check::<RestoreRecord>(bytes),
        _ => check::<VerifyRecord>(bytes),
    }
});
