//! Data keys: a rotation beside everything else, and keys that are lost.

use std::collections::BTreeSet;

use ark_engine::store::Store;
use ark_engine::verify::Unwatched;
use ark_engine::{
    BeginBackup, Damage, Dataset, Error, FrameClass, OpenOptions, PruneOptions, RepairOptions,
    Repository, Role, Rotation, SessionId, Unlock, VerifyOptions,
};
use ark_format::id::PackClass;
use ark_format::pack::{self, FrameEntry};
use ark_format::{ChunkId, PackName, layout};

use crate::forgery::with_thief;
use crate::gate::{End, Gate, Op};
use crate::roundtrip::{
    Items, Plain, assert_sound, backup, cluster, commit, contents, env, index, items, memory,
    new_repository, read_all, unlock, write,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
const SECOND: &str = "keys/data/0002";

async fn open(store: &Store) -> Repository {
    Repository::open(store.clone(), env(), &unlock(), OpenOptions::default())
        .await
        .unwrap()
}

fn version(number: u32) -> Items {
    items(300, |_| number)
}

/// The data keys of the frames that a session has written, and that are in force; of all sessions for `None`.
async fn sealed_with(repository: &Repository, session: Option<SessionId>) -> BTreeSet<u16> {
    let index = index(repository).await;
    let mut keys = BTreeSet::new();
    for tables in index.segments().iter().map(|l| &l.segment.tables) {
        for pack in &tables.packs {
            let first = pack.first_frame as usize;
            let wanted = session.is_none_or(|id| pack.name.session == id);
            if wanted && pack.name.class == PackClass::Data {
                let frames = &tables.frames[first..first + pack.frames as usize];
                keys.extend(frames.iter().map(|frame| frame.data_key));
            }
        }
    }
    keys
}

async fn damage(repository: &Repository, read_data: bool) -> Vec<Damage> {
    let options = VerifyOptions { read_data };
    let report = repository.verify(options, &Unwatched).await.unwrap();
    report.damage
}

#[tokio::test]
async fn a_rotation_changes_what_seals_and_nothing_else() {
    let store = memory();
    let repository = new_repository(store.clone()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    let before: BTreeSet<String> = keys(&store).await;
    assert_eq!(repository.next_data_key().await.unwrap(), 2);
    assert_eq!(keys(&store).await, before, "a look changes nothing");

    let expected = Rotation {
        number: 2,
        object: SECOND.to_owned(),
        made: true,
    };
    assert_eq!(repository.rotate_data_key().await.unwrap(), expected);
    let after = keys(&store).await;
    let new: Vec<&String> = after.difference(&before).collect();
    assert_eq!(new, [SECOND]);
    assert!(before.is_subset(&after));

    let two = backup(&repository, "two", &version(2)).await.unwrap();
    let again = backup(&repository, "again", &version(1)).await.unwrap();
    assert_eq!(again.stats.data_bytes, 0, "ids stay, and so does dedup");
    for client in [&repository, &open(&store).await] {
        assert_eq!(sealed_with(client, Some(one.id)).await, [1].into());
        assert_eq!(sealed_with(client, Some(two.id)).await, [2].into());
        assert_eq!(contents(client, &one.id).await.unwrap(), version(1));
        assert_eq!(contents(client, &two.id).await.unwrap(), version(2));
        assert_eq!(contents(client, &again.id).await.unwrap(), version(1));
        assert_eq!(client.info().await.unwrap().data_key, Some(2));
        assert_sound(client).await;
    }
    assert_eq!(repository.rotate_data_key().await.unwrap().number, 3);
    assert_sound(&repository).await;
}

async fn keys(store: &Store) -> BTreeSet<String> {
    let objects = store.list("").await.unwrap();
    objects.into_iter().map(|object| object.key).collect()
}

#[tokio::test]
async fn who_was_there_before_reads_writes_verifies_and_prunes_after() {
    let store = memory();
    let old = new_repository(store.clone()).await;
    let one = backup(&old, "one", &version(1)).await.unwrap();
    // Opened before: a client that does nothing, a reader, and a backup that is half done.
    let idle = open(&store).await;
    let reader = old.reader().await.unwrap();
    let begin = BeginBackup {
        name: "slow".into(),
        cluster: cluster(),
    };
    let slow = old.begin_backup(begin).await.unwrap();
    let mut chunks = slow.chunks(FrameClass::Objects);
    let mut map = slow.map(Dataset::Objects);
    let content = version(9);
    for (key, value) in content.iter().take(150) {
        let value = chunks.put_value(value).await.unwrap();
        map.push(key, &value).await.unwrap();
    }
    chunks.cut().await.unwrap();

    let new = open(&store).await;
    assert!(new.rotate_data_key().await.unwrap().made);
    let two = backup(&new, "two", &version(2)).await.unwrap();
    assert_eq!(sealed_with(&new, Some(two.id)).await, [2].into());

    // They go on; and what the new key sealed is read by them.
    for (key, value) in content.iter().skip(150) {
        let value = chunks.put_value(value).await.unwrap();
        map.push(key, &value).await.unwrap();
    }
    chunks.finish().await.unwrap();
    let root = map.finish().await.unwrap();
    let slow = slow.commit(commit(root)).await.unwrap();
    let root = old.manifest(&one.id).await.unwrap().dataset("objects");
    assert_eq!(read_all(&reader, root.unwrap()).await.unwrap(), version(1));
    reader.close().await;
    for client in [&old, &idle] {
        assert_eq!(contents(client, &two.id).await.unwrap(), version(2));
        assert_eq!(contents(client, &slow.id).await.unwrap(), content);
    }
    assert_sound(&old).await;

    // A backup begun now has the new key, and relies on what it sealed.
    let mixed = items(300, |n| if n % 3 == 0 { 2 } else { 7 });
    let three = backup(&old, "three", &mixed).await.unwrap();
    assert!(three.stats.reused_chunks > 50, "{:?}", three.stats);
    assert_eq!(sealed_with(&old, Some(three.id)).await, [2].into());

    // Nor does a prune that meets keys that are neither the oldest nor the newest.
    let pruner = open(&store).await;
    assert_eq!(new.rotate_data_key().await.unwrap().number, 3);
    new.forget(&[one.id, two.id]).await.unwrap();
    let report = pruner.prune(&NOW, |_| {}).await.unwrap();
    assert!(report.packs_repacked > 0, "{report:?}");
    assert!(sealed_with(&new, None).await.contains(&3));
    for client in [&pruner, &idle, &open(&store).await] {
        assert_eq!(contents(client, &three.id).await.unwrap(), mixed);
        assert_eq!(contents(client, &slow.id).await.unwrap(), content);
        assert_sound(client).await;
    }
}

#[tokio::test]
async fn of_two_rotations_at_once_one_makes_the_key() {
    let gate = Gate::new();
    let one = new_repository(gate.store()).await;
    let other = open(&gate.store()).await;
    let stop = gate.hold(Op::Put, SECOND, 1);
    let late = tokio::spawn({
        let one = one.clone();
        async move { one.rotate_data_key().await }
    });
    stop.reached().await;
    assert!(other.rotate_data_key().await.unwrap().made);
    let first = backup(&other, "first", &version(1)).await.unwrap();
    stop.release();
    let late = late.await.unwrap().unwrap();
    assert_eq!((late.number, late.made), (2, false));
    let second = backup(&one, "second", &version(2)).await.unwrap();
    for client in [&one, &other] {
        assert_eq!(contents(client, &first.id).await.unwrap(), version(1));
        assert_eq!(contents(client, &second.id).await.unwrap(), version(2));
    }
    assert_eq!(sealed_with(&one, None).await, [2].into());
    assert_sound(&one).await;
}

#[tokio::test]
async fn a_rotation_that_is_interrupted_has_happened_or_not() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    // Before the key is there: nothing has changed.
    let stop = gate.hold(Op::Put, SECOND, 1);
    let killed = tokio::spawn({
        let repository = repository.clone();
        async move { repository.rotate_data_key().await }
    });
    stop.reached().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    gate.open();
    gate.fail(Op::Put, SECOND, 1, End::Refuse);
    let refused = repository.rotate_data_key().await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    assert_eq!(repository.next_data_key().await.unwrap(), 2);
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    assert_eq!(sealed_with(&repository, None).await, [1].into());

    // The answer is lost: it is there, and ours. Then the process dies before it has told anybody.
    gate.fail(Op::Put, SECOND, 1, End::Lose);
    assert!(repository.rotate_data_key().await.unwrap().made);
    let stop = gate.hold(Op::Got, "keys/data/0003", 1);
    let killed = tokio::spawn({
        let repository = repository.clone();
        async move { repository.rotate_data_key().await }
    });
    stop.reached().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    gate.open();
    let other = open(&gate.store()).await;
    let two = backup(&other, "two", &version(2)).await.unwrap();
    assert_eq!(sealed_with(&other, Some(two.id)).await, [3].into());
    for client in [&repository, &other] {
        assert_eq!(contents(client, &one.id).await.unwrap(), version(1));
        assert_eq!(contents(client, &two.id).await.unwrap(), version(2));
        assert_sound(client).await;
    }
}

#[tokio::test]
async fn only_the_full_role_rotates() {
    let store = memory();
    let full = new_repository(store.clone()).await;
    let key = || Unlock::from_key_file(&[8; 32]).unwrap();
    full.add_key(&key(), Role::Backup).await.unwrap();
    let options = OpenOptions::default;
    let role = Repository::open(store.clone(), env(), &key(), options()).await;
    let role = role.unwrap();
    for refused in [
        role.rotate_data_key().await.map(|rotation| rotation.number),
        role.next_data_key().await,
    ] {
        assert!(matches!(refused, Err(Error::Role { .. })), "{refused:?}");
    }
    assert!(!keys(&store).await.contains(SECOND));
    // What the full role has made it uses: the slot was there before.
    full.rotate_data_key().await.unwrap();
    let one = backup(&role, "one", &version(1)).await.unwrap();
    assert_eq!(sealed_with(&role, None).await, [2].into());
    assert_eq!(contents(&full, &one.id).await.unwrap(), version(1));
}

#[tokio::test]
async fn numbers_of_data_keys_end() {
    let store = memory();
    let repository = new_repository(store.clone()).await;
    let last = layout::data_key(u16::MAX);
    store.create(&last, vec![1; 100].into()).await.unwrap();
    let refused = repository.rotate_data_key().await;
    assert!(
        matches!(refused, Err(Error::NoDataKeyLeft { .. })),
        "{refused:?}"
    );
}

/// Two backups of which the second needs the second key.
async fn two_keys(store: &Store) -> (Repository, SessionId, SessionId) {
    let repository = new_repository(store.clone()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    repository.rotate_data_key().await.unwrap();
    let two = backup(&repository, "two", &version(2)).await.unwrap();
    (repository, one.id, two.id)
}

fn names_second<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    let error = result.unwrap_err();
    let named = match &error {
        Error::Missing { object } | Error::Damaged { object, .. } => object == SECOND,
        _ => false,
    };
    assert!(named, "{what}: {error:?}");
}

#[tokio::test]
async fn a_lost_key_is_named_with_what_it_takes_along_and_its_number_never_comes_back() {
    for flipped in [false, true] {
        let gate = Gate::new();
        let store = gate.store();
        let (_, one, two) = two_keys(&store).await;
        if flipped {
            let flip = |mut bytes: Vec<u8>| {
                bytes[20] ^= 1;
                bytes
            };
            gate.replace(SECOND, flip).await;
        } else {
            store.delete(SECOND).await.unwrap();
        }

        let repository = open(&store).await;
        for read_data in [false, true] {
            let found = damage(&repository, read_data).await;
            let [found] = found.as_slice() else {
                panic!("{found:?}");
            };
            assert_eq!(found.object, SECOND);
            assert_eq!(found.backups, ["two"]);
            assert!(found.items.len() > 250, "{}", found.items.len());
        }
        assert_eq!(contents(&repository, &one).await.unwrap(), version(1));
        names_second("restore", contents(&repository, &two).await);
        // Nobody goes back to the key that may be the reason for the rotation.
        names_second("backup", backup(&repository, "three", &version(3)).await);
        let packs = store.list("packs").await.unwrap().len();
        names_second("backup", backup(&repository, "three", &version(3)).await);
        assert_eq!(store.list("packs").await.unwrap().len(), packs);
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(contents(&repository, &one).await.unwrap(), version(1));

        let made = repository.rotate_data_key().await.unwrap();
        assert_eq!((made.number, made.made), (3, true));
        // What was lost is not relied on but written again, which makes the damaged backup whole.
        let again = backup(&repository, "again", &version(2)).await.unwrap();
        assert!(again.stats.data_bytes > 0);
        let client = open(&store).await;
        for id in [two, again.id] {
            assert_eq!(contents(&client, &id).await.unwrap(), version(2));
        }
        let found = damage(&client, true).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].object, SECOND);
        assert_eq!(found[0].backups, Vec::<String>::new());
        // A prune keeps the copy that can be read, though the other one is older.
        client.prune(&NOW, |_| {}).await.unwrap();
        for id in [two, again.id] {
            assert_eq!(contents(&client, &id).await.unwrap(), version(2));
        }
        let more = backup(&client, "more", &version(2)).await.unwrap();
        assert_eq!(more.stats.data_bytes, 0, "the copy is relied on");
    }
}

#[tokio::test]
async fn an_older_key_that_is_lost_hinders_nobody_else() {
    let store = memory();
    let (long_lived, one, two) = two_keys(&store).await;
    let first = layout::data_key(1);
    store.delete(&first).await.unwrap();
    let repository = open(&store).await;
    let found = damage(&repository, false).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].object.as_str(), found[0].backups.as_slice()),
        (first.as_str(), &["one".to_owned()][..])
    );
    // Who has it in memory reads on, and still tells that it is gone.
    assert_eq!(contents(&long_lived, &one).await.unwrap(), version(1));
    let found = damage(&long_lived, true).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].backups, ["one"]);

    assert_eq!(contents(&repository, &two).await.unwrap(), version(2));
    assert!(contents(&repository, &one).await.is_err());
    let three = backup(&repository, "three", &version(3)).await.unwrap();
    assert_eq!(contents(&repository, &three.id).await.unwrap(), version(3));
    let again = backup(&repository, "again", &version(1)).await.unwrap();
    assert_eq!(contents(&repository, &one).await.unwrap(), version(1));
    repository.forget(&[one]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let client = open(&store).await;
    assert_eq!(contents(&client, &again.id).await.unwrap(), version(1));
    assert_sound(&client).await;
}

#[tokio::test]
async fn a_repair_makes_a_new_key_for_the_newest_and_says_what_was_lost() {
    let store = memory();
    let (_, one, two) = two_keys(&store).await;
    store.delete(SECOND).await.unwrap();
    let repository = open(&store).await;
    let options = RepairOptions::default();
    let plan = repository.plan_repair(&options).await.unwrap();
    assert_eq!(plan.new_data_key, Some(3));
    assert_eq!(plan.data_keys.len(), 1);
    assert!(plan.to_string().contains("keys/data/0002"), "{plan}");
    assert!(!keys(&store).await.contains("keys/data/0003"));

    let report = repository.repair(&options, &Plain, |_| {}).await.unwrap();
    assert_eq!(report.plan.new_data_key, Some(3));
    assert_eq!(report.repaired.len(), 1, "{report:?}");
    let client = open(&store).await;
    assert_eq!(contents(&client, &one).await.unwrap(), version(1));
    assert!(contents(&client, &two).await.is_err());
    let again = backup(&client, "again", &version(2)).await.unwrap();
    assert_eq!(sealed_with(&client, Some(again.id)).await, [3].into());
    assert_eq!(contents(&client, &two).await.unwrap(), version(2));
    assert_eq!(damage(&client, false).await, []);
    let plan = client.plan_repair(&options).await.unwrap();
    assert_eq!(plan.new_data_key, None);
}

/// Its packs are in the bucket, in no index yet, or its frames are still in memory.
#[tokio::test]
async fn a_key_that_is_lost_before_any_index_names_it_seals_nothing_that_counts() {
    for stored in [true, false] {
        let gate = Gate::new();
        let store = gate.store();
        let repository = new_repository(store.clone()).await;
        repository.rotate_data_key().await.unwrap();
        let begin = BeginBackup {
            name: "slow".into(),
            cluster: cluster(),
        };
        let slow = repository.begin_backup(begin).await.unwrap();
        let root = write(&slow, &version(1)).await.unwrap();
        let other = open(&store).await;
        let result = if stored {
            let stop = gate.hold(Op::Put, "index/", 1);
            let writer = tokio::spawn({
                let slow = slow.clone();
                async move { slow.commit(commit(root)).await }
            });
            stop.reached().await;
            store.delete(SECOND).await.unwrap();
            // Its frames are there: whoever adopted them would read them with another key of that number.
            assert_eq!(open(&store).await.next_data_key().await.unwrap(), 3);
            assert_eq!(other.rotate_data_key().await.unwrap().number, 3);
            stop.release();
            writer.await.unwrap()
        } else {
            store.delete(SECOND).await.unwrap();
            let fresh = open(&store).await;
            let made = fresh.rotate_data_key().await.unwrap();
            assert_eq!((made.number, made.made), (2, true));
            slow.commit(commit(root)).await
        };
        names_second("commit", result);
        slow.abort().await.unwrap();
        assert!(other.backups().await.unwrap().is_empty());
        let next = backup(&repository, "next", &version(1)).await.unwrap();
        let client = open(&store).await;
        assert_eq!(contents(&client, &next.id).await.unwrap(), version(1));
        // What the first key sealed belongs to nobody.
        client.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(contents(&client, &next.id).await.unwrap(), version(1));
        assert_eq!(damage(&client, true).await, []);
    }
}

/// It was lost before anything was sealed with it, and its number was given again.
#[tokio::test]
async fn who_knows_a_key_that_was_lost_looks_whether_another_one_has_its_number() {
    let store = memory();
    let idle = new_repository(store.clone()).await;
    idle.rotate_data_key().await.unwrap();
    store.delete(SECOND).await.unwrap();
    let other = open(&store).await;
    assert!(other.rotate_data_key().await.unwrap().made);
    let one = backup(&idle, "one", &version(1)).await.unwrap();
    let two = backup(&other, "two", &version(2)).await.unwrap();
    for client in [&idle, &other, &open(&store).await] {
        assert_eq!(contents(client, &one.id).await.unwrap(), version(1));
        assert_eq!(contents(client, &two.id).await.unwrap(), version(2));
        assert_sound(client).await;
    }
}

/// A prune that cuts frames down seals them with the newest key. That one is lost before an epoch has the copies, or another
/// one gets its number.
#[tokio::test]
async fn copies_whose_key_is_lost_get_into_no_epoch() {
    for stored in [true, false] {
        let gate = Gate::new();
        let store = gate.store();
        let repository = new_repository(store.clone()).await;
        let one = backup(&repository, "one", &version(1)).await.unwrap();
        let mixed = items(300, |n| if n % 3 == 0 { 1 } else { 7 });
        let two = backup(&repository, "two", &mixed).await.unwrap();
        repository.rotate_data_key().await.unwrap();
        repository.forget(&[one.id]).await.unwrap();
        let part = if stored { "index/" } else { "packs/" };
        let stop = gate.hold(Op::Put, part, 1);
        let pruning = tokio::spawn({
            let repository = repository.clone();
            async move { repository.prune(&NOW, |_| {}).await }
        });
        stop.reached().await;
        store.delete(SECOND).await.unwrap();
        let client = open(&store).await;
        let made = client.rotate_data_key().await.unwrap();
        assert_eq!((made.number, made.made), (if stored { 3 } else { 2 }, true));
        stop.release();
        names_second("prune", pruning.await.unwrap());
        for _ in 0..2 {
            let client = open(&store).await;
            assert_eq!(contents(&client, &two.id).await.unwrap(), mixed);
            client.prune(&NOW, |_| {}).await.unwrap();
            assert_sound(&client).await;
        }
    }
}

/// Packs that no segment lists are asked which keys they were sealed with: of what they say no more is believed than can be true.
#[tokio::test]
async fn a_pack_that_names_a_key_which_nobody_was_given_takes_no_number_away() {
    let (repository, thief) = with_thief().await;
    let settings = thief.config.unauthenticated();
    let put = async |sequence: u32, data_key: u16| {
        let name = PackName {
            session: SessionId::new(1_700_000_000_000, [1; 10]),
            sequence,
            class: PackClass::Data,
        };
        let frame = FrameEntry {
            offset: pack::HEADER as u32,
            stored: 100,
            data_key,
            ids: vec![ChunkId([7; 16])],
        };
        let index_key = &thief.keys.index;
        let salt = env().salt();
        let (cipher, id) = (settings.cipher, settings.id);
        let trailer = pack::encode_trailer(cipher, id, index_key, salt, &name, &[frame]);
        let bytes = [
            &pack::header(&name)[..],
            &[0; 100],
            trailer.unwrap().as_slice(),
        ]
        .concat();
        let key = layout::pack(&name);
        thief.store.create(&key, bytes.into()).await.unwrap();
    };
    put(0, u16::MAX).await;
    put(1, 3).await;
    assert_eq!(repository.next_data_key().await.unwrap(), 2);
    put(2, 2).await;
    assert_eq!(repository.rotate_data_key().await.unwrap().number, 3);
    assert_eq!(repository.next_data_key().await.unwrap(), 4);
}

/// There may be many of them.
#[tokio::test]
async fn a_rotation_looks_into_several_packs_at_once() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    for n in 0..2 {
        let begin = BeginBackup {
            name: format!("{n}"),
            cluster: cluster(),
        };
        let open = repository.begin_backup(begin).await.unwrap();
        let stop = gate.hold(Op::Put, "index/", 1);
        let root = write(&open, &version(n)).await.unwrap();
        let committing = tokio::spawn({
            let open = open.clone();
            async move { open.commit(commit(root)).await }
        });
        stop.reached().await;
        committing.abort();
    }
    gate.open();
    let packs = gate.store().list("packs/data").await.unwrap();
    let [first, second] = packs.as_slice() else {
        panic!("{packs:?}");
    };
    let stops = [first, second].map(|pack| gate.hold(Op::Get, &pack.key, 1));
    let looking = tokio::spawn({
        let repository = repository.clone();
        async move { repository.next_data_key().await }
    });
    for stop in &stops {
        stop.reached().await;
    }
    stops.iter().for_each(|stop| stop.release());
    assert_eq!(looking.await.unwrap().unwrap(), 2);
}
