//! Key derivation, ids, seals, signatures, numbers, names.

use ark_format::cursor::{Cursor, put_varint};
use ark_format::envelope::{Kind, from_bytes, to_bytes};
use ark_format::id::PackClass;
use ark_format::keys::{Binding, ChunkKind, derive};
use ark_format::layout::{self, Object};
use ark_format::padme::padded;
use ark_format::seal::{Cipher, open, seal};
use ark_format::{SessionId, objects, recovery, sign};
use serde_json::json;

use crate::Vector;
use crate::fixture::*;

pub fn vectors() -> Vec<Vector> {
    let mut list = derivation();
    list.extend(seals());
    list.extend(numbers());
    list.extend(names());
    list
}

fn derivation() -> Vec<Vector> {
    let keys = keys();
    let gear: Vec<u8> = keys.gear_table()[..4]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    vec![
        Vector::one_way(
            "derive",
            "4.1",
            json!({"key": hex::encode([1; 32]), "context": "ark 0 seal", "input": "000102"}),
            derive(&[1; 32], b"ark 0 seal", &[0, 1, 2]),
        ),
        Vector::one_way(
            "settings mac key",
            "4.1",
            json!({"index": hex::encode(keys.index)}),
            keys.settings_mac_key(),
        ),
        Vector::one_way(
            "id of a data chunk",
            "4.2",
            json!({"id_data": hex::encode(keys.id_data), "plaintext": hex::encode("hello")}),
            keys.chunk_id(ChunkKind::Data, b"hello").0,
        ),
        Vector::one_way(
            "id of a tree node",
            "4.2",
            json!({"id_tree": hex::encode(keys.id_tree), "plaintext": hex::encode("hello")}),
            keys.chunk_id(ChunkKind::Tree, b"hello").0,
        ),
        Vector::one_way(
            "hash of a name claim",
            "4.1",
            json!({"index": hex::encode(keys.index), "cluster": "uid-1", "name": "nightly"}),
            hex::decode(keys.claim_hash("uid-1", "nightly")).unwrap(),
        ),
        Vector::one_way(
            "first four words of the gear table",
            "16.5",
            json!({"chunker": hex::encode(keys.chunker)}),
            gear,
        ),
    ]
}

fn seals() -> Vec<Vector> {
    let mut list = Vec::new();
    for (name, cipher, label) in [
        ("seal aes-256-gcm", Cipher::Aes256Gcm, "aes-256-gcm"),
        (
            "seal chacha20-poly1305",
            Cipher::ChaCha20Poly1305,
            "chacha20-poly1305",
        ),
    ] {
        let binding = Binding {
            repository: REPOSITORY,
            kind: Kind::Heartbeat,
            data_key: 0,
            context: &[b"sessions/x", b"header"],
        };
        let bytes = seal(cipher, &[7; 32], salt(name), &binding, b"plaintext").unwrap();
        list.push(Vector::new(
            name,
            "4.3",
            json!({
                "cipher": label, "key": hex::encode([7; 32]), "salt": hex::encode(salt(name)),
                "repository": REPOSITORY, "kind": 6, "data_key": 0,
                "parts": [hex::encode("sessions/x"), hex::encode("header")],
                "plaintext": hex::encode("plaintext"),
            }),
            bytes,
            move |found| open(cipher, &[7; 32], &binding, found).as_deref() == Ok(b"plaintext"),
        ));
    }
    let seed = keys().signing.unwrap();
    let key = layout::tombstone(session(), 0);
    let signed = sign::sign(&seed, REPOSITORY, Kind::Tombstone, &key, vec![1, 2, 3]).unwrap();
    let public = sign::public_key(&seed).unwrap();
    list.push(Vector::one_way(
        "public key",
        "4.4",
        json!({"signing": hex::encode(seed)}),
        public,
    ));
    list.push(Vector::new(
        "signature",
        "4.4",
        json!({
            "signing": hex::encode(seed), "repository": REPOSITORY, "kind": 9,
            "object_key": key, "payload": "010203",
        }),
        signed.signature,
        move |found| {
            let signed = sign::Signed {
                payload: vec![1, 2, 3],
                signature: found.to_vec(),
            };
            sign::verify(&public, REPOSITORY, Kind::Tombstone, &key, signed).is_ok()
        },
    ));
    list.push(Vector::new(
        "recovery key",
        "6.2",
        json!({"raw_key": hex::encode(RAW_KEY), "note": "the bytes are ASCII"}),
        recovery::encode(&RAW_KEY),
        |found| recovery::decode(std::str::from_utf8(found).unwrap()) == Ok(RAW_KEY),
    ));
    list
}

fn numbers() -> Vec<Vector> {
    let leb: Vec<u64> = vec![
        0,
        1,
        127,
        128,
        300,
        16_383,
        16_384,
        u64::from(u32::MAX),
        u64::MAX,
    ];
    let mut leb_bytes = Vec::new();
    for value in &leb {
        put_varint(&mut leb_bytes, *value);
    }
    let unsigned: Vec<u64> = vec![
        0,
        250,
        251,
        65_535,
        65_536,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX,
    ];
    let signed: Vec<i64> = vec![0, -1, 1, 125, -126, 126, 1000, i64::MAX, i64::MIN];
    let lengths: Vec<u64> = vec![
        0,
        1,
        2,
        9,
        100,
        1000,
        65_536,
        65_537,
        1_000_000,
        (16 << 20) + 1,
    ];
    let padme: Vec<u8> = lengths
        .iter()
        .flat_map(|n| padded(*n).to_le_bytes())
        .collect();
    vec![
        Vector::new(
            "LEB128 varints",
            "2",
            json!({"values": leb}),
            leb_bytes,
            move |found| {
                let mut c = Cursor::new(found);
                leb.iter().all(|v| c.varint("a value") == Ok(*v)) && c.end().is_ok()
            },
        ),
        Vector::new(
            "bincode Vec<u64>",
            "7.3",
            json!({"values": unsigned}),
            to_bytes(&unsigned).unwrap(),
            move |found| from_bytes::<Vec<u64>>(found).as_ref() == Ok(&unsigned),
        ),
        Vector::new(
            "bincode Vec<i64>",
            "7.3",
            json!({"values": signed}),
            to_bytes(&signed).unwrap(),
            move |found| from_bytes::<Vec<i64>>(found).as_ref() == Ok(&signed),
        ),
        Vector::one_way(
            "Padmé lengths",
            "10",
            json!({"lengths": lengths, "note": "the bytes are u64 le"}),
            padme,
        ),
    ]
}

fn names() -> Vec<Vector> {
    let sid = session();
    let keys: Vec<(&'static str, String, Object)> = vec![
        (
            "key of a slot",
            layout::slot("00112233445566ff"),
            Object::Slot("00112233445566ff".into()),
        ),
        (
            "key of a data key",
            layout::data_key(258),
            Object::DataKey(258),
        ),
        (
            "key of an epoch stub",
            layout::epoch_stub(5),
            Object::EpochStub(5),
        ),
        (
            "key of an epoch body",
            layout::epoch_body(5, &[1; 16]),
            Object::EpochBody(5),
        ),
        (
            "key of a segment",
            layout::segment(sid, 2),
            Object::Segment(sid, 2),
        ),
        (
            "key of a session",
            layout::session(5, sid),
            Object::Session(5, sid),
        ),
        (
            "key of a heartbeat",
            layout::heartbeat(5, sid, 1),
            Object::Heartbeat(5, sid, 1),
        ),
        (
            "key of a manifest",
            layout::manifest(5, sid),
            Object::Manifest(5, sid),
        ),
        (
            "key of a tombstone",
            layout::tombstone(sid, 0),
            Object::Tombstone(sid, 0),
        ),
        (
            "key of a later undo",
            layout::undo(sid, 2),
            Object::Undo(sid, 2),
        ),
        (
            "key of a claim",
            layout::claim(&sid.to_string(), 1),
            Object::Claim(sid.to_string(), 1),
        ),
        (
            "key of a data pack",
            layout::pack(&pack_name(PackClass::Data, 9)),
            Object::Pack(pack_name(PackClass::Data, 9)),
        ),
        (
            "key of a meta pack",
            layout::pack(&pack_name(PackClass::Meta, 9)),
            Object::Pack(pack_name(PackClass::Meta, 9)),
        ),
        (
            "key of a restore record",
            layout::restore(sid, 0),
            Object::Restore(sid, 0),
        ),
        (
            "key of a verify record",
            layout::verify(sid),
            Object::Verify(sid),
        ),
    ];
    let mut list: Vec<Vector> = keys
        .into_iter()
        .map(|(name, key, object)| {
            let inputs = json!({"object": format!("{object:?}"), "note": "the bytes are ASCII"});
            Vector::new(name, "3", inputs, key, move |found| {
                layout::parse(std::str::from_utf8(found).unwrap()).as_ref() == Some(&object)
            })
        })
        .collect();
    list.push(Vector::new(
        "session id",
        "3",
        json!({"unix_ms": 1_700_000_000_000u64, "random": hex::encode([0x51; 10])}),
        sid.0,
        |found| SessionId(found.try_into().unwrap()).unix_ms() == 1_700_000_000_000,
    ));
    for (name, group, resource, namespace, object) in [
        (
            "key of a namespaced object",
            "apps",
            "deployments",
            "web",
            "front",
        ),
        ("key of a cluster-scoped object", "", "nodes", "", "node-1"),
        ("key of a resource's own entry", "", "pods", "", ""),
    ] {
        list.push(Vector::new(
            name,
            "13.1",
            json!({"group": group, "resource": resource, "namespace": namespace, "name": object}),
            objects::object_key(group, resource, namespace, object),
            move |found| {
                objects::parse_key(found).is_some_and(|key| {
                    (&*key.group, &*key.resource, &*key.namespace, &*key.name)
                        == (group, resource, namespace, object)
                })
            },
        ));
    }
    list
}
