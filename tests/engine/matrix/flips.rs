//! One changed bit in any object is noticed by a verify that reads all data.
//!
//! A verify judges each object by itself. So one run of it can look at a changed bit in each of many objects, and must
//! name every one of them; packs and control objects apart, because an index segment is also named if it does not agree
//! with a pack. Some runs have a single changed bit in the whole repository. The stub and the body of the head, without
//! which nothing can be judged, are always alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ark_engine::Error;

use super::base::{Base, Objects, Who, bucket, build, open, report};
use crate::sim::rng::Rng;

/// How long the test goes on.
const TIME: Duration = Duration::from_secs(8);
/// So many are tried even on a slow machine.
const LEAST: usize = 2_000;

/// A changed bit: key, byte, bit.
type Flip = (String, usize, u8);

fn flipped(base: &Base, flips: &[Flip]) -> Objects {
    let mut objects = base.objects.clone();
    for (key, at, bit) in flips {
        let mut bytes = objects[key].to_vec();
        bytes[*at] ^= 1 << bit;
        objects.insert(key.clone(), bytes.into());
    }
    objects
}

async fn check(base: &Base, flips: &[Flip]) {
    // Opened before, as some of these objects are needed to open it.
    let store = bucket(&base.objects).await;
    let repository = open(store.clone(), Who::Beside, None).await.unwrap();
    let objects = flipped(base, flips);
    for (key, ..) in flips {
        store.delete(key).await.unwrap();
        store.create(key, objects[key].clone()).await.unwrap();
    }
    match report(&repository, true).await {
        Ok(report) => {
            let named: BTreeSet<&str> = report.damage.iter().map(|d| d.object.as_str()).collect();
            for flip in flips {
                assert!(named.contains(flip.0.as_str()), "not noticed: {flip:?}");
            }
        }
        Err(Error::Damaged { object, .. }) => assert_eq!(object, flips[0].0),
        Err(error) => panic!("{flips:?}: {error}"),
    }
    if let [flip] = flips {
        // Nor can it be opened if it is something that opening needs.
        let opened = open(bucket(&objects).await, Who::Beside, None).await;
        assert!(opened.is_err() || flip.0 != "ark.json", "{flip:?}");
    }
}

#[tokio::test]
async fn every_flipped_bit_is_noticed() {
    let seed = std::env::var("ARK_FLIPS_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(1);
    let mut rng = Rng::new(seed);
    let base = build().await;
    let head: Vec<&String> = base
        .kinds
        .iter()
        .filter(|(name, _)| name.contains("of the head") && !name.contains("segment"))
        .map(|(_, key)| key)
        .collect();
    assert_eq!(head.len(), 2);
    let (packs, control): (Vec<&String>, Vec<&String>) = base
        .objects
        .keys()
        .filter(|key| !head.contains(key))
        .partition(|key| key.starts_with("packs/"));
    let started = Instant::now();
    let (mut tried, mut rounds) = (0, 0usize);
    while tried < LEAST || started.elapsed() < TIME {
        let mut flip = |key: &String| {
            let length = base.objects[key].len();
            // Every byte in turn of what is small, any of what is large.
            let at = match length {
                0..=1024 => (rounds * 7) % length,
                _ => rng.between(0, length as u64 - 1) as usize,
            };
            (key.clone(), at, rng.between(0, 7) as u8)
        };
        let every: Vec<Flip> = match rounds % 4 {
            0 => packs.iter().map(|key| flip(key)).collect(),
            1 | 2 => control.iter().map(|key| flip(key)).collect(),
            _ => {
                let keys: Vec<&String> = base.objects.keys().collect();
                let key = keys[rounds / 4 % keys.len()];
                vec![flip(key)]
            }
        };
        check(&base, &every).await;
        tried += every.len();
        rounds += 1;
    }
    println!(
        "{tried} flipped bits in {} objects, all noticed (ARK_FLIPS_SEED={seed})",
        base.objects.len()
    );
}
