//! Steps of `scale.py`: fills a repository with many small chunks, opens it, looks chunks up, prunes it.
//!
//! `scale FOLDER fill CHUNKS GARBAGE [CHUNKS-A-FRAME] | open | lookup COUNT | prune | verify`; prints one JSON object.
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use ark_engine::store::{Store, StoreOptions};
use ark_engine::verify::Unwatched;
use ark_engine::{
    BackupStatus, BeginBackup, ChunkId, ClusterRef, Commit, Counts, Dataset, Env, FrameClass,
    InitOptions, OpenOptions, PruneOptions, Repository, Unlock, VerifyOptions,
};
use serde_json::{Value, json};

const CHUNK: usize = 128;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let began = Instant::now();
    let result = match args.as_slice() {
        [folder, "fill", chunks, garbage] => {
            fill(folder.as_ref(), chunks.parse()?, garbage.parse()?, None).await
        }
        [folder, "fill", chunks, garbage, frame] => {
            let frame = Some(frame.parse()?);
            fill(folder.as_ref(), chunks.parse()?, garbage.parse()?, frame).await
        }
        [folder, "open"] => open_only(folder.as_ref()).await,
        [folder, "lookup", count] => lookup(folder.as_ref(), count.parse()?).await,
        [folder, "prune"] => prune(folder.as_ref()).await,
        [folder, "verify"] => verify(folder.as_ref()).await,
        _ => bail!(
            "scale FOLDER fill CHUNKS GARBAGE [CHUNKS-A-FRAME] | open | lookup COUNT | prune | verify"
        ),
    };
    let mut result = result?;
    result["seconds"] = json!(began.elapsed().as_secs_f64());
    println!("{result}");
    Ok(())
}

fn store(folder: &Path) -> anyhow::Result<Store> {
    let url = format!("file://{}/repository", folder.display());
    Ok(Store::open(&url, &StoreOptions::default())?)
}

async fn open(folder: &Path) -> anyhow::Result<Repository> {
    let options = OpenOptions {
        cache_dir: Some(folder.join("cache")),
        ..OpenOptions::default()
    };
    let unlock = Unlock::from_key_file(&[7; 32])?;
    Ok(Repository::open(store(folder)?, Env::system(2)?, &unlock, options).await?)
}

/// Anonymous memory of this process now, KiB.
fn anonymous() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that do not compress, a function of the number alone.
fn content(number: u64) -> [u8; CHUNK] {
    let mut bytes = [0; CHUNK];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

async fn fill(
    folder: &Path,
    chunks: u64,
    garbage: f64,
    frame: Option<u64>,
) -> anyhow::Result<Value> {
    std::fs::create_dir_all(folder.join("repository"))?;
    let unlock = Unlock::from_key_file(&[7; 32])?;
    Repository::init(store(folder)?, Env::system(2)?, InitOptions { unlock }).await?;
    let all = write(&open(folder).await?, "all", chunks, 0.0, frame).await?;
    let kept = write(&open(folder).await?, "kept", chunks, garbage, frame).await?;
    let repository = open(folder).await?;
    let backups = repository.backups().await?;
    let all_id = backups
        .iter()
        .find(|b| b.row.name == "all")
        .context("no backup")?;
    repository.forget(&[all_id.row.id]).await?;
    Ok(json!({"all": all, "kept": kept}))
}

/// A backup of all chunks but a share of them, picked by hash; `frame` of them share a frame, or as many as fit.
async fn write(
    repository: &Repository,
    name: &str,
    chunks: u64,
    without_percent: f64,
    frame: Option<u64>,
) -> anyhow::Result<Value> {
    let began = Instant::now();
    let cluster = ClusterRef {
        id: "scale".into(),
        name: "scale".into(),
    };
    let session = repository
        .begin_backup(BeginBackup {
            name: name.into(),
            cluster,
        })
        .await?;
    // Of this class a writer's frames have nothing of another's.
    let class = frame.map_or(FrameClass::Files, |_| FrameClass::Secrets);
    let mut writer = session.chunks(class);
    let mut map = session.map(Dataset::Objects);
    let limit = (without_percent / 100.0 * f64::from(u32::MAX)) as u32;
    let mut items = 0;
    for number in 0..chunks {
        let bytes = content(number);
        let dice = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if dice < limit {
            continue;
        }
        let value = writer.put_value(&bytes).await?;
        let key = format!("\0things\0ns{:05}/item-{number:08}", number / 1000);
        map.push(key.as_bytes(), &value).await?;
        items += 1;
        if frame.is_some_and(|frame| items % frame == 0) {
            let full = std::mem::replace(&mut writer, session.chunks(class));
            full.finish().await?;
        }
    }
    writer.finish().await?;
    let root = map.finish().await?;
    let committed = session
        .commit(Commit {
            document: b"{}".to_vec(),
            datasets: root
                .into_iter()
                .map(|r| ("objects".to_owned(), r))
                .collect(),
            counts: Counts {
                items,
                bytes: items * CHUNK as u64,
                failed: 0,
            },
            status: BackupStatus::Completed,
            expires: None,
            log: Vec::new(),
        })
        .await?;
    let stats = committed.stats;
    Ok(json!({
        "seconds": began.elapsed().as_secs_f64(), "items": items, "packs": stats.packs,
        "newChunks": stats.new_chunks, "reusedChunks": stats.reused_chunks,
        "dataBytes": stats.data_bytes, "treeBytes": stats.tree_bytes, "indexBytes": stats.index_bytes,
    }))
}

async fn open_only(folder: &Path) -> anyhow::Result<Value> {
    let before = anonymous()?;
    let began = Instant::now();
    let repository = open(folder).await?;
    let opened = began.elapsed().as_secs_f64();
    let view = repository.view().await?;
    let index = repository.load_index(&view).await?;
    let loaded = began.elapsed().as_secs_f64();
    let after = anonymous()?;
    Ok(json!({
        "openSeconds": opened, "indexSeconds": loaded - opened, "chunks": index.chunks(),
        "segments": index.segments().len(), "anonymousKib": after - before,
        "bytesPerChunk": (after - before) as f64 * 1024.0 / index.chunks().max(1) as f64,
        "requests": json!(repository.store().counters()),
    }))
}

async fn lookup(folder: &Path, count: usize) -> anyhow::Result<Value> {
    let repository = open(folder).await?;
    let view = repository.view().await?;
    let index = repository.load_index(&view).await?;
    let step = (index.chunks() as usize / count).max(1);
    let mut ids: Vec<ChunkId> = Vec::new();
    for loaded in index.segments() {
        for entry in loaded.segment.rows.iter().step_by(step) {
            ids.push(entry?.id);
        }
    }
    // In the order of their content's hash, not of the index.
    ids.sort_by_key(|id| (id.0[15], id.0[14], id.0[13], id.0[12]));
    let began = Instant::now();
    for id in &ids {
        if index.reusable(id)?.is_none() {
            bail!("{id} is not there");
        }
    }
    let present = ids.len() as f64 / began.elapsed().as_secs_f64();
    for id in &mut ids {
        id.0[0] ^= 0x55;
        id.0[7] ^= 0xaa;
    }
    let began = Instant::now();
    let mut found = 0;
    for id in &ids {
        found += usize::from(index.reusable(id)?.is_some());
    }
    let absent = ids.len() as f64 / began.elapsed().as_secs_f64();
    Ok(json!({"presentPerSecond": present, "absentPerSecond": absent, "found": found}))
}

async fn prune(folder: &Path) -> anyhow::Result<Value> {
    let repository = open(folder).await?;
    let options = PruneOptions {
        now: true,
        max_unused: 0.05,
    };
    let report = repository.prune(&options, |_| {}).await?;
    Ok(json!({"report": report}))
}

async fn verify(folder: &Path) -> anyhow::Result<Value> {
    let repository = open(folder).await?;
    let report = repository
        .verify(VerifyOptions::default(), &Unwatched)
        .await?;
    Ok(json!({"damage": report.damage.len(), "backups": report.backups}))
}
