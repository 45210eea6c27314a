//! `ark backup create`
//!
//! Hooks that pods ask for by annotations are run from here. Ctrl-C drops the capture or the commit, runs the post hooks of pods whose
//! turn had come, and aborts the session, so that the next prune reclaims what was written. An
//! interrupt that comes while the commit is on its way may come too late: then the backup exists, and that is said.
//! Through the server the verb makes a Backup object; [`served`] is that.

mod served;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ark_engine::{BeginBackup, ClusterRef, Committed, WriteSession};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::{Backup, BackupPhase, Time};
use crate::capture::{self, CaptureReport, Level, LogLine, Monitor, Plan, document, hooked};
use crate::cli::args::backup::BackupCreateArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::Table;
use crate::cli::progress::{Progress, Talk};
use crate::cli::size::{grouped, human_size};
use crate::cli::spec;
use crate::cli::verbs::store_requests;
use crate::cluster::Cluster;
use crate::hooks;

pub async fn run(args: BackupCreateArgs, context: &mut Context) -> Result<Exit> {
    // What would be captured is read from here, whoever would capture it.
    let here = context.is_direct() || (args.dry_run && args.served.from_schedule.is_none());
    if !here && args.no_hooks {
        return Err(Error::only_direct("--no-hooks"));
    }
    if !here {
        return served::run(args, context).await;
    }
    for (flag, given) in [
        ("--storage-location", args.served.storage_location.is_some()),
        ("--from-schedule", args.served.from_schedule.is_some()),
    ] {
        if given && context.is_direct() {
            return Err(Error::only_served(flag));
        }
    }
    let namespace = context.settings.kube.namespace.clone();
    let mut backup = spec::backup_object(&args, &namespace, None, context.now())?;
    let name = backup.name_any();
    if args.dry_run {
        return dry_run(&backup, args.no_hooks, context).await;
    }
    let interrupt = context.interrupt.clone();
    let (cluster, repository, plan) = interrupt
        .unless(async {
            // The repository first: its passphrase may be asked for.
            let repository = context.open().await?;
            let cluster = context.connect().await?;
            let plan = prepare(&cluster, &backup).await?;
            Ok::<_, Error>((cluster, repository, plan))
        })
        .await??;
    let started = context.now();
    let session = interrupt
        .unless(repository.begin_backup(BeginBackup {
            name: name.clone(),
            cluster: ClusterRef {
                id: cluster.id().to_owned(),
                name: cluster.name().to_owned(),
            },
        }))
        .await?
        .doing(format!("cannot begin the backup {}", name))?;
    let watch = Arc::new(Watch::new(&context.talk, &name));
    let plan = Arc::new(plan);
    let monitor = Arc::clone(&watch) as Arc<dyn Monitor>;
    let hooks = interrupt
        .unless(hooks(&cluster, &plan, args.no_hooks))
        .await;
    let hooks = match hooks {
        Ok(Ok(hooks)) => hooked::run(&cluster, hooks, Arc::clone(&monitor)),
        Ok(Err(error)) => return Err(abort(&session, context, error).await),
        Err(interrupted) => return Err(abort(&session, context, interrupted.into()).await),
    };
    // From here on nothing is given up before the post hooks were run.
    let stop = CancellationToken::new();
    let mut pre = std::pin::pin!(hooks.pre(&stop));
    tokio::select! {
        () = &mut pre => {}
        () = interrupt.requested() => {
            stop.cancel();
            pre.await;
        }
    }
    let captured = interrupt
        .unless(capture::capture(&cluster, &plan, &session, monitor))
        .await;
    hooks.post().await;
    let outcome = match captured {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return Err(abort(&session, context, error.into()).await),
        Err(interrupted) => return Err(abort(&session, context, interrupted.into()).await),
    };
    watch.committing();
    let mut report = outcome.report;
    report.add_hooks(&hooks.report());
    backup.metadata.creation_timestamp = Some(Time(started));
    backup.status = Some(document::status(
        &report,
        &backup.spec,
        started,
        context.now(),
    ));
    let commit = match document::commit(&backup, outcome.root, &report) {
        Ok(commit) => commit,
        Err(source) => {
            let of = format!("the backup {}", name);
            return Err(abort(&session, context, Error::Document { of, source }).await);
        }
    };
    let doing = format!("cannot commit the backup {}", name);
    let committed = match interrupt.unless(session.commit(commit)).await {
        Ok(committed) => committed.doing(doing),
        Err(interrupted) => {
            let error = abort(&session, context, interrupted.into()).await;
            if let Ok(manifest) = repository.manifest(&session.id()).await {
                context.talk.note(&format!(
                    "the interrupt came too late: the backup {} exists",
                    manifest.row.name
                ));
            }
            return Err(error);
        }
    };
    let committed = match committed {
        Ok(committed) => committed,
        Err(error) => return Err(abort(&session, context, error).await),
    };
    drop(watch);
    let seconds = context.now().duration_since(started).as_secs_f64();
    let value = result(
        &backup,
        &report,
        &committed,
        &repository.store().counters(),
        seconds,
    );
    let summary = Summary {
        phase: report.phase(),
        items: report.objects,
        bytes: report.bytes,
        added: added(&committed),
        failed: report.failed,
        errors: 0,
        seconds,
    };
    context
        .printer
        .one(&value, &backup_name(&name), || summary.text(&name))?;
    Ok(exit(report.phase()))
}

/// The exit code of a backup that ended so.
fn exit(phase: BackupPhase) -> Exit {
    match phase {
        BackupPhase::Completed => Exit::Ok,
        BackupPhase::PartiallyFailed => Exit::PartiallyFailed,
        BackupPhase::FailedValidation => Exit::Usage,
        _ => Exit::Failure,
    }
}

async fn hooks(cluster: &Cluster, plan: &Plan, none: bool) -> Result<hooks::Plan> {
    match none {
        true => Ok(hooks::Plan::default()),
        false => Ok(hooked::hooks(cluster, plan).await?),
    }
}

async fn prepare(cluster: &Cluster, backup: &Backup) -> Result<Plan> {
    Ok(capture::prepare(cluster, &backup.spec).await?)
}

async fn abort(session: &WriteSession, context: &Context, error: Error) -> Error {
    if let Err(problem) = session.abort().await {
        // The session expires by itself; the first error is the one to tell.
        context.talk.note(&format!(
            "the session could not be closed ({problem}); it expires in 30 minutes"
        ));
    }
    error
}

async fn dry_run(backup: &Backup, no_hooks: bool, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let (plan, hooks, counts) = interrupt
        .unless(async {
            let cluster = context.connect().await?;
            let plan = prepare(&cluster, backup).await?;
            let counts = capture::count(&cluster, &plan).await?;
            let hooks = hooks(&cluster, &plan, no_hooks).await?;
            Ok::<_, Error>((plan, hooks, counts))
        })
        .await??;
    for warning in &plan.warnings {
        context.talk.note(warning);
    }
    let name = backup.metadata.name.clone().unwrap_or_default();
    let mut value = json!({ "backup": backup, "plan": plan, "counts": counts });
    if !hooks.is_empty() {
        value["hooks"] = json!(hooks);
    }
    context.printer.one(&value, &backup_name(&name), || {
        let mut table = Table::new(&["RESOURCE", "VERSION", "OBJECTS"]);
        for count in &counts {
            let objects = match (&count.objects, &count.error) {
                (Some(objects), _) => grouped(*objects),
                (None, Some(error)) => format!("cannot be counted: {error}"),
                (None, None) => "unknown".to_owned(),
            };
            table.row(vec![count.resource.clone(), count.version.clone(), objects]);
        }
        let total: u64 = counts.iter().filter_map(|count| count.objects).sum();
        format!(
            "{plan}{hooks}\n{}\n{} objects; nothing was written\n",
            table.render(false),
            grouped(total)
        )
    })?;
    Ok(Exit::Ok)
}

/// The Backup, and what making it took.
fn result(
    backup: &Backup,
    report: &CaptureReport,
    committed: &Committed,
    store: &ark_engine::store::RequestCounts,
    seconds: f64,
) -> Value {
    let mut value = json!(backup);
    if let Value::Object(map) = &mut value {
        map.insert(
            "repository".to_owned(),
            json!({
                "id": committed.id.to_string(),
                "items": report.objects,
                "failed": report.failed,
                "logicalBytes": report.bytes,
                "addedBytes": added(committed),
                "manifestBytes": committed.manifest_bytes,
                "stats": committed.stats,
            }),
        );
        map.insert(
            "run".to_owned(),
            json!({
                "seconds": seconds,
                "apiRequests": report.requests,
                "storeRequests": store_requests(store),
            }),
        );
    }
    value
}

fn added(committed: &Committed) -> u64 {
    committed.stats.added_bytes() + committed.manifest_bytes
}

/// A backup that has ended, in a line.
struct Summary {
    phase: BackupPhase,
    items: u64,
    bytes: u64,
    added: u64,
    failed: u64,
    errors: u64,
    seconds: f64,
}

impl Summary {
    fn text(&self, name: &str) -> String {
        let missing = match (self.failed, self.errors) {
            (0, 0) => String::new(),
            (0, 1) => ", 1 error".to_owned(),
            (0, n) => format!(", {n} errors"),
            (1, _) => ", 1 resource not completely captured".to_owned(),
            (n, _) => format!(", {n} resources not completely captured"),
        };
        format!(
            "{} {}: {} items, {}{missing}; added {} in {:.1}s\n",
            backup_name(name),
            self.phase,
            grouped(self.items),
            human_size(self.bytes),
            human_size(self.added),
            self.seconds,
        )
    }
}

/// Shows a capture on stderr.
struct Watch {
    talk: Talk,
    progress: Progress,
    name: String,
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Watch {
    fn new(talk: &Talk, name: &str) -> Watch {
        Watch {
            talk: talk.clone(),
            progress: talk.progress(format!("{name}: reading the cluster")),
            name: name.to_owned(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn committing(&self) {
        self.progress
            .set(format!("{}: writing the rest", self.name));
    }
}

impl Monitor for Watch {
    fn objects(&self, resource: &str, objects: u64, bytes: u64) {
        let objects = self.objects.fetch_add(objects, Ordering::Relaxed) + objects;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.talk.draws() {
            self.progress.set(format!(
                "{}: {} objects, {}, now {resource}",
                self.name,
                grouped(objects),
                human_size(bytes)
            ));
        }
    }

    fn line(&self, line: &LogLine) {
        match line.level {
            Level::Info => tracing::info!("{}", line.text),
            Level::Warning => self.talk.note(&format!("warning: {}", line.text)),
            Level::Error => self.talk.line(&format!("ark: error: {}", line.text)),
        }
    }
}
