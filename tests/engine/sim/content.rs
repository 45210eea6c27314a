//! What backups contain: small maps that change from one backup to the next and share most of what they hold.

use std::collections::BTreeMap;

use super::rng::Rng;
use crate::roundtrip::Items;

/// Keys that start with this hold Secrets.
pub const SECRET: &[u8] = b"\0secrets\0";

/// Dataset → key → bytes.
pub type Content = BTreeMap<&'static str, Items>;

/// What the first backup holds.
pub fn first(rng: &mut Rng, big: bool) -> Content {
    let mut content = Content::from([("objects", Items::new()), ("files/data", Items::new())]);
    for _ in 0..rng.between(1, 3) {
        change(rng, &mut content, big);
    }
    content
}

/// A few edits: some neighbours, some far apart.
pub fn change(rng: &mut Rng, content: &mut Content, big: bool) {
    for _ in 0..rng.between(1, 3) {
        let dataset = match rng.below(3) {
            0 => "files/data",
            _ => "objects",
        };
        let items = content.entry(dataset).or_default();
        let start = rng.below(300);
        let count = rng.spread(1, 60) as usize;
        let version = rng.below(6) as u64;
        for n in start..start + count {
            let key = match (dataset, n % 11) {
                ("objects", 0) => [SECRET, format!("ns-{}/s-{n:04}", n / 40).as_bytes()].concat(),
                ("objects", _) => format!("apps\0things\0ns-{}/o-{n:04}", n / 40).into_bytes(),
                _ => format!("dir-{}\0file-{n:04}", n / 25).into_bytes(),
            };
            match rng.below(8) {
                0 | 1 => {
                    items.remove(&key);
                }
                _ => {
                    items.insert(key, value(n as u64, version));
                }
            }
        }
        if big && rng.chance(0.3) {
            let length = rng.between(1 << 20, 3 << 20) as usize;
            let mut bytes = vec![0; length];
            Rng::new(version).fill(&mut bytes);
            items.insert(format!("dir-0\0large-{}", rng.below(2)).into_bytes(), bytes);
        }
    }
    if rng.chance(0.02) {
        content.entry("files/data").or_default().clear();
    }
}

/// The same number and version give the same bytes: other backups may have them already.
fn value(n: u64, version: u64) -> Vec<u8> {
    let mut rng = Rng::new(n * 1000 + version);
    let length = match rng.below(10) {
        0 => 0,
        1..4 => rng.below(97),
        _ => rng.below(2500),
    };
    let mut bytes = format!("{n} {version} ").into_bytes();
    while bytes.len() < length {
        let word = rng.next() % 5000;
        bytes.extend_from_slice(format!("{word:x} ").as_bytes());
    }
    bytes.truncate(length);
    bytes
}
