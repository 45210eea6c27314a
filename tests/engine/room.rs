//! Prune on a full disk: what it needs room for comes out of what it has freed before.

use ark_engine::{Error, PruneOptions, PruneReport, Repository, SessionId};

use crate::gate::Gate;
use crate::roundtrip::{Items, assert_sound, backup, contents, new_repository};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
/// What a prune may find free on a disk that is called full: not enough for its pin.
const REST: u64 = 10;

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

    let gate = Gate::new();
    let (repository, id, kept) = spread(&gate, 2560).await;
    gate.fill_up(REST);
    let report = prune(&repository).await.unwrap();
    let free = gate.empty();
    assert!(report.epochs > plenty.epochs, "{report:#?}");
    let all_but_a_little = plenty.bytes_after + plenty.bytes_before / 50;
    assert!(
        report.bytes_after <= all_but_a_little,
        "{report:#?}\n{plenty:#?}"
    );
    assert!(
        free > (plenty.bytes_before - plenty.bytes_after) / 2,
        "{free}"
    );
    assert_eq!(report.left_for_room_bytes, 0);
    assert_eq!(report.packs_before, plenty.packs_before);
    assert_eq!(report.backups_removed, ["gone"]);
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
