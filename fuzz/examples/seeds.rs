//! Writes `seeds/`, which fuzzing starts from: the golden vectors, and smallest examples of what they hold sealed.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`

use std::path::Path;

use serde_json::Value;

/// What people type and apiservers send.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "address",
        &[
            "s3://bucket/a/b",
            "s3://key:secret@bucket/x?region=eu",
            "file:///srv/with%20space",
            "az://container/../b",
        ],
    ),
    ("duration", &["720h0m0s", "1h30m", "2w3d", "1500ms"]),
    (
        "glob",
        &[
            "kube-*\nkube-system",
            "{a,b{c,d}}[!x-z]?\nbde",
            "[a-]]",
            "name{}",
        ],
    ),
    (
        "key_file",
        &[
            "0707070707070707070707070707070707070707070707070707070707070707\n",
            "ARK0-0000000-0000000",
            "32 bytes of a raw key, no text.\n",
        ],
    ),
    ("name", &["nightly-2026.11.21", "a..b", "Nightly"]),
    (
        "object",
        &[
            r#"{"kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u","labels":{"app":"a\"b"},
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"R","name":"r","uid":"x","controller":true}]},"spec":{"#,
        ],
    ),
    (
        "page",
        &[
            r#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"abc=","remainingItemCount":12},
            "items":[{"metadata":{"name":"a","namespace":"n"},"spec":{"x":[1,2]}}, {"metadata":{"name":"\u00fc"}}]}"#,
            r#"{"metadata":{},"items":null}"#,
        ],
    ),
    (
        "resource_entry",
        &[
            r#"{"version":"v1","kind":"Pod","plural":"pods","namespaced":true,"captured":"partial","reason":"410"}"#,
        ],
    ),
    (
        "selector",
        &[
            "app=web,tier!=cache\ntier=db",
            "app in (web,api),!canary or x notin (,a)\napp=web",
            "example.com/x==",
        ],
    ),
    ("size", &["10Mi", "500 MB", "1048576"]),
    (
        "values",
        &["a=b, example.com/c=", "a:b,c:d", "2.5 %", "3/7"],
    ),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("../format/vectors/vectors.json"))?;
    let vectors: Vec<Value> = serde_json::from_str(&text)?;
    let mut count = 0;
    let mut put = |target: &str, bytes: &[u8]| -> std::io::Result<()> {
        let folder = root.join("seeds").join(target);
        std::fs::create_dir_all(&folder)?;
        count += 1;
        std::fs::write(folder.join(format!("seed-{count:03}")), bytes)
    };
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap_or_default();
        let bytes = hex::decode(vector["bytes"].as_str().unwrap_or_default())?;
        let input = |field: &str| hex::decode(vector["inputs"][field].as_str().unwrap_or_default());
        match vector["section"].as_str().unwrap_or_default() {
            "3" => put("layout", &bytes)?,
            "5" => put("config", &bytes)?,
            "6.1" => put("slot", &bytes)?,
            "6.2" => put("recovery", &bytes)?,
            "9" => put("pack", &bytes)?,
            "11" => put("segment_sealed", &bytes)?,
            "12.1" => put("node", &bytes)?,
            "13.1" => put("object_key", &bytes)?,
            section if section.starts_with('8') || section == "6.4" || section == "7.1" => {
                put("envelope", &bytes)?;
                put("body", &[vec![1], input("document")?].concat())?;
            }
            _ => {}
        }
        let plain = match input("payload")? {
            payload if payload.is_empty() => input("document")?,
            payload => payload,
        };
        let which = match name {
            "slot of a raw key" | "slot of a passphrase" => 0,
            "data key" => 1,
            "epoch stub" => 3,
            "epoch body" => 4,
            "pin" => 5,
            "heartbeat" => 6,
            "fence" => 7,
            "manifest" => 8,
            "tombstone" | "undo" => 9,
            "claim" => 10,
            "restore record" => 11,
            "verify record" => 12,
            _ => continue,
        };
        put("document", &[vec![which], plain].concat())?;
        if matches!(name, "epoch stub" | "tombstone" | "undo") {
            put("signed", &input("document")?)?;
        }
    }
    // A stored frame of two chunks, "abc" and none; padding.
    put("frame", b"\0\x0D\0\0\0\x02\0\x03\0\0\0\0\0\0\0abc")?;
    put("frame", b"\xFF\0\0\0\0\0\0")?;
    // One frame of 100 bytes with data key 1 and one chunk.
    let row = b"\x64\0\0\x01\0\0\0\x64\0\0\0\x01\0\x01\0";
    put("trailer", &[row.as_slice(), &[7; 16]].concat())?;
    // One pack, one frame, one entry; 92 bytes, padded to 96.
    let mut segment = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0".to_vec();
    segment.extend_from_slice(&[1; 16]);
    segment.extend_from_slice(b"\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\xE8\x03\0\0\0\0\0\0");
    segment.extend_from_slice(b"\x20\0\0\0\x64\0\0\0\x01\0\x01\0");
    segment.extend_from_slice(&[7; 16]);
    segment.extend_from_slice(&[0; 8 + 4]);
    put("segment", &segment)?;
    for (target, texts) in TEXTS {
        for text in *texts {
            put(target, text.as_bytes())?;
        }
    }
    println!("{count} seeds");
    Ok(())
}
