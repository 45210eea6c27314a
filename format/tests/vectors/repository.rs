//! A small repository with everything in it that a reader meets: `vectors/repository/`, and what a reader must find
//! there: `vectors/repository.jsonl`.

use std::collections::BTreeMap;

use ark_format::config::Config;
use ark_format::documents::*;
use ark_format::envelope::{Kind, to_bytes};
use ark_format::frame::FrameSealer;
use ark_format::id::PackClass;
use ark_format::keys::{ChunkKind, Key};
use ark_format::pack::{self, FrameEntry};
use ark_format::padme::padded;
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer};
use ark_format::sign;
use ark_format::slot::{self, Method, Role, SlotHeader};
use ark_format::tree::{Dataset, Root, Value};
use ark_format::{ChunkId, PackName, SessionId, layout, objects};
use serde::Serialize;
use serde_json::json;

use crate::documents::{manifest, sealer, settings, slot_document};
use crate::fixture::*;
use crate::structures::build_map;

/// The objects of a repository under construction.
#[derive(Default)]
pub struct Bucket {
    pub objects: BTreeMap<String, Vec<u8>>,
}

impl Bucket {
    fn put(&mut self, key: String, bytes: Vec<u8>) {
        assert!(layout::parse(&key).is_some(), "{key}");
        assert!(self.objects.insert(key.clone(), bytes).is_none(), "{key}");
    }

    fn document<T: Serialize>(&mut self, kind: Kind, key: String, value: &T) -> Vec<u8> {
        let bytes = sealer(&keys().index)
            .encode(kind, &key, salt(&key), value)
            .unwrap();
        self.put(key, bytes.clone());
        bytes
    }

    fn signed<T: Serialize>(&mut self, kind: Kind, key: String, value: &T) -> Vec<u8> {
        let seed = keys().signing.unwrap();
        let signed = sign::sign(&seed, REPOSITORY, kind, &key, to_bytes(value).unwrap()).unwrap();
        self.document(kind, key, &signed)
    }

    fn slot(&mut self, id: &str, method: Method, wrapping: [u8; 32], role: Role) {
        let key = layout::slot(id);
        let header = SlotHeader {
            method,
            kdf_salt: [0xA5; 32],
        };
        let document = slot_document(role);
        let salt = salt(&key);
        let bytes = slot::wrap(
            CIPHER, REPOSITORY, &key, &header, &wrapping, salt, &document,
        );
        self.put(key, bytes.unwrap());
    }

    fn epoch(&mut self, parent: Option<&[u8]>, body: &EpochBody) -> Vec<u8> {
        let nonce = [body.number as u8 + 1; 16];
        let body_key = layout::epoch_body(body.number, &nonce);
        let bytes = self.document(Kind::EpochBody, body_key.clone(), body);
        let stub = EpochStub {
            number: body.number,
            parent_hash: parent.map_or([0; 32], |p| *blake3::hash(p).as_bytes()),
            body_key,
            body_hash: *blake3::hash(&bytes).as_bytes(),
            body_size: bytes.len() as u64,
            nonce,
            created: 1_700_000_000_000,
        };
        self.signed(Kind::EpochStub, layout::epoch_stub(body.number), &stub)
    }
}

/// Writes the packs and the segment of one session.
struct Session<'a> {
    id: SessionId,
    known: &'a mut BTreeMap<ChunkId, ()>,
    data: Vec<(Vec<ChunkId>, Vec<u32>, Vec<u8>)>,
    tree: Vec<(Vec<ChunkId>, Vec<u32>, Vec<u8>)>,
    /// Number and key that its data frames are sealed with.
    data_key: (u16, Key),
}

impl Session<'_> {
    fn put(&mut self, kind: ChunkKind, bytes: &[u8]) -> ChunkId {
        let id = keys().chunk_id(kind, bytes);
        if self.known.insert(id, ()).is_none() {
            let frames = match kind {
                ChunkKind::Data => &mut self.data,
                ChunkKind::Tree => &mut self.tree,
            };
            if frames.last().is_none_or(|(_, _, b)| b.len() > 4096) {
                frames.push(Default::default());
            }
            let (ids, lengths, body) = frames.last_mut().unwrap();
            ids.push(id);
            lengths.push(bytes.len() as u32);
            body.extend_from_slice(bytes);
        }
        id
    }

    /// Ends the data frame: what follows shares none with what came before.
    fn cut(&mut self) {
        self.data.push(Default::default());
    }

    fn value(&mut self, bytes: &[u8]) -> Value {
        let pieces: Vec<&[u8]> = bytes.chunks(1000).collect();
        let chunks: Vec<(ChunkId, u32)> = pieces
            .iter()
            .map(|p| (self.put(ChunkKind::Data, p), p.len() as u32))
            .collect();
        match chunks.as_slice() {
            [] => Value::Inline(Vec::new()),
            [(id, len)] => Value::Chunk { id: *id, len: *len },
            _ if chunks.len() <= 32 => Value::List { chunks },
            _ => {
                let mut offset = 0u64;
                let mut entries = Vec::new();
                for (id, len) in chunks {
                    entries.push((offset.to_be_bytes().to_vec(), Value::Chunk { id, len }));
                    offset += u64::from(len);
                }
                Value::Map {
                    root: self.map(Dataset::Blocks, &entries),
                    len: offset,
                }
            }
        }
    }

    fn map(&mut self, dataset: Dataset, entries: &[(Vec<u8>, Value)]) -> Root {
        build_map(dataset, entries, |node| self.put(ChunkKind::Tree, node)).unwrap()
    }

    fn finish(self, bucket: &mut Bucket) -> Vec<SegmentRef> {
        let keys = keys();
        let mut segment = Segment::default();
        for (class, frames) in [(PackClass::Data, &self.data), (PackClass::Meta, &self.tree)] {
            let frames: Vec<_> = frames.iter().filter(|(ids, ..)| !ids.is_empty()).collect();
            if frames.is_empty() {
                continue;
            }
            let name = PackName {
                session: self.id,
                sequence: segment.packs.len() as u32,
                class,
            };
            let key = layout::pack(&name);
            let (kind, frame_key, data_key) = match class {
                PackClass::Data => (Kind::DataFrame, &self.data_key.1, self.data_key.0),
                PackClass::Meta => (Kind::TreeFrame, &keys.tree, 0),
            };
            let frame_sealer = FrameSealer {
                cipher: CIPHER,
                repository: REPOSITORY,
                kind,
                key: frame_key,
                data_key,
            };
            let mut bytes = pack::header(&name).to_vec();
            let mut listed = Vec::new();
            let mut add = |bytes: &mut Vec<u8>, sealed: Vec<u8>, ids: Vec<ChunkId>| {
                listed.push(FrameEntry {
                    offset: bytes.len() as u32,
                    stored: sealed.len() as u32,
                    data_key,
                    ids,
                });
                bytes.extend_from_slice(&sealed);
            };
            for (number, (ids, lengths, body)) in frames.iter().enumerate() {
                let salt = salt(&format!("{key} {number}"));
                add(
                    &mut bytes,
                    frame_sealer.encode(3, salt, lengths, body).unwrap(),
                    ids.clone(),
                );
            }
            let chunks = frames.iter().map(|(ids, ..)| ids.len()).sum();
            let least =
                bytes.len() + 45 + pack::trailer_length(frames.len() + 1, chunks) + pack::FOOTER;
            let zeros = padded(least as u64) as usize - least;
            let padding = frame_sealer
                .padding(salt(&format!("{key} padding")), zeros)
                .unwrap();
            add(&mut bytes, padding, Vec::new());
            let trailer_salt = salt(&format!("{key} trailer"));
            let trailer = pack::encode_trailer(
                CIPHER,
                REPOSITORY,
                &keys.index,
                trailer_salt,
                &name,
                &listed,
            );
            bytes.extend_from_slice(&trailer.unwrap());
            assert_eq!(bytes.len() as u64, padded(least as u64));
            let row = segment.packs.len() as u32;
            segment.packs.push(PackRow {
                name,
                first_frame: segment.frames.len() as u32,
                frames: listed.len() as u32,
                size: bytes.len() as u64,
            });
            for (frame, entry) in listed.iter().enumerate() {
                segment.frames.push(FrameRow {
                    offset: entry.offset,
                    stored: entry.stored,
                    data_key,
                    chunks: entry.ids.len() as u16,
                });
                segment
                    .entries
                    .extend(entry.ids.iter().enumerate().map(|(slot, id)| Entry {
                        id: *id,
                        pack: row,
                        frame: frame as u16,
                        slot: slot as u16,
                    }));
            }
            bucket.put(key, bytes);
        }
        segment.entries.sort();
        let key = layout::segment(self.id, 0);
        let sealer = SegmentSealer {
            cipher: CIPHER,
            repository: REPOSITORY,
            key: &keys.index,
            object_key: &key,
        };
        let mut number = 0;
        let bytes = sealer.encode(&segment, || {
            number += 1;
            salt(&format!("{key} {number}"))
        });
        let bytes = bytes.unwrap();
        let size = bytes.len() as u64;
        bucket.put(key, bytes);
        vec![SegmentRef {
            session: self.id,
            number: 0,
            size,
            entries: segment.entries.len() as u64,
        }]
    }
}

fn sid(n: u8) -> SessionId {
    SessionId::new(1_700_000_000_000 + u64::from(n) * 60_000, [n; 10])
}

/// The entries of the `objects` dataset: key and JSON. `generation` changes one object.
fn content(generation: u32) -> Vec<(Vec<u8>, String)> {
    let mut list = Vec::new();
    let mut resource = |group: &str,
                        plural: &str,
                        kind: &str,
                        captured: &str,
                        items: Vec<(String, String)>| {
        let mut entry = json!({
            "version": "v1", "kind": kind, "plural": plural, "namespaced": true, "captured": captured,
        });
        if captured != "yes" {
            entry["reason"] = json!("forbidden");
        }
        list.push((objects::resource_key(group, plural), entry.to_string()));
        for (name, data) in items {
            let version = if name == "cm-0100" { generation } else { 1 };
            let object = json!({
                "metadata": {"name": name, "namespace": "web", "generation": version, "labels": {"app": "ö"}},
                "data": {"text": data},
            });
            list.push((
                objects::object_key(group, plural, "web", &name),
                object.to_string(),
            ));
        }
    };
    let mut maps: Vec<(String, String)> = (0..300)
        .map(|n| (format!("cm-{n:04}"), format!("text {n}")))
        .collect();
    maps.push(("huge".into(), (0..9000).map(|n| format!("{n:x}")).collect()));
    maps.push(("large".into(), (0..500).map(|n| format!("{n:x}")).collect()));
    resource("", "configmaps", "ConfigMap", "yes", maps);
    let secrets = (0..3)
        .map(|n| (format!("secret-{n}"), "c2VjcmV0".into()))
        .collect();
    resource("", "secrets", "Secret", "partial", secrets);
    resource("apps", "deployments", "Deployment", "no", Vec::new());
    list
}

fn write_backup(
    bucket: &mut Bucket,
    known: &mut BTreeMap<ChunkId, ()>,
    id: SessionId,
    generation: u32,
    data_key: (u16, Key),
) -> (Root, Vec<SegmentRef>) {
    let mut session = Session {
        id,
        known,
        data: Vec::new(),
        tree: Vec::new(),
        data_key,
    };
    let mut entries = Vec::new();
    for (key, text) in content(generation) {
        let parsed = objects::parse_key(&key).unwrap();
        if parsed.resource == "secrets" {
            session.cut();
        }
        let value = if parsed.is_resource() {
            Value::Inline(text.into_bytes())
        } else {
            session.value(text.as_bytes())
        };
        entries.push((key, value));
    }
    let root = session.map(Dataset::Objects, &entries);
    (root, session.finish(bucket))
}

/// The repository, and the lines that its backups `first` and `second` hold.
pub fn build() -> (Bucket, String) {
    let mut bucket = Bucket::default();
    let keys = keys();
    let mac = keys.settings_mac_key();
    bucket.put(
        layout::CONFIG.to_owned(),
        Config::encode(&settings(), &mac).unwrap(),
    );
    let raw = slot::raw_wrapping_key(&RAW_KEY, &[0xA5; 32]);
    bucket.slot("0000000000000001", Method::RawKey, raw, Role::Full);
    let mut wrapping = [0; 32];
    hex::decode_to_slice(PASSPHRASE_KEY, &mut wrapping).unwrap();
    let passphrase = Method::Passphrase {
        memory: 64,
        passes: 2,
        lanes: 2,
    };
    bucket.slot("0000000000000002", passphrase, wrapping, Role::Backup);
    let data_keys = [(1, DATA_KEY), (2, SECOND_DATA_KEY)];
    for (number, data_key) in data_keys {
        let key = layout::data_key(number);
        let document = DataKey {
            number,
            key: data_key,
        };
        let bytes = sealer(&keys.data)
            .encode(Kind::DataKey, &key, salt(&key), &document)
            .unwrap();
        bucket.put(key, bytes);
    }

    let mut known = BTreeMap::new();
    // Rotated between the two.
    let [old, new] = data_keys;
    let (first_root, first_segments) = write_backup(&mut bucket, &mut known, sid(1), 1, old);
    let (second_root, second_segments) = write_backup(&mut bucket, &mut known, sid(2), 2, new);
    let commit = |bucket: &mut Bucket, name: &str, id, epoch, root, segments: &[SegmentRef]| {
        let mut manifest = manifest(b"done\n".to_vec());
        manifest.row.id = id;
        manifest.row.epoch = epoch;
        manifest.row.name = name.to_owned();
        manifest.row.previous = None;
        manifest.row.datasets = vec![("objects".to_owned(), root)];
        manifest.row.segments = segments.to_vec();
        let bytes = bucket.document(Kind::Manifest, layout::manifest(epoch, id), &manifest);
        manifest.row.manifest_size = bytes.len() as u64;
        manifest.row
    };
    let first = commit(&mut bucket, "first", sid(1), 0, first_root, &first_segments);
    commit(
        &mut bucket,
        "second",
        sid(2),
        1,
        second_root,
        &second_segments,
    );
    commit(&mut bucket, "late", sid(3), 0, first_root, &[]);
    commit(&mut bucket, "forgotten", sid(4), 1, first_root, &[]);
    let at = 1_700_000_900_000;
    let fence = Fence { by: sid(9), at };
    bucket.document(Kind::Fence, layout::manifest(1, sid(5)), &fence);
    for (id, undone) in [(sid(2), true), (sid(4), false)] {
        let stone = Tombstone {
            session: id,
            at,
            by: "me".to_owned(),
        };
        bucket.signed(Kind::Tombstone, layout::tombstone(id, 0), &stone);
        if undone {
            bucket.signed(Kind::Undo, layout::undo(id, 0), &stone);
        }
    }
    let zero = bucket.epoch(None, &EpochBody::default());
    let one = EpochBody {
        number: 1,
        segments: first_segments,
        manifests: vec![first],
        ..EpochBody::default()
    };
    let stub = bucket.epoch(Some(&zero), &one);
    let pin = Pin {
        activity: Activity::Backup,
        started: at,
        host: "host".to_owned(),
        process: "1".to_owned(),
        view_hash: *blake3::hash(&stub).as_bytes(),
    };
    bucket.document(Kind::Session, layout::session(1, sid(5)), &pin);
    let two = EpochBody {
        number: 2,
        watermark: 1,
        ..one
    };
    bucket.epoch(Some(&stub), &two);

    let mut lines = String::new();
    for (backup, generation) in [("first", 1), ("second", 2)] {
        for (key, text) in content(generation) {
            let key = objects::parse_key(&key).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let line = json!({
                "backup": backup, "group": key.group, "resource": key.resource,
                "namespace": key.namespace, "name": key.name, "value": value,
            });
            lines += &format!("{line}\n");
        }
    }
    (bucket, lines)
}
