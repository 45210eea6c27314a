//! Somebody with the keys of the backup role who commits index segments that are not true: of packs of others, and of his own.

use std::collections::BTreeSet;

use ark_engine::index::Index;
use ark_engine::store::{Store, StoreOptions};
use ark_engine::{BeginBackup, Error, PruneOptions, Repository, SessionId, WriteSession};
use ark_format::documents::{Manifest, SegmentRef};
use ark_format::envelope::Kind;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::pack::{self, FOOTER, FrameEntry, HEADER};
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer};
use ark_format::{ChunkId, PackName, layout};

use crate::forgery::{Thief, keys, with_thief, with_thief_in};
use crate::gate::{Gate, Op};
use crate::roundtrip::{
    Items, assert_sound, backup, cluster, commit, contents, env, index, items, new_repository,
    write,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

fn content(version: u32) -> Items {
    items(300, |_| version)
}

/// The packs of a session, each with what an index has in it.
fn packs_of(index: &Index, session: SessionId) -> Vec<(PackName, Vec<ChunkId>)> {
    let mut packs: Vec<_> = index.packs().into_keys().map(|n| (n, Vec::new())).collect();
    packs.retain(|(name, _)| name.session == session);
    for loaded in index.segments() {
        for entry in loaded.segment.rows.iter() {
            let entry = entry.unwrap();
            let name = loaded.segment.tables.packs[entry.pack as usize].name;
            let found = packs.iter_mut().find(|(pack, _)| *pack == name);
            if let Some((_, ids)) = found {
                ids.push(entry.id);
            }
        }
    }
    packs
}

fn pack_of(index: &Index, session: SessionId, class: PackClass) -> (PackName, Vec<ChunkId>) {
    let packs = packs_of(index, session).into_iter();
    packs
        .into_iter()
        .find(|(name, _)| name.class == class)
        .unwrap()
}

/// A segment that has these chunks in the first frame of a pack which is there.
fn claiming(index: &Index, pack: PackName, ids: &[ChunkId]) -> Segment {
    let (tables, row) = index
        .segments()
        .iter()
        .map(|l| &l.segment.tables)
        .find_map(|tables| Some((tables, *tables.packs.iter().find(|r| r.name == pack)?)))
        .unwrap();
    let first = row.first_frame as usize;
    let frames = tables.frames[first..first + row.frames as usize].to_vec();
    let frame = frames.iter().position(|frame| frame.chunks > 0).unwrap();
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let entry = |id| Entry {
        id,
        pack: 0,
        frame: frame as u16,
        slot: 0,
    };
    Segment {
        packs: vec![PackRow {
            first_frame: 0,
            ..row
        }],
        entries: ids.into_iter().map(entry).collect(),
        frames,
    }
}

/// What the values of items are as chunks.
fn chunks_of(thief: &Thief, items: &Items) -> Vec<ChunkId> {
    let ids = items
        .values()
        .map(|v| thief.keys.chunk_id(ChunkKind::Data, v));
    ids.collect()
}

/// What stands in the packs of `of`, said to stand in those of `instead`.
fn exchanged(index: &Index, of: SessionId, instead: SessionId) -> Vec<Segment> {
    let classes = [PackClass::Data, PackClass::Meta].into_iter();
    let lies = classes.map(|class| {
        let (_, ids) = pack_of(index, of, class);
        claiming(index, pack_of(index, instead, class).0, &ids)
    });
    lies.collect()
}

async fn begin(repository: &Repository, name: &str) -> WriteSession {
    let begin = BeginBackup {
        name: name.into(),
        cluster: cluster(),
    };
    repository.begin_backup(begin).await.unwrap()
}

fn nobody(n: u8) -> SessionId {
    SessionId::new(1_700_000_000_000, [n; 10])
}

impl Thief {
    async fn put_segment(&self, session: SessionId, number: u32, segment: &Segment) -> SegmentRef {
        let settings = self.config.unauthenticated();
        let key = layout::segment(session, number);
        let sealer = SegmentSealer {
            cipher: settings.cipher,
            repository: settings.id,
            key: &self.keys.index,
            object_key: &key,
        };
        let bytes = sealer.encode(segment, || env().salt()).unwrap();
        let size = bytes.len() as u64;
        self.store.create(&key, bytes.into()).await.unwrap();
        SegmentRef {
            session,
            number,
            size,
            entries: segment.entries.len() as u64,
        }
    }

    /// The data pack of a session under another name, with a trailer by which it holds these chunks as well; and the
    /// segment that says the same.
    async fn forge(&self, of: SessionId, known: &Index, lies: &[ChunkId]) -> (Vec<u8>, Segment) {
        let (original, _) = pack_of(known, of, PackClass::Data);
        let name = PackName {
            sequence: 70,
            ..original
        };
        let segments = known.segments().iter();
        let (tables, row, rows) = segments
            .map(|l| (&l.segment.tables, &l.segment.rows))
            .find_map(|(tables, rows)| {
                let row = tables.packs.iter().position(|r| r.name == original)?;
                Some((tables, row, rows))
            })
            .unwrap();
        let first = tables.packs[row].first_frame as usize;
        let rows_of_frames = &tables.frames[first..][..tables.packs[row].frames as usize];
        let mut frames: Vec<FrameEntry> = Vec::new();
        for (number, frame) in rows_of_frames.iter().enumerate() {
            let entries = rows.iter().map(Result::unwrap);
            let own = entries.filter(|e| e.pack as usize == row && usize::from(e.frame) == number);
            let mut ids: Vec<(u16, ChunkId)> = own.map(|e| (e.slot, e.id)).collect();
            ids.sort_unstable();
            frames.push(FrameEntry {
                offset: frame.offset,
                stored: frame.stored,
                data_key: frame.data_key,
                ids: ids.into_iter().map(|(_, id)| id).collect(),
            });
        }
        let lying = frames
            .iter_mut()
            .find(|frame| !frame.ids.is_empty())
            .unwrap();
        lying.ids.extend(lies);
        let bytes = self.store.get(&layout::pack(&original)).await.unwrap();
        let last = frames.last().unwrap();
        let mut bytes = bytes[..(last.offset + last.stored) as usize].to_vec();
        bytes[..HEADER].copy_from_slice(&pack::header(&name));
        let settings = self.config.unauthenticated();
        let (cipher, id, key) = (settings.cipher, settings.id, &self.keys.index);
        let trailer = pack::encode_trailer(cipher, id, key, env().salt(), &name, &frames);
        bytes.extend(trailer.unwrap());
        let mut entries = Vec::new();
        for (frame, entry) in (0..).zip(&frames) {
            let ids = (0..).zip(&entry.ids);
            entries.extend(ids.map(|(slot, id)| Entry {
                id: *id,
                pack: 0,
                frame,
                slot,
            }));
        }
        entries.sort_unstable();
        let rows = frames.iter().map(|frame| FrameRow {
            offset: frame.offset,
            stored: frame.stored,
            data_key: frame.data_key,
            chunks: frame.ids.len() as u16,
        });
        let segment = Segment {
            frames: rows.collect(),
            packs: vec![PackRow {
                name,
                first_frame: 0,
                frames: frames.len() as u32,
                size: bytes.len() as u64,
            }],
            entries,
        };
        (bytes, segment)
    }

    async fn put_pack(&self, name: &PackName, bytes: Vec<u8>) {
        let created = self.store.create(&layout::pack(name), bytes.into()).await;
        created.unwrap();
    }

    /// Another commit of a session, with one more segment.
    async fn commit_again(&self, repository: &Repository, id: SessionId, segment: &Segment) {
        let mut manifest = repository.manifest(&id).await.unwrap();
        manifest.row.manifest_size = 0;
        let reference = self.put_segment(id, 70, segment).await;
        manifest.row.segments.push(reference);
        self.put_commit(&manifest).await;
    }

    /// The same, of a session that has never had another data pack than this one.
    async fn commit_instead(&self, repository: &Repository, id: SessionId, segment: &Segment) {
        let known = index(repository).await;
        let original = pack_of(&known, id, PackClass::Data).0;
        let mut left = Segment::default();
        for loaded in known
            .segments()
            .iter()
            .filter(|l| l.reference.session == id)
        {
            let tables = &loaded.segment.tables;
            let entries: Vec<Entry> = loaded.segment.rows.iter().map(Result::unwrap).collect();
            for (number, row) in tables.packs.iter().enumerate() {
                if row.name == original {
                    continue;
                }
                let first = row.first_frame as usize;
                let pack = left.packs.len() as u32;
                left.packs.push(PackRow {
                    first_frame: left.frames.len() as u32,
                    ..*row
                });
                left.frames
                    .extend_from_slice(&tables.frames[first..][..row.frames as usize]);
                let own = entries.iter().filter(|e| e.pack as usize == number);
                left.entries.extend(own.map(|e| Entry { pack, ..*e }));
            }
        }
        left.entries.sort_unstable();
        let mut manifest = repository.manifest(&id).await.unwrap();
        manifest.row.manifest_size = 0;
        manifest.row.segments = vec![
            self.put_segment(id, 69, &left).await,
            self.put_segment(id, 70, segment).await,
        ];
        self.put_commit(&manifest).await;
        self.store.delete(&layout::pack(&original)).await.unwrap();
    }

    /// Another commit in the place of one's own, or a new one.
    async fn put_commit(&self, manifest: &Manifest) {
        let key = layout::manifest(manifest.row.epoch, manifest.row.id);
        self.store.delete(&key).await.unwrap();
        self.put(Kind::Manifest, &key, manifest).await;
    }

    /// A commit that refers to what a backup does and names segments that `owner` is said to have written.
    async fn lie(&self, like: &Manifest, id: SessionId, owner: SessionId, segments: &[Segment]) {
        let mut manifest = like.clone();
        manifest.row.id = id;
        manifest.row.name = "lie".into();
        manifest.row.manifest_size = 0;
        manifest.row.segments.clear();
        for (number, segment) in (70..).zip(segments) {
            let reference = self.put_segment(owner, number, segment).await;
            manifest.row.segments.push(reference);
        }
        self.put_commit(&manifest).await;
    }
}

/// What a first prune calls a lie: which backup's, and of which pack. Another one finds nothing more.
async fn prune_twice(
    repository: &Repository,
    whole: &[(SessionId, &Items)],
) -> Vec<(Option<SessionId>, Option<String>)> {
    let planned = repository.plan_prune(&NOW).await.unwrap().lies;
    let mut lies = Vec::new();
    for _ in 0..2 {
        lies.push(repository.prune(&NOW, |_| {}).await.unwrap().lies);
        for (id, items) in whole {
            assert_eq!(contents(repository, id).await.unwrap(), **items);
        }
    }
    assert_eq!(lies, [planned.clone(), Vec::new()]);
    planned
        .into_iter()
        .map(|lie| (lie.backup, lie.pack))
        .collect()
}

#[tokio::test]
async fn a_chunk_listed_in_an_older_pack_of_somebody_else_stays_where_it_is() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let old = backup(&repository, "old", &first).await.unwrap();
    let one = backup(&repository, "one", &second).await.unwrap();
    let packs = keys(&repository, "packs").await;
    let lies = exchanged(&index(&repository).await, one.id, old.id);
    let like = repository.manifest(&one.id).await.unwrap();
    thief.lie(&like, nobody(1), nobody(1), &lies).await;
    let told = prune_twice(&repository, &[(old.id, &first), (one.id, &second)]).await;
    let instead = lies.iter().map(|lie| layout::pack(&lie.packs[0].name));
    let expected: Vec<_> = instead.map(|pack| (Some(nobody(1)), Some(pack))).collect();
    assert_eq!(told, expected);
    assert_eq!(keys(&repository, "packs").await, packs);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn a_segment_that_hides_what_a_pack_has_hides_nothing() {
    let (repository, thief) = with_thief().await;
    let items = content(1);
    let one = backup(&repository, "one", &items).await.unwrap();
    let before = index(&repository).await;
    let (pack, ids) = pack_of(&before, one.id, PackClass::Data);
    let mut fewer = claiming(&before, pack, &ids[..1]);
    fewer.frames.truncate(1);
    fewer.packs[0].frames = 1;
    let mut none = fewer.clone();
    none.frames.clear();
    none.entries.clear();
    none.packs[0].frames = 0;
    let like = repository.manifest(&one.id).await.unwrap();
    // Before and after the honest segment, in the order of keys.
    thief
        .lie(&like, nobody(1), nobody(1), &[fewer.clone()])
        .await;
    let last = SessionId([0xff; 16]);
    thief.lie(&like, last, last, &[none]).await;
    prune_twice(&repository, &[(one.id, &items)]).await;
    for loaded in index(&repository).await.segments() {
        for row in &loaded.segment.tables.packs {
            assert_eq!(row.frames, before.packs()[&row.name].frames, "{row:?}");
        }
    }
    assert_sound(&repository).await;
}

/// The commit names segments under the names of another session, also of the one whose packs they lie about.
#[tokio::test]
async fn segments_of_another_session_are_nobodys_word() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let old = backup(&repository, "old", &first).await.unwrap();
    let one = backup(&repository, "one", &second).await.unwrap();
    let packs = keys(&repository, "packs").await;
    let lies = exchanged(&index(&repository).await, one.id, old.id);
    let like = repository.manifest(&one.id).await.unwrap();
    thief.lie(&like, nobody(1), old.id, &lies).await;
    thief.lie(&like, nobody(2), nobody(3), &lies).await;
    let told = prune_twice(&repository, &[(old.id, &first), (one.id, &second)]).await;
    let ids: BTreeSet<_> = told.into_iter().collect();
    let expected = [1, 2].map(|n| (Some(nobody(n)), None));
    assert_eq!(ids, BTreeSet::from(expected));
    assert_eq!(keys(&repository, "packs").await, packs);
    assert_sound(&repository).await;
}

/// He has written a pack in time, and says later what stands in it.
#[tokio::test]
async fn an_older_pack_of_the_liars_own_takes_nothing_away() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let own = backup(&repository, "own", &first).await.unwrap();
    let one = backup(&repository, "one", &second).await.unwrap();
    let packs = keys(&repository, "packs").await;
    let mut manifest = repository.manifest(&own.id).await.unwrap();
    manifest.row.manifest_size = 0;
    let lies = exchanged(&index(&repository).await, one.id, own.id);
    for (number, segment) in (70..).zip(&lies) {
        let reference = thief.put_segment(own.id, number, segment).await;
        manifest.row.segments.push(reference);
    }
    thief.put_commit(&manifest).await;
    prune_twice(&repository, &[(own.id, &first), (one.id, &second)]).await;
    assert_eq!(keys(&repository, "packs").await, packs);
    assert_sound(&repository).await;
}

/// The lie is in an epoch before the backup that it hits has committed.
#[tokio::test]
async fn a_lie_that_an_epoch_has_taken_over_takes_nothing_away() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let own = backup(&repository, "own", &first).await.unwrap();
    let session = begin(&repository, "one").await;
    let root = write(&session, &second).await.unwrap();

    let ids: Vec<ChunkId> = second
        .values()
        .map(|value| thief.keys.chunk_id(ChunkKind::Data, value))
        .collect();
    let known = index(&repository).await;
    let (pack, _) = pack_of(&known, own.id, PackClass::Data);
    let lie = claiming(&known, pack, &ids);
    let mut manifest = repository.manifest(&own.id).await.unwrap();
    manifest.row.manifest_size = 0;
    let reference = thief.put_segment(own.id, 70, &lie).await;
    manifest.row.segments.push(reference);
    thief.put_commit(&manifest).await;
    repository.prune(&NOW, |_| {}).await.unwrap();

    let one = session.commit(commit(root)).await.unwrap();
    prune_twice(&repository, &[(own.id, &first), (one.id, &second)]).await;
    assert_sound(&repository).await;
}

/// What cannot be told must not decide.
#[tokio::test]
async fn while_a_pack_cannot_say_what_it_holds_nothing_is_pruned() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let old = backup(&repository, "old", &first).await.unwrap();
    let one = backup(&repository, "one", &second).await.unwrap();
    let known = index(&repository).await;
    let lies = exchanged(&known, one.id, old.id);
    let like = repository.manifest(&one.id).await.unwrap();
    thief.lie(&like, nobody(1), nobody(1), &lies).await;
    let (pack, _) = pack_of(&known, old.id, PackClass::Data);
    let key = layout::pack(&pack);
    let mut bytes = thief.store.get(&key).await.unwrap().to_vec();
    let end = bytes.len() - FOOTER;
    bytes[end - 8..end].fill(0);
    thief.store.delete(&key).await.unwrap();
    thief.store.create(&key, bytes.into()).await.unwrap();

    let before = keys(&repository, "").await;
    let refused = |error| matches!(error, Error::PruneBlocked { object, .. } if object == key);
    assert!(refused(repository.plan_prune(&NOW).await.unwrap_err()));
    assert!(refused(repository.prune(&NOW, |_| {}).await.unwrap_err()));
    let left = keys(&repository, "").await;
    assert!(before.iter().all(|key| left.contains(key)));
    assert_eq!(contents(&repository, &old.id).await.unwrap(), first);
    assert_eq!(contents(&repository, &one.id).await.unwrap(), second);
}

/// He knows what a backup is going to write, and has uploaded it before, as he says.
#[tokio::test]
async fn an_older_pack_whose_trailer_lies_takes_nothing_away() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let own = backup(&repository, "own", &first).await.unwrap();
    let lies = chunks_of(&thief, &second);
    let (bytes, lie) = thief.forge(own.id, &index(&repository).await, &lies).await;
    let pack = lie.packs[0].name;
    thief.put_pack(&pack, bytes).await;
    let one = backup(&repository, "one", &second).await.unwrap();
    thief.commit_again(&repository, own.id, &lie).await;
    let told = prune_twice(&repository, &[(own.id, &first), (one.id, &second)]).await;
    assert_eq!(told, [(Some(own.id), Some(layout::pack(&pack)))]);
    assert_sound(&repository).await;
}

/// An epoch has it already when the backup commits whose chunks it claims.
#[tokio::test]
async fn a_trailer_that_lied_before_anybody_had_the_chunk_takes_nothing_away() {
    let (repository, thief) = with_thief().await;
    let [first, second] = [content(1), content(2)];
    let own = backup(&repository, "own", &first).await.unwrap();
    let session = begin(&repository, "one").await;
    let lies = chunks_of(&thief, &second);
    let (bytes, lie) = thief.forge(own.id, &index(&repository).await, &lies).await;
    let pack = lie.packs[0].name;
    thief.put_pack(&pack, bytes).await;
    thief.commit_instead(&repository, own.id, &lie).await;
    repository.prune(&NOW, |_| {}).await.unwrap();
    let root = write(&session, &second).await.unwrap();
    let one = session.commit(commit(root)).await.unwrap();
    let told = prune_twice(&repository, &[(own.id, &first), (one.id, &second)]).await;
    assert_eq!(told, [(Some(own.id), Some(layout::pack(&pack)))]);
}

/// He comes later, with a pack of which he needs something himself; and then the pack that is older than his is rewritten,
/// into one that is younger. He may also say first what is in his pack, and upload it afterwards.
#[tokio::test]
async fn a_pack_whose_trailer_lies_takes_nothing_away_when_the_older_one_is_rewritten() {
    for early in [true, false] {
        let (repository, thief) = with_thief().await;
        let [first, second] = [content(1), content(2)];
        let own = backup(&repository, "own", &first).await.unwrap();
        let one = backup(&repository, "one", &second).await.unwrap();
        let half: Items = second.clone().into_iter().step_by(2).collect();
        let two = backup(&repository, "two", &half).await.unwrap();
        let known = index(&repository).await;
        let lies = pack_of(&known, one.id, PackClass::Data).1;
        let (bytes, lie) = thief.forge(own.id, &known, &lies).await;
        let pack = lie.packs[0].name;
        let late = match early {
            true => {
                thief.put_pack(&pack, bytes).await;
                None
            }
            false => Some(bytes),
        };
        thief.commit_instead(&repository, own.id, &lie).await;
        repository.prune(&NOW, |_| {}).await.unwrap();
        if let Some(bytes) = late {
            thief.put_pack(&pack, bytes).await;
        }
        let claimed = packs_of(&index(&repository).await, own.id);
        let claimed: Vec<_> = claimed.into_iter().flat_map(|(_, ids)| ids).collect();
        assert!(lies.iter().all(|lie| !claimed.contains(lie)), "{early}");
        repository.forget(&[one.id]).await.unwrap();
        let all = PruneOptions {
            max_unused: 0.0,
            ..NOW
        };
        for _ in 0..3 {
            repository.prune(&all, |_| {}).await.unwrap();
        }
        assert_eq!(contents(&repository, &own.id).await.unwrap(), first);
        assert_eq!(contents(&repository, &two.id).await.unwrap(), half);
    }
}

/// What a backup relies on is condemned meanwhile, and his is not.
#[tokio::test]
async fn a_pack_whose_trailer_lies_takes_no_condemned_one_away() {
    for committed_first in [true, false] {
        let (repository, thief) = with_thief().await;
        let [first, second] = [content(1), content(2)];
        let one = backup(&repository, "one", &second).await.unwrap();
        let session = begin(&repository, "two").await;
        let root = write(&session, &second).await.unwrap();
        repository.forget(&[one.id]).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
        let own = backup(&repository, "own", &first).await.unwrap();
        let known = index(&repository).await;
        let lies = pack_of(&known, one.id, PackClass::Data).1;
        let (bytes, lie) = thief.forge(own.id, &known, &lies).await;
        thief.put_pack(&lie.packs[0].name, bytes).await;
        thief.commit_instead(&repository, own.id, &lie).await;
        let two = if committed_first {
            session.commit(commit(root)).await.unwrap()
        } else {
            repository.prune(&NOW, |_| {}).await.unwrap();
            session.commit(commit(root)).await.unwrap()
        };
        for _ in 0..2 {
            repository.prune(&NOW, |_| {}).await.unwrap();
            assert_eq!(contents(&repository, &two.id).await.unwrap(), second);
            assert_eq!(contents(&repository, &own.id).await.unwrap(), first);
        }
    }
}

/// Two backups write the same at the same time. The pack of one is lost; that of the other comes after a prune has listed packs.
#[tokio::test]
async fn a_pack_that_came_after_the_listing_is_there() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let items = content(1);
    let [one, two] = [
        begin(&repository, "one").await,
        begin(&repository, "two").await,
    ];
    let root = write(&one, &items).await.unwrap();
    let one = one.commit(commit(root)).await.unwrap();
    for key in keys(&repository, "packs/data").await {
        repository.store().delete(&key).await.unwrap();
    }
    let listed = gate.hold(Op::List, "index", 1);
    let pruner = repository.clone();
    let prune = tokio::spawn(async move { pruner.prune(&NOW, |_| {}).await });
    listed.reached().await;
    let root = write(&two, &items).await.unwrap();
    let two = two.commit(commit(root)).await.unwrap();
    listed.release();
    prune.await.unwrap().unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    for id in [one.id, two.id] {
        assert_eq!(contents(&repository, &id).await.unwrap(), items);
    }
    assert_sound(&repository).await;
}

/// A footer says how long the trailer is; who has no pack of that size need not believe it.
#[tokio::test]
async fn a_pack_larger_than_any_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let store = Store::open(&url, &StoreOptions::default()).unwrap();
    let (repository, thief) = with_thief_in(store).await;
    let [first, second] = [content(1), content(2)];
    let old = backup(&repository, "old", &first).await.unwrap();
    let one = backup(&repository, "one", &second).await.unwrap();
    let known = index(&repository).await;
    let lies = exchanged(&known, one.id, old.id);
    let like = repository.manifest(&one.id).await.unwrap();
    thief.lie(&like, nobody(1), nobody(1), &lies).await;
    let key = layout::pack(&pack_of(&known, old.id, PackClass::Data).0);
    let path = folder.path().join(&key);
    let bytes = std::fs::read(&path).unwrap();
    let mut footer = bytes[bytes.len() - FOOTER..].to_vec();
    footer[..4].copy_from_slice(&(300u32 << 20).to_le_bytes());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(301 << 20).unwrap();
    let end = (301 << 20) - FOOTER as u64;
    std::os::unix::fs::FileExt::write_all_at(&file, &footer, end).unwrap();
    let before = repository.store().counters();
    let refused = repository.plan_prune(&NOW).await.unwrap_err();
    assert!(matches!(refused, Error::PruneBlocked { object, .. } if object == key));
    let read = (repository.store().counters() - before).bytes_read;
    assert!(read < 1 << 20, "{read}");
}
