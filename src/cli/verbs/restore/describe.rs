//! `ark restore describe`

use kube::ResourceExt;
use serde_json::Value;

use super::line::Line;
use super::{document, find, restore_name, restores};
use crate::api::{DownloadKind, DownloadTarget, Restore};
use crate::cli::args::global::Output;
use crate::cli::args::restore::RestoreDescribeArgs;
use crate::cli::catalog::selector_text;
use crate::cli::context::Context;
use crate::cli::download::fetch;
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::served::Served;
use crate::cli::time::table_time;
use crate::cli::verbs::backup::pairs;
use crate::server::reading::Head;

/// A restore and what is known of it.
struct Described {
    restore: Restore,
    backup: String,
    id: String,
    /// What became of its objects; only the repository knows.
    report: Value,
    /// The Restore.
    value: Value,
}

pub async fn run(args: RestoreDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let described = match context.is_direct() {
        true => interrupt.unless(direct(&args, context)).await??,
        false => interrupt.unless(served(&args, context)).await??,
    };
    if matches!(context.printer.format(), Output::Table | Output::Wide) {
        let texts: Vec<String> = described
            .into_iter()
            .map(|one| text(one, args.details, context))
            .collect();
        context.printer.text(&texts.join("\n\n"))?;
        return Ok(Exit::Ok);
    }
    let names: Vec<String> = described
        .iter()
        .map(|one| restore_name(&one.restore.name_any()))
        .collect();
    let items: Vec<Value> = described
        .into_iter()
        .map(|one| {
            let mut value = one.value;
            if let (Value::Object(map), false) = (&mut value, one.report.is_null()) {
                map.insert("report".to_owned(), one.report);
            }
            value
        })
        .collect();
    context.printer.list(Listing {
        table: Table::default(),
        names,
        single: items.len() == 1,
        items,
    })?;
    Ok(Exit::Ok)
}

async fn direct(args: &RestoreDescribeArgs, context: &Context) -> Result<Vec<Described>> {
    let repository = context.open().await?;
    let all = restores(&repository).await?;
    let mut described = Vec::new();
    for name in &args.names {
        let id = find(&all, name)?.id.clone();
        let record = repository
            .restore_record(&id)
            .await
            .doing(format!("cannot read the restore {name}"))?;
        let mut restore = document(&record.name, &record.document)?;
        restore.metadata.name = Some(record.name);
        described.push(Described {
            restore,
            backup: record.backup,
            id,
            report: serde_json::from_slice(&record.report).unwrap_or(Value::Null),
            value: serde_json::from_slice(&record.document).unwrap_or(Value::Null),
        });
    }
    Ok(described)
}

async fn served(args: &RestoreDescribeArgs, context: &Context) -> Result<Vec<Described>> {
    let served = context.serve().await?;
    let mut described = Vec::new();
    for name in &args.names {
        let found = served.get::<Restore>(name).await?;
        let line = Line::of_object(&found);
        let mut one = Described {
            restore: found.object,
            backup: line.backup,
            id: String::new(),
            report: Value::Null,
            value: found.value,
        };
        if args.details {
            one.look_up(&served, context).await?;
        }
        described.push(one);
    }
    Ok(described)
}

impl Described {
    /// Adds what only the repository knows.
    async fn look_up(&mut self, served: &Served, context: &Context) -> Result<()> {
        let name = self.restore.name_any();
        let target = DownloadTarget::new(DownloadKind::RestoreResults, &name);
        let mut pieces = fetch(served, target, &context.env).await?;
        while let Some(piece) = pieces.next().await? {
            if let Head::Restore(outcome) = piece.head {
                self.id = outcome.id;
                self.report = serde_json::from_slice(&piece.body).unwrap_or(Value::Null);
            }
        }
        Ok(())
    }
}

fn text(one: Described, details: bool, context: &Context) -> String {
    let restore = one.restore;
    let name = restore.name_any();
    let status = restore.status.unwrap_or_default();
    let spec = &restore.spec;
    let time = |at: Option<crate::api::Time>| {
        at.map(|at| table_time(at.0, &context.zone))
            .unwrap_or_default()
    };
    let list = |names: &[String], empty: &str| match names {
        [] => empty.to_owned(),
        names => names.join(", "),
    };
    let mut out = Description::default();
    out.field("Name", name);
    if !one.id.is_empty() {
        out.field("ID", one.id);
    }
    out.field("Namespace", restore.metadata.namespace.unwrap_or_default())
        .field("Labels", pairs(restore.metadata.labels.as_ref()))
        .field("Backup", one.backup);
    if let Some(schedule) = &spec.schedule_name {
        out.field("Schedule", schedule.clone());
    }
    out.field("Status", status.phase.to_string())
        .field("Included namespaces", list(&spec.included_namespaces, "*"))
        .field("Excluded namespaces", list(&spec.excluded_namespaces, ""))
        .field("Namespace mappings", pairs(Some(&spec.namespace_mapping)))
        .field("Included resources", list(&spec.included_resources, "*"))
        .field("Excluded resources", list(&spec.excluded_resources, ""))
        .field(
            "Cluster-scoped",
            match spec.include_cluster_resources {
                None => "auto",
                Some(true) => "included",
                Some(false) => "excluded",
            },
        )
        .field(
            "Selector",
            selector_text(spec.label_selector.as_ref(), &spec.or_label_selectors),
        )
        .field(
            "Existing objects",
            format!("{:?}", spec.existing_resource_policy.unwrap_or_default()).to_lowercase(),
        )
        .field("Started", time(status.start_timestamp))
        .field("Finished", time(status.completion_timestamp))
        .field("Warnings", status.warnings.to_string())
        .field("Errors", status.errors.to_string())
        .field("Failure", status.failure_reason.unwrap_or_default());
    if let Some(hooks) = status.hook_status {
        let (run, failed) = (hooks.hooks_attempted, hooks.hooks_failed);
        out.field("Hooks", format!("{run} run, {failed} failed"));
    }
    if !status.validation_errors.is_empty() {
        out.field("Refused", status.validation_errors.join("\n"));
    }
    let mut text = out.render();
    text.push_str(&resources(&one.report));
    text.push_str(&problems(&one.report, details));
    text
}

const COLUMNS: [&str; 5] = ["created", "updated", "unchanged", "skipped", "failed"];

fn resources(report: &Value) -> String {
    let Some(resources) = report["resources"]
        .as_object()
        .filter(|map| !map.is_empty())
    else {
        return String::new();
    };
    let mut table = Table::new(&[
        "RESOURCE",
        "CREATED",
        "UPDATED",
        "UNCHANGED",
        "SKIPPED",
        "FAILED",
    ]);
    for (resource, counts) in resources {
        let mut row = vec![resource.clone()];
        row.extend(
            COLUMNS
                .iter()
                .map(|column| counts[*column].as_u64().unwrap_or(0).to_string()),
        );
        table.row(row);
    }
    format!("\n{}", table.render(false))
}

/// How many problems a text shows without `--details`.
const SHOWN: usize = 20;

fn problems(report: &Value, details: bool) -> String {
    let Some(problems) = report["problems"]
        .as_array()
        .filter(|list| !list.is_empty())
    else {
        return String::new();
    };
    let shown = if details { problems.len() } else { SHOWN };
    let mut table = Table::new(&["SEVERITY", "OBJECT", "REASON"]);
    for problem in problems.iter().take(shown) {
        let cell = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
        table.row(vec![cell("severity"), cell("subject"), cell("reason")]);
    }
    let mut text = format!("\n{}", table.render(false));
    if problems.len() > shown {
        text.push_str(&format!(
            "and {} more (--details shows all)\n",
            problems.len() - shown
        ));
    }
    text
}
