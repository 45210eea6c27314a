//! The golden vectors, both ways: what the code encodes is what the files hold, and what the files hold decodes to
//! what went in.
//!
//! `cargo test -p ark-format --test vectors -- --ignored write_` writes the files anew, which changes the format.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod documents;
mod fixture;
mod primitives;
mod repository;
mod structures;
mod walk;

use std::path::PathBuf;

use serde_json::{Value, json};

/// Whether bytes decode to what went in.
pub type Decodes = Box<dyn Fn(&[u8]) -> bool>;

/// One vector.
pub struct Vector {
    /// Its name, unique.
    pub name: &'static str,
    /// The section of SPEC.md.
    pub section: &'static str,
    /// What goes in.
    pub inputs: Value,
    /// What comes out.
    pub bytes: Vec<u8>,
    /// Whether the bytes may differ between versions of zstd.
    pub decode_only: bool,
    /// Whether bytes decode to what went in.
    pub decodes: Decodes,
}

impl Vector {
    pub fn new(
        name: &'static str,
        section: &'static str,
        inputs: Value,
        bytes: impl Into<Vec<u8>>,
        decodes: impl Fn(&[u8]) -> bool + 'static,
    ) -> Vector {
        Vector {
            name,
            section,
            inputs,
            bytes: bytes.into(),
            decode_only: false,
            decodes: Box::new(decodes),
        }
    }

    /// A vector of a function that has no inverse.
    pub fn one_way(
        name: &'static str,
        section: &'static str,
        inputs: Value,
        bytes: impl Into<Vec<u8>>,
    ) -> Vector {
        let bytes = bytes.into();
        let expected = bytes.clone();
        Vector::new(name, section, inputs, bytes, move |found| found == expected)
    }
}

fn all() -> Vec<Vector> {
    let mut vectors = primitives::vectors();
    vectors.extend(documents::vectors());
    vectors.extend(structures::vectors());
    vectors
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn stored() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("vectors.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn to_json(vector: &Vector) -> Value {
    json!({
        "name": vector.name,
        "section": vector.section,
        "inputs": vector.inputs,
        "decode_only": vector.decode_only,
        "bytes": hex::encode(&vector.bytes),
    })
}

#[test]
fn what_is_encoded_is_what_the_files_hold() {
    let (vectors, stored) = (all(), stored());
    assert_eq!(
        vectors.len(),
        stored.len(),
        "vectors.json has other vectors"
    );
    for (vector, stored) in vectors.iter().zip(&stored) {
        let mut expected = to_json(vector);
        if vector.decode_only {
            expected["bytes"] = stored["bytes"].clone();
        }
        assert_eq!(&expected, stored, "{}", vector.name);
    }
}

#[test]
fn what_the_files_hold_decodes_to_what_went_in() {
    for (vector, stored) in all().iter().zip(stored()) {
        let bytes = hex::decode(stored["bytes"].as_str().unwrap()).unwrap();
        assert!((vector.decodes)(&bytes), "{}", vector.name);
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = all().iter().map(|v| v.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
}

fn hash_all(folder: &std::path::Path, hasher: &mut blake3::Hasher) {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    for path in paths {
        hasher.update(path.file_name().unwrap().as_encoded_bytes());
        match path.is_dir() {
            true => hash_all(&path, hasher),
            false => drop(hasher.update(&std::fs::read(&path).unwrap())),
        }
    }
}

#[test]
fn the_vectors_are_those_of_version_1() {
    let mut hasher = blake3::Hasher::new();
    hash_all(&folder().join("repository"), &mut hasher);
    for name in ["vectors.json", "repository.jsonl"] {
        hasher.update(&std::fs::read(folder().join(name)).unwrap());
    }
    assert_eq!(
        hasher.finalize().to_hex().as_str(),
        "84cdf1e979f1ddd793c6246cc945e9b71dd2a1e0a64e355862869c312137aa79",
        "a changed vector is a new format version"
    );
}

#[test]
#[ignore = "changes the format"]
fn write_vectors() {
    let list: Vec<Value> = all().iter().map(to_json).collect();
    let text = serde_json::to_string_pretty(&list).unwrap() + "\n";
    std::fs::write(folder().join("vectors.json"), text).unwrap();
}
