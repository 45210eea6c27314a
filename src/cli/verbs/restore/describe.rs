//! `ark restore describe`

use ark_engine::RestoreRecord;
use serde_json::Value;

use super::{document, find, restore_name, restores};
use crate::cli::args::global::Output;
use crate::cli::args::restore::RestoreDescribeArgs;
use crate::cli::catalog::selector_text;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::time::table_time;
use crate::cli::verbs::backup::pairs;

pub async fn run(args: RestoreDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let records = interrupt
        .unless(async {
            let repository = context.open().await?;
            let all = restores(&repository).await?;
            let mut records = Vec::new();
            for name in &args.names {
                let id = find(&all, name)?.id.clone();
                let record = repository
                    .restore_record(&id)
                    .await
                    .doing(format!("cannot read the restore {name}"))?;
                records.push((id, record));
            }
            Ok::<_, Error>(records)
        })
        .await??;
    if matches!(context.printer.format(), Output::Table | Output::Wide) {
        let texts = records
            .iter()
            .map(|(id, record)| text(id, record, args.details, context))
            .collect::<Result<Vec<_>>>()?;
        context.printer.text(&texts.join("\n\n"))?;
        return Ok(Exit::Ok);
    }
    let mut items = Vec::new();
    for (_, record) in &records {
        let mut value: Value = serde_json::from_slice(&record.document).unwrap_or(Value::Null);
        if let (Value::Object(map), Ok(report)) =
            (&mut value, serde_json::from_slice(&record.report))
        {
            map.insert("report".to_owned(), report);
        }
        items.push(value);
    }
    context.printer.list(Listing {
        table: Table::default(),
        names: records
            .iter()
            .map(|(_, record)| restore_name(&record.name))
            .collect(),
        single: items.len() == 1,
        items,
    })?;
    Ok(Exit::Ok)
}

fn text(id: &str, record: &RestoreRecord, details: bool, context: &Context) -> Result<String> {
    let restore = document(&record.name, &record.document)?;
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
    out.field("Name", record.name.clone())
        .field("ID", id)
        .field("Namespace", restore.metadata.namespace.unwrap_or_default())
        .field("Labels", pairs(restore.metadata.labels.as_ref()))
        .field("Backup", record.backup.clone())
        .field("Status", status.phase.to_string())
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
    let mut text = out.render();
    let report: Value = serde_json::from_slice(&record.report).unwrap_or(Value::Null);
    text.push_str(&resources(&report));
    text.push_str(&problems(&report, details));
    Ok(text)
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
