//! What must hold when everybody has gone home, all late requests have arrived, and nothing fails any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_engine::{Error, PruneOptions, Repository, SessionId, VerifyOptions, verify::Unwatched};
use ark_format::layout::{self, Object};

use super::operations::{Worker, chain};
use super::process::Process;
use super::rng::Rng;
use super::run::open;
use super::settings::Kind;
use super::world::World;

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

/// Checks it all; the text says what does not hold.
pub async fn check(world: &World, process: &Arc<Process>, rng: Rng) -> Result<(), String> {
    let under_way = world.network.state().under_way;
    if under_way > 0 {
        return Err(format!("{under_way} requests are still under way"));
    }
    let repository = did("opening", open(process).await)?;
    everything_reads(world, process, &repository, &rng).await?;
    sound(&repository).await?;

    let start = world.network.now_ms() as u64;
    let report = did("a prune", repository.prune(&NOW, |_| {}).await)?;
    if !report.waiting_for.is_empty() || report.held_back_bytes > 0 {
        return Err(format!("the prune waits for {:?}", report.waiting_for));
    }
    no_garbage(world, &repository, start).await?;
    sound(&repository).await?;
    everything_reads(world, process, &repository, &rng).await?;

    // Work goes on.
    let mut worker = Worker {
        world,
        process: Arc::clone(process),
        rng: rng.clone(),
        repository: Some(repository.clone()),
        state_dir: None,
    };
    let refused = world.model().done.refused;
    for kind in [Kind::Backup, Kind::Restore] {
        worker.perform(kind).await;
    }
    drop(worker);
    if world.model().done.refused > refused {
        // Only a name can be taken, and then no backup was begun.
        world
            .network
            .note("end", format_args!("the last backup's name is taken"));
    }

    // And all of it can go.
    let rows = did("listing", repository.backups().await)?;
    let ids: Vec<SessionId> = rows
        .iter()
        .filter(|row| !row.lost)
        .map(|row| row.row.id)
        .collect();
    world.model().forget_begins(&ids);
    did("forgetting", repository.forget(&ids).await)?;
    did("a prune", repository.prune(&NOW, |_| {}).await)?;
    for folder in [layout::PACKS, layout::FORGOTTEN] {
        let left = world.network.snapshot(folder);
        if let Some(key) = left.keys().next() {
            return Err(format!("{key} is left although all backups are forgotten"));
        }
    }
    sound(&repository).await
}

fn did<T>(what: &str, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {}", chain(&error)))
}

/// Every backup that must be there is, and whatever is there is exact.
async fn everything_reads(
    world: &World,
    process: &Arc<Process>,
    repository: &Repository,
    rng: &Rng,
) -> Result<(), String> {
    let held = world.model().held();
    let reader = did("pinning", repository.reader().await)?;
    let rows = reader.backups();
    world.check_rows(&held, &rows);
    let worker = Worker {
        world,
        process: Arc::clone(process),
        rng: rng.clone(),
        repository: Some(repository.clone()),
        state_dir: None,
    };
    let mut names = BTreeSet::new();
    for row in &rows {
        if row.lost {
            return Err(format!("backup {} is lost", row.row.id));
        }
        did(
            &format!("reading {}", row.row.id),
            worker.read(&reader, row).await,
        )?;
        if held.contains_key(&row.row.id) {
            did("its manifest", repository.manifest_of(row).await)?;
            world.model().done.verified += 1;
        }
        // Who takes a forgotten backup back may find its name taken meanwhile.
        let never_forgotten = world.model().attempts[&row.row.id].forgets.0 == 0;
        if never_forgotten && !names.insert(row.row.name.clone()) {
            return Err(format!("there are two backups {}", row.row.name));
        }
    }
    reader.close().await;
    Ok(())
}

async fn sound(repository: &Repository) -> Result<(), String> {
    let options = VerifyOptions { read_data: true };
    let report = did("verify", repository.verify(options, &Unwatched).await)?;
    if !report.is_sound() {
        return Err(format!("verify finds damage: {:?}", report.damage));
    }
    if !report.foreign.is_empty() {
        return Err(format!("foreign objects: {:?}", report.foreign));
    }
    Ok(())
}

/// After one prune, everything in the bucket has a reason.
async fn no_garbage(world: &World, repository: &Repository, start: u64) -> Result<(), String> {
    let view = did("looking", repository.view().await)?;
    let index = did("looking", repository.load_index(&view).await)?;
    let head = did("looking", repository.head().await)?;
    let plan = did("planning", repository.plan_prune(&NOW).await)?;
    if plan.changes() {
        return Err(format!("a prune left work to do:\n{plan}"));
    }
    let packs = index.packs();
    // At or above the watermark a fence is needed, and a pin needs its fence; a prune's own are there until the next one.
    let ended = |epoch: u64, id: &SessionId| epoch < head.body.watermark && id.unix_ms() < start;
    let mut claims = Vec::new();
    for key in world.network.snapshot("").into_keys() {
        let Some(object) = layout::parse(&key) else {
            return Err(format!("{key} is no object of a repository"));
        };
        let wanted = match object {
            Object::Pack(name) => packs.contains_key(&name),
            Object::Segment(id, number) => view
                .segments
                .iter()
                .any(|s| s.session == id && s.number == number),
            Object::EpochBody(number) => number == head.stub.number,
            Object::Session(epoch, id) | Object::Heartbeat(epoch, id, _) => !ended(epoch, &id),
            Object::Manifest(epoch, id) => view.backup(&id).is_some() || !ended(epoch, &id),
            Object::Tombstone(id, _) | Object::Undo(id, _) => view.backup(&id).is_some(),
            Object::Claim(..) => {
                claims.push(key.clone());
                true
            }
            _ => true,
        };
        if !wanted {
            return Err(format!("a prune left {key}"));
        }
    }
    if claims.len() > view.backups.len() + 1 {
        // One claim a backup; a name that was freed and taken again may have an old one too.
        world
            .network
            .note("end", format_args!("{} claims", claims.len()));
    }
    Ok(())
}
