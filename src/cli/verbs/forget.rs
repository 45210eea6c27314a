//! `ark forget`

use ark_engine::{BackupRow, BackupStatus};

use crate::api::retention::{Candidate, Decision, KeepRules, Outcome, RetentionPlan, decide};
use crate::cli::args::maintenance::ForgetArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::select;
use crate::cli::time::{from_millis, from_seconds, table_time};

pub async fn run(args: ForgetArgs, context: &mut Context) -> Result<Exit> {
    let rules = KeepRules {
        last: args.keep_last,
        hourly: args.keep_hourly,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        yearly: args.keep_yearly,
        within: args.keep_within,
        expired: args.expired,
    };
    let interrupt = context.interrupt.clone();
    let plan = interrupt
        .unless(async {
            let repository = context.open().await?;
            let rows = repository
                .backups()
                .await
                .doing("cannot list the backups")?;
            let cluster = match args.cluster.cluster.as_deref() {
                Some(cluster) => select::cluster_id(&rows, cluster)?,
                None => own_cluster(context).await?,
            };
            // A lost backup is neither kept nor deleted by a rule: it must not stand for one that can be restored.
            let rows: Vec<&BackupRow> = rows
                .iter()
                .filter(|row| row.forgotten.is_none() && !row.lost)
                .collect();
            let candidates: Vec<Candidate> = rows.iter().map(|row| candidate(row)).collect();
            let plan = decide(&rules, &cluster, &candidates, context.now(), &context.zone);
            if !args.dry_run {
                let ids: Vec<_> = rows
                    .iter()
                    .filter(|row| plan.forgotten().any(|one| one.id == row.id.to_string()))
                    .map(|row| row.id)
                    .collect();
                repository
                    .forget(&ids)
                    .await
                    .doing("cannot delete the backups")?;
            }
            Ok::<_, Error>(plan)
        })
        .await??;
    print(&plan, args.dry_run, context)?;
    Ok(Exit::Ok)
}

/// The rules apply to this cluster's backups, so it is asked who it is.
async fn own_cluster(context: &Context) -> Result<String> {
    match context.connect().await {
        Ok(cluster) => Ok(cluster.id().to_owned()),
        Err(Error::Cluster { source, .. }) => Err(Error::Cluster {
            doing: "cannot find out which cluster's backups to judge (--cluster says it too)"
                .to_owned(),
            source,
        }),
        Err(error) => Err(error),
    }
}

fn candidate(row: &BackupRow) -> Candidate {
    Candidate {
        id: row.id.to_string(),
        name: row.name.clone(),
        cluster: row.cluster.id.clone(),
        created: from_millis(row.created),
        expires: row.expires.map(from_seconds),
        outcome: match row.status {
            BackupStatus::Completed => Outcome::Completed,
            BackupStatus::PartiallyFailed => Outcome::PartiallyFailed,
            BackupStatus::Failed => Outcome::Failed,
        },
    }
}

fn print(plan: &RetentionPlan, dry_run: bool, context: &mut Context) -> Result<()> {
    let mut table = Table::new(&["NAME", "STATUS", "CREATED", "DECISION", "KEPT BY"]).wide(&["ID"]);
    for decision in &plan.decisions {
        let Decision { backup, keep } = decision;
        let reasons: Vec<String> = keep.iter().map(ToString::to_string).collect();
        table.row(vec![
            backup.name.clone(),
            format!("{:?}", backup.outcome),
            table_time(backup.created, &context.zone),
            match (decision.kept(), dry_run) {
                (true, _) => "keep",
                (false, true) => "delete",
                (false, false) => "deleted",
            }
            .to_owned(),
            reasons.join(", "),
            backup.id.clone(),
        ]);
    }
    if plan.other_clusters > 0 {
        context.talk.note(&format!(
            "{} backups of other clusters were left alone",
            plan.other_clusters
        ));
    }
    match (plan.forgotten().count(), dry_run) {
        (0, _) => context.talk.note("nothing to delete"),
        (_, true) => context.talk.note("nothing was changed"),
        (_, false) => context
            .talk
            .note("`ark prune` frees the space; until then `ark backup undelete` takes it back"),
    }
    let names = plan
        .forgotten()
        .map(|backup| backup_name(&backup.name))
        .collect();
    let items = plan
        .decisions
        .iter()
        .map(|decision| serde_json::json!(decision))
        .collect();
    context.printer.list(Listing {
        table,
        items,
        names,
        single: false,
    })?;
    Ok(())
}
