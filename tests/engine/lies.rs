//! Somebody with the keys of the backup role who commits index segments that are not true: of packs of others, and of his own.

use std::collections::BTreeSet;

use ark_engine::index::Index;
use ark_engine::{BeginBackup, Error, PruneOptions, Repository, SessionId};
use ark_format::documents::{Manifest, SegmentRef};
use ark_format::envelope::Kind;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::pack::FOOTER;
use ark_format::segment::{Entry, PackRow, Segment, SegmentSealer};
use ark_format::{ChunkId, PackName, layout};

use crate::forgery::{Thief, keys, with_thief};
use crate::roundtrip::{
    Items, assert_sound, backup, cluster, commit, contents, env, index, items, write,
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

/// What stands in the packs of `of`, said to stand in those of `instead`.
fn exchanged(index: &Index, of: SessionId, instead: SessionId) -> Vec<Segment> {
    let classes = [PackClass::Data, PackClass::Meta].into_iter();
    let lies = classes.map(|class| {
        let (_, ids) = pack_of(index, of, class);
        claiming(index, pack_of(index, instead, class).0, &ids)
    });
    lies.collect()
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
    let begin = BeginBackup {
        name: "one".into(),
        cluster: cluster(),
    };
    let session = repository.begin_backup(begin).await.unwrap();
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
