//! `ark restore create`
//!
//! A restore is put on record when it begins and again when it ends. One that is on record as begun and not as ended was
//! interrupted: asking for it again, by the same name, goes on where it stopped. Where the repository cannot be written
//! (a read-only replica), the restore works just the same and is not on record.
//! Through the server the verb makes a Restore object; [`served`] is that.

mod served;

use std::sync::Mutex;

use ark_engine::store::StoreError;
use ark_engine::{BackupRow, MapReader, Reader, Repository};
use serde_json::{Value, json};

use super::{document, restore_name};
use crate::api::{Restore, RestorePhase, RestoreStatus, Time};
use crate::cli::args::restore::RestoreCreateArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::cli::progress::{Progress, Talk};
use crate::cli::select::Rows;
use crate::cli::size::grouped;
use crate::cli::spec;
use crate::cli::time::name_stamp;
use crate::cli::verbs::store_requests;
use crate::restore::{
    self, BackupSource, Key, Monitor, Options, Outcome, Plan, RestoreReport, Severity, Wave,
    document as kept,
};

pub async fn run(args: RestoreCreateArgs, context: &mut Context) -> Result<Exit> {
    let (backup, name) = names(&args, context)?;
    let namespace = context.settings.kube.namespace.clone();
    let mut wanted = spec::restore_object(&args, &namespace, &name, &backup)?;
    if !context.is_direct() {
        if args.no_hooks {
            return Err(Error::only_direct("--no-hooks"));
        }
        return served::run(args, wanted, context).await;
    }
    if args.served.from_schedule.is_some() {
        return Err(Error::only_served("--from-schedule"));
    }
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    let (row, resume) = interrupt
        .unless(async {
            let rows = repository
                .backups()
                .await
                .doing("cannot list the backups")?;
            let rows = Rows::new(rows, args.cluster.cluster.as_deref())?;
            let row = rows.find(&backup)?.clone();
            let resume = !args.dry_run && is_interrupted(&repository, &name, &row).await?;
            Ok::<_, Error>((row, resume))
        })
        .await??;
    // The user may have named it by id.
    wanted.spec.backup_name = row.name.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    if row.cluster.id != cluster.id() {
        context.talk.note(&format!(
            "{} is a backup of the cluster {}; restoring into {}",
            row.name,
            crate::cli::select::label(&row),
            cluster.server()
        ));
    }
    if resume {
        context
            .talk
            .note(&format!("going on with the interrupted restore {name}"));
    }
    let (reader, map) = interrupt.unless(open(&repository, &row)).await??;
    let source = BackupSource::new(reader.clone(), map);
    let options = Options {
        resume,
        hooks: !args.no_hooks,
        ..Options::default()
    };
    let result = match args.dry_run {
        true => {
            let watch = Watch::new(&context.talk, &name);
            let answer = interrupt
                .unless(restore::dry_run(
                    &cluster, &source, &wanted, &options, &watch,
                ))
                .await;
            drop(watch);
            match answer {
                Ok(Ok(answer)) => print_dry_run(&wanted, &answer, context),
                Ok(Err(error)) => Err(error.into()),
                Err(interrupted) => Err(interrupted.into()),
            }
        }
        false => real(&cluster, &source, &repository, wanted, &options, context).await,
    };
    drop(source);
    // Ends the pin, however the restore ended.
    reader.close().await;
    result
}

/// The backup and the restore's name. A lone name is the backup's, as in Ark.
fn names(args: &RestoreCreateArgs, context: &Context) -> Result<(String, String)> {
    let generated = |backup: &str| format!("{backup}-{}", name_stamp(context.now(), &context.zone));
    if let Some(schedule) = &args.served.from_schedule {
        let name = args.name.clone().unwrap_or_else(|| generated(schedule));
        return Ok((String::new(), name));
    }
    match (&args.name, &args.from_backup) {
        (Some(name), Some(backup)) => Ok((backup.clone(), name.clone())),
        (Some(backup), None) | (None, Some(backup)) => Ok((backup.clone(), generated(backup))),
        (None, None) => Err(Error::Usage {
            what: "no backup is named".to_owned(),
            hint: None,
        }),
    }
}

/// Whether a restore of that name was begun and did not end.
async fn is_interrupted(repository: &Repository, name: &str, row: &BackupRow) -> Result<bool> {
    let all = super::restores(repository).await?;
    let Some(before) = all.iter().find(|restore| restore.name == name) else {
        return Ok(false);
    };
    let phase = document(name, &before.document)?
        .status
        .unwrap_or_default()
        .phase;
    let hint = Some("choose another name; `ark restore get` lists the restores".to_owned());
    if phase != RestorePhase::InProgress {
        return Err(Error::Usage {
            what: format!("a restore named {name} exists already ({phase})"),
            hint,
        });
    }
    if before.backup != row.name {
        return Err(Error::Usage {
            what: format!(
                "a restore named {name} was begun from the backup {}",
                before.backup
            ),
            hint,
        });
    }
    Ok(true)
}

async fn open(repository: &Repository, row: &BackupRow) -> Result<(Reader, MapReader)> {
    let reader = repository
        .reader()
        .await
        .doing("cannot read the repository")?;
    match row.dataset("objects") {
        Some(root) => {
            let map = reader.map(root);
            Ok((reader, map))
        }
        None => {
            reader.close().await;
            Err(Error::NoObjects {
                backup: row.name.clone(),
            })
        }
    }
}

fn print_dry_run(
    wanted: &Restore,
    answer: &restore::DryRun,
    context: &mut Context,
) -> Result<Exit> {
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let value = json!({ "restore": wanted, "dryRun": answer });
    context.printer.one(&value, &restore_name(&name), || {
        format!("{}\nnothing was changed\n", safe_text(&answer.to_string()))
    })?;
    Ok(Exit::Ok)
}

async fn real(
    cluster: &crate::cluster::Cluster,
    source: &BackupSource,
    repository: &Repository,
    mut wanted: Restore,
    options: &Options,
    context: &mut Context,
) -> Result<Exit> {
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let started = context.now();
    wanted.metadata.creation_timestamp = Some(Time(started));
    wanted.status = Some(RestoreStatus {
        phase: RestorePhase::InProgress,
        start_timestamp: Some(Time(started)),
        ..RestoreStatus::default()
    });
    record(repository, &wanted, None, String::new(), &context.talk).await?;
    let watch = Watch::new(&context.talk, &name);
    let interrupt = context.interrupt.clone();
    let ran = interrupt
        .unless(restore::restore(cluster, source, &wanted, options, &watch))
        .await;
    drop(watch);
    let report = match ran {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            let error = Error::from(error);
            let status = wanted.status.get_or_insert_default();
            status.phase = RestorePhase::Failed;
            status.failure_reason = Some(error.chain());
            status.completion_timestamp = Some(Time(context.now()));
            let log = format!("error   {}\n", error.chain());
            record(repository, &wanted, None, log, &context.talk).await?;
            return Err(error);
        }
        Err(interrupted) => {
            context.talk.note(&format!(
                "what is restored stays; `ark restore create {name} --from-backup {}` goes on",
                wanted.spec.backup_name
            ));
            return Err(interrupted.into());
        }
    };
    let finished = context.now();
    wanted.status = Some(kept::status(&report, started, finished));
    record(
        repository,
        &wanted,
        Some(&report),
        kept::log(&report),
        &context.talk,
    )
    .await?;
    tell(&report, &name, &context.talk);
    let seconds = finished.duration_since(started).as_secs_f64();
    let mut value = json!(wanted);
    if let Value::Object(map) = &mut value {
        map.insert("report".to_owned(), json!(report));
        let store = repository.store().counters();
        let run = json!({ "seconds": seconds, "storeRequests": store_requests(&store) });
        map.insert("run".to_owned(), run);
    }
    context.printer.one(&value, &restore_name(&name), || {
        text(&name, &report, seconds)
    })?;
    Ok(exit(report.phase()))
}

/// The exit code of a restore that ended so.
fn exit(phase: RestorePhase) -> Exit {
    match phase {
        RestorePhase::Completed => Exit::Ok,
        RestorePhase::PartiallyFailed => Exit::PartiallyFailed,
        RestorePhase::FailedValidation => Exit::Usage,
        _ => Exit::Failure,
    }
}

async fn record(
    repository: &Repository,
    restore: &Restore,
    report: Option<&RestoreReport>,
    log: String,
    talk: &Talk,
) -> Result<()> {
    let name = restore.metadata.name.clone().unwrap_or_default();
    let record = kept::record(restore, report, log).map_err(|source| Error::Document {
        of: format!("the restore {name}"),
        source,
    })?;
    match repository.record_restore(&record).await {
        Ok(_) => Ok(()),
        Err(ark_engine::Error::Store(StoreError::PermissionDenied { .. })) => {
            talk.note("the repository cannot be written, so this restore is not put on record");
            Ok(())
        }
        Err(source) => Err(Error::Engine {
            doing: format!("cannot put the restore {name} on record"),
            source,
        }),
    }
}

/// How many problems are told as lines on stderr.
const TOLD: usize = 20;

fn tell(report: &RestoreReport, name: &str, talk: &Talk) {
    for problem in report.problems.iter().take(TOLD) {
        let line = safe_text(&problem.to_string());
        match problem.severity {
            Severity::Error => talk.line(&format!("ark: {line}")),
            Severity::Warning => talk.note(&line),
        }
    }
    let more = (report.warnings + report.errors).saturating_sub(TOLD as u64);
    if more > 0 {
        talk.note(&format!(
            "and {} more: `ark restore describe {name} --details`",
            grouped(more)
        ));
    }
}

fn text(name: &str, report: &RestoreReport, seconds: f64) -> String {
    format!(
        "{} {}: {} in {seconds:.1}s, {} warnings, {} errors\n",
        restore_name(name),
        report.phase(),
        report.counts.words(grouped),
        report.warnings,
        report.errors,
    )
}

/// Shows a restore on stderr.
struct Watch {
    talk: Talk,
    progress: Progress,
    name: String,
    state: Mutex<(u64, u64, String)>,
}

impl Watch {
    fn new(talk: &Talk, name: &str) -> Watch {
        Watch {
            talk: talk.clone(),
            progress: talk.progress(format!("{name}: planning")),
            name: name.to_owned(),
            state: Mutex::default(),
        }
    }

    fn show(&self, change: impl FnOnce(&mut (u64, u64, String))) {
        if !self.talk.draws() {
            return;
        }
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        change(&mut state);
        let (done, total, wave) = &*state;
        self.progress.set(format!(
            "{}: {} of {} objects, now {wave}",
            self.name,
            grouped(*done),
            grouped(*total)
        ));
    }
}

impl Monitor for Watch {
    fn planned(&self, plan: &Plan) {
        self.show(|(_, total, _)| *total = plan.objects());
    }

    fn wave(&self, wave: Wave) {
        self.show(|(_, _, now)| *now = wave.to_string());
    }

    fn object(&self, _key: &Key, _outcome: &Outcome) {
        self.show(|(done, _, _)| *done += 1);
    }
}
