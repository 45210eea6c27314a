//! Prune on a full disk: what it needs room for comes out of what it has freed before.

use ark_engine::{Error, PruneOptions, PruneReport, Repository, SessionId};

use crate::gate::Gate;
use crate::roundtrip::{Items, assert_sound, backup, contents, new_repository};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
/// Items that do not compress.
fn noise(count: usize) -> Items {
    (0..count)
        .map(|i| {
            let mut bytes = vec![0; 16 << 10];
            let mut hasher = blake3::Hasher::new();
            hasher.update(&i.to_le_bytes());
            hasher.finalize_xof().fill(&mut bytes);
            let key = format!("group\0things\0ns{:03}/item-{i:06}", i / 100);
            (key.into_bytes(), bytes)
        })
        .collect()
}

/// One in ten of `count` chunks, spread over all packs, is needed by nothing but a backup that was forgotten.
async fn spread(gate: &Gate, count: usize) -> (Repository, SessionId, Items) {
    let repository = new_repository(gate.disk()).await;
    let all = noise(count);
    let gone = backup(&repository, "gone", &all).await.unwrap();
    let numbered = all.into_iter().enumerate();
    let kept: Items = numbered
        .filter(|(number, _)| number % 10 != 0)
        .map(|(_, item)| item)
        .collect();
    let id = backup(&repository, "kept", &kept).await.unwrap().id;
    repository.forget(&[gone.id]).await.unwrap();
    (repository, id, kept)
}

async fn prune(repository: &Repository) -> Result<PruneReport, Error> {
    repository.prune(&NOW, |_| {}).await
}

#[tokio::test]
async fn what_is_rewritten_fits_into_what_was_freed() {
    let gate = Gate::new();
    let (repository, _, _) = spread(&gate, 2560).await;
    let plenty = prune(&repository).await.unwrap();
    assert_eq!(plenty.left_for_room_bytes, 0);

    // Not enough for its pin, and enough to begin with rewriting.
    for rest in [10, 3 << 20] {
        let gate = Gate::new();
        let (repository, id, kept) = spread(&gate, 2560).await;
        gate.fill_up(rest);
        let mut tries = 0;
        let report = repository.prune(&NOW, |_| tries += 1).await.unwrap();
        let free = gate.empty();
        assert!(report.epochs > plenty.epochs, "{report:#?}");
        // The first one in the room that was lent gets it done.
        assert_eq!(tries, if rest == 10 { 1 } else { 2 });
        let all_but_a_little = plenty.bytes_after + plenty.bytes_before / 50;
        assert!(
            report.bytes_after <= all_but_a_little,
            "{report:#?}\n{plenty:#?}"
        );
        let freed = plenty.bytes_before - plenty.bytes_after;
        assert!(free > freed / 2, "{free}");
        assert_eq!(report.left_for_room_bytes, 0);
        // How frames are spread over packs is random.
        assert!(report.packs_before.abs_diff(plenty.packs_before) < 4);
        assert_eq!(report.backups_removed, ["gone"]);
        assert_eq!(contents(&repository, &id).await.unwrap(), kept);
        assert_sound(&repository).await;
    }
}

/// The small chunks are garbage: by their number nearly all of each pack is, by their bytes hardly anything.
#[tokio::test]
async fn copies_that_are_larger_than_they_seemed_do_not_fill_the_disk() {
    let gate = Gate::new();
    let repository = new_repository(gate.disk()).await;
    let mut all = noise(1280);
    for (number, value) in all.values_mut().enumerate() {
        if number % 8 != 0 {
            value.truncate(300);
        } else {
            let more = value.iter().rev().map(|byte| byte ^ 0x5a);
            let more: Vec<u8> = more.collect();
            value.extend(more.repeat(3));
        }
    }
    let gone = backup(&repository, "gone", &all).await.unwrap();
    let kept: Items = all.into_iter().step_by(8).collect();
    let id = backup(&repository, "kept", &kept).await.unwrap().id;
    repository.forget(&[gone.id]).await.unwrap();
    gate.fill_up(10);
    let report = prune(&repository).await.unwrap();
    assert!(report.packs_repacked > 3, "{report:#?}");
    assert_eq!(report.left_for_room_bytes, 0);
    assert_eq!(contents(&repository, &id).await.unwrap(), kept);
    assert_sound(&repository).await;
}

/// Old packs would stay beside their copies as long as somebody may read them.
#[tokio::test]
async fn nothing_is_rewritten_on_a_full_disk_for_who_reads() {
    let gate = Gate::new();
    let (repository, id, kept) = spread(&gate, 640).await;
    let reader = repository.reader().await.unwrap();
    gate.fill_up(10);
    let report = prune(&repository).await.unwrap();
    assert_eq!(report.packs_repacked, 0);
    assert_eq!(report.left_for_room_bytes, 0);
    assert_eq!(report.waiting_for.len(), 1, "{report:#?}");
    assert!(report.held_back_bytes > 500_000, "{report:#?}");
    reader.close().await;
    let report = prune(&repository).await.unwrap();
    assert!(report.packs_repacked > 0, "{report:#?}");
    assert_eq!(contents(&repository, &id).await.unwrap(), kept);
    assert_sound(&repository).await;
}

/// Rewriting any pack takes more room than there is, and nothing else is to be freed.
#[tokio::test]
async fn what_cannot_be_rewritten_stays_and_is_told() {
    let gate = Gate::new();
    let (repository, id, kept) = spread(&gate, 640).await;
    // Something else has taken what an earlier prune was lent.
    repository.store().delete("reserve").await.unwrap();
    gate.fill_up(300_000);
    let report = prune(&repository).await.unwrap();
    assert!(report.left_for_room_bytes > 0, "{report:#?}");
    assert_eq!(report.backups_removed, ["gone"]);
    assert_eq!(contents(&repository, &id).await.unwrap(), kept);
    assert_sound(&repository).await;

    gate.empty();
    let report = prune(&repository).await.unwrap();
    assert!(report.packs_repacked > 0, "{report:#?}");
    assert_eq!(report.left_for_room_bytes, 0);
    assert_eq!(contents(&repository, &id).await.unwrap(), kept);
    assert_sound(&repository).await;
}
