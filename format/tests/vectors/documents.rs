//! `ark.json`, key slots, and every document in its envelope.

use ark_format::config::{ChunkSizes, Config, Features, SETTINGS_MAGIC, Settings};
use ark_format::documents::*;
use ark_format::envelope::{Kind, Sealer, from_bytes, to_bytes};
use ark_format::id::PackClass;
use ark_format::sign::{self, Signed};
use ark_format::slot::{self, Method, Role, SlotDocument, SlotHeader};
use ark_format::tree::Root;
use ark_format::{ChunkId, PackName, SessionId, layout};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Vector;
use crate::fixture::*;

pub fn settings() -> Settings {
    Settings {
        magic: SETTINGS_MAGIC.to_owned(),
        id: REPOSITORY,
        version: 1,
        features: Features::default(),
        cipher: CIPHER,
        ids: "blake3-128".to_owned(),
        chunks: ChunkSizes {
            min: 16 << 10,
            avg: 64 << 10,
            max: 256 << 10,
        },
        public_key: hex::encode(sign::public_key(&keys().signing.unwrap()).unwrap()),
    }
}

pub fn sealer<'a>(key: &'a [u8; 32]) -> Sealer<'a> {
    Sealer {
        cipher: CIPHER,
        repository: REPOSITORY,
        key,
    }
}

pub fn slot_document(role: Role) -> SlotDocument {
    let mut keys = keys();
    if role == Role::Backup {
        keys.signing = None;
    }
    SlotDocument {
        role,
        created: 1_700_000_000_000,
        label: "raw key".to_owned(),
        keys,
    }
}

pub fn row() -> BackupRow {
    BackupRow {
        id: session(),
        epoch: 1,
        name: "nightly".to_owned(),
        cluster: ClusterRef {
            id: "uid-1".to_owned(),
            name: "prod".to_owned(),
        },
        created: 1_700_000_000_000,
        status: BackupStatus::PartiallyFailed,
        counts: Counts {
            items: 3,
            bytes: 70_000,
            failed: 1,
        },
        stats: WriteStats {
            data_bytes: 1,
            tree_bytes: 2,
            trailer_bytes: 3,
            index_bytes: 4,
            padding_bytes: 5,
            control_bytes: 6,
            new_chunks: 7,
            reused_chunks: 8,
            packs: 9,
        },
        expires: Some(1_700_086_400),
        datasets: vec![(
            "objects".to_owned(),
            Root {
                id: ChunkId([0xC1; 16]),
                level: 1,
                entries: 300,
            },
        )],
        segments: vec![segment_ref()],
        previous: Some(other_session()),
        manifest_size: 0,
    }
}

fn segment_ref() -> SegmentRef {
    SegmentRef {
        session: session(),
        number: 0,
        size: 1000,
        entries: 300,
    }
}

pub fn manifest(log: Vec<u8>) -> Manifest {
    Manifest {
        row: row(),
        finished: 1_700_000_001_000,
        view: 1,
        view_hash: [0xE1; 32],
        tool: "ark 0.1.0".to_owned(),
        document: br#"{"kind":"Backup"}"#.to_vec(),
        log,
        repairs: None,
    }
}

pub fn vectors() -> Vec<Vector> {
    let keys = keys();
    let mac_key = keys.settings_mac_key();
    let mut list = vec![Vector::new(
        "ark.json",
        "5",
        json!({"index": hex::encode(keys.index), "settings": settings()}),
        Config::encode(&settings(), &mac_key).unwrap(),
        move |found| Config::decode(found).unwrap().authenticate(&mac_key) == Ok(settings()),
    )];
    list.extend(slots());
    list.push(document(
        "data key",
        "6.4",
        Kind::DataKey,
        layout::data_key(1),
        keys.data,
        &DataKey {
            number: 1,
            key: DATA_KEY,
        },
    ));
    list.extend(control());
    list.extend(records());
    list
}

fn slots() -> Vec<Vector> {
    let mut list = Vec::new();
    let kdf_salt = [0xA5; 32];
    let mut wrapped = [0; 32];
    hex::decode_to_slice(PASSPHRASE_KEY, &mut wrapped).unwrap();
    let passphrase = Method::Passphrase {
        memory: 64,
        passes: 2,
        lanes: 2,
    };
    for (name, id, method, wrapping, role, secret) in [
        (
            "slot of a raw key",
            "0000000000000001",
            Method::RawKey,
            slot::raw_wrapping_key(&RAW_KEY, &kdf_salt),
            Role::Full,
            json!({"raw_key": hex::encode(RAW_KEY)}),
        ),
        (
            "slot of a passphrase",
            "0000000000000002",
            passphrase,
            wrapped,
            Role::Backup,
            json!({"passphrase": PASSPHRASE, "memory": 64, "passes": 2, "lanes": 2}),
        ),
    ] {
        let key = layout::slot(id);
        let header = SlotHeader { method, kdf_salt };
        let plain = to_bytes(&slot_document(role)).unwrap();
        let bytes = slot::wrap(
            CIPHER,
            REPOSITORY,
            &key,
            &header,
            &wrapping,
            salt(name),
            &slot_document(role),
        )
        .unwrap();
        list.push(Vector::new(
            name,
            "6.1",
            json!({
                "object_key": key, "secret": secret, "kdf_salt": hex::encode(kdf_salt),
                "wrapping_key": hex::encode(wrapping), "salt": hex::encode(salt(name)),
                "document": hex::encode(&plain),
            }),
            bytes,
            move |found| {
                let document = slot::unwrap(CIPHER, REPOSITORY, &key, &wrapping, found).unwrap();
                SlotHeader::decode(found) == Ok(header.clone())
                    && slot::authenticate(&document.keys, &key, found) == Ok(header.clone())
                    && to_bytes(&document).unwrap() == plain
            },
        ));
    }
    list
}

/// A document in its envelope.
fn document<T: Serialize + DeserializeOwned>(
    name: &'static str,
    section: &'static str,
    kind: Kind,
    key: String,
    sealing: [u8; 32],
    value: &T,
) -> Vector {
    let plain = to_bytes(value).unwrap();
    let bytes = sealer(&sealing)
        .encode(kind, &key, salt(name), value)
        .unwrap();
    let compressed = bytes[5] == 2;
    let mut vector = Vector::new(
        name,
        section,
        json!({
            "object_key": key, "kind": kind.byte(), "key": hex::encode(sealing),
            "salt": hex::encode(salt(name)), "document": hex::encode(&plain),
        }),
        bytes,
        move |found| {
            let value: T = sealer(&sealing).decode(kind, &key, found).unwrap();
            let again: T = from_bytes(&plain).unwrap();
            to_bytes(&value).unwrap() == plain && to_bytes(&again).unwrap() == plain
        },
    );
    vector.decode_only = compressed;
    vector
}

fn signed<T: Serialize + DeserializeOwned>(
    name: &'static str,
    section: &'static str,
    kind: Kind,
    key: String,
    value: &T,
) -> Vector {
    let payload = to_bytes(value).unwrap();
    let seed = keys().signing.unwrap();
    let signed = sign::sign(&seed, REPOSITORY, kind, &key, payload.clone()).unwrap();
    let mut vector = document(name, section, kind, key.clone(), keys().index, &signed);
    vector.inputs["payload"] = json!(hex::encode(&payload));
    let outer = vector.decodes;
    vector.decodes = Box::new(move |found| {
        let signed: Signed = sealer(&keys().index).decode(kind, &key, found).unwrap();
        let public = sign::public_key(&seed).unwrap();
        let inner = sign::verify(&public, REPOSITORY, kind, &key, signed).unwrap();
        let value: T = from_bytes(&inner).unwrap();
        outer(found) && inner == payload && to_bytes(&value).unwrap() == payload
    });
    vector
}

fn control() -> Vec<Vector> {
    let index = keys().index;
    let sid = session();
    let body = EpochBody {
        number: 1,
        segments: vec![segment_ref()],
        condemned: vec![Condemned {
            pack: pack_name(PackClass::Data, 300),
            epoch: 1,
            size: 70_000,
        }],
        dropped: vec![pack_name(PackClass::Meta, 2)],
        retired: vec![Retired {
            epoch: 1,
            session: other_session(),
        }],
        manifests: vec![row()],
        watermark: 1,
        ..EpochBody::default()
    };
    let stub = EpochStub {
        number: 1,
        parent_hash: [0xE0; 32],
        body_key: layout::epoch_body(1, &[0xBB; 16]),
        body_hash: [0xB0; 32],
        body_size: 333,
        nonce: [0xBB; 16],
        created: 1_700_000_000_000,
    };
    let stone = Tombstone {
        session: sid,
        at: 1_700_000_002_000,
        by: "me@host".to_owned(),
    };
    let pin = Pin {
        activity: Activity::Prune,
        started: 1_700_000_000_000,
        host: "host".to_owned(),
        process: "boot/1/2".to_owned(),
        view_hash: [0xE1; 32],
    };
    let log = "2023-11-14T22:13:20Z listed pods\n".repeat(30).into_bytes();
    vec![
        signed(
            "epoch stub",
            "8.3",
            Kind::EpochStub,
            layout::epoch_stub(1),
            &stub,
        ),
        document(
            "epoch body",
            "8.3",
            Kind::EpochBody,
            stub.body_key,
            index,
            &body,
        ),
        document(
            "pin",
            "8.4",
            Kind::Session,
            layout::session(1, sid),
            index,
            &pin,
        ),
        document(
            "heartbeat",
            "8.4",
            Kind::Heartbeat,
            layout::heartbeat(1, sid, 0),
            index,
            &Heartbeat {
                at: 1_700_000_000_500,
            },
        ),
        document(
            "fence",
            "8.5",
            Kind::Fence,
            layout::manifest(1, other_session()),
            index,
            &Fence { by: sid, at: -1 },
        ),
        document(
            "manifest",
            "8.6",
            Kind::Manifest,
            layout::manifest(1, sid),
            index,
            &manifest(b"done\n".to_vec()),
        ),
        document(
            "manifest, compressed",
            "7.1",
            Kind::Manifest,
            layout::manifest(1, sid),
            index,
            &manifest(log),
        ),
        signed(
            "tombstone",
            "8.7",
            Kind::Tombstone,
            layout::tombstone(sid, 0),
            &stone,
        ),
        signed("undo", "8.7", Kind::Undo, layout::undo(sid, 0), &stone),
    ]
}

fn records() -> Vec<Vector> {
    let index = keys().index;
    vec![
        document(
            "claim",
            "8.8",
            Kind::Claim,
            layout::claim(&keys().claim_hash("uid-1", "nightly"), 0),
            index,
            &Claim {
                session: session(),
                epoch: 1,
                name: "nightly".to_owned(),
                cluster: "uid-1".to_owned(),
            },
        ),
        document(
            "restore record",
            "8.9",
            Kind::Restore,
            layout::restore(session(), 0),
            index,
            &RestoreRecord {
                name: "r".to_owned(),
                backup: "nightly".to_owned(),
                document: b"{}".to_vec(),
                report: b"[]".to_vec(),
                log: Vec::new(),
            },
        ),
        document(
            "verify record",
            "8.9",
            Kind::Verify,
            layout::verify(session()),
            index,
            &VerifyRecord {
                at: 1_700_000_000_000,
                read_data: true,
                epoch: 1,
                objects: 12,
                bytes: 1 << 33,
                damage: vec!["packs/data/00/x".to_owned()],
                packs: vec![
                    PackRead {
                        pack: PackName {
                            session: session(),
                            sequence: 1,
                            class: PackClass::Data,
                        },
                        at: 1_699_999_999_000,
                        damaged: true,
                    },
                    PackRead {
                        pack: PackName {
                            session: session(),
                            sequence: 2,
                            class: PackClass::Meta,
                        },
                        at: 1_700_000_000_000,
                        damaged: false,
                    },
                ],
                replaces: vec![SessionId([0x52; 16])],
            },
        ),
    ]
}
