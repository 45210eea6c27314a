//! `ark backup describe`

use ark_engine::{BackupRow, Repository};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::choose::Objects;
use super::line::Line;
use super::{objects, rows};
use crate::api::{Backup, BackupSpec, Captured, ResourceEntry};
use crate::cli::args::backup::BackupDescribeArgs;
use crate::cli::args::global::Output;
use crate::cli::catalog::{self, Entry, backup_name, selector_text};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{BackedUpResource, resources};
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, table_time};

/// A backup and what is known of it.
struct Described {
    line: Line,
    /// Absent if it cannot be read.
    backup: Option<Backup>,
    /// What only the repository knows.
    record: Option<Record>,
    /// Its resources, with `--details`.
    resources: Option<Vec<Counted>>,
}

/// What only the repository knows.
struct Record {
    row: BackupRow,
    finished: Option<(Timestamp, String)>,
}

/// A resource with the number of its objects.
struct Counted {
    resource: BackedUpResource,
    objects: u64,
}

pub async fn run(args: BackupDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let (described, exit) = match context.is_direct() {
        true => interrupt.unless(direct(&args, context)).await??,
        false => (interrupt.unless(served(&args, context)).await??, Exit::Ok),
    };
    match context.printer.format() {
        Output::Table | Output::Wide => {
            let texts: Vec<String> = described.iter().map(|one| text(one, context)).collect();
            context.printer.text(&texts.join("\n\n"))?;
        }
        _ => context.printer.list(Listing {
            table: Table::default(),
            items: described.iter().map(value).collect(),
            names: described
                .iter()
                .map(|one| backup_name(&one.line.name))
                .collect(),
            single: described.len() == 1,
        })?,
    }
    Ok(exit)
}

async fn served(args: &BackupDescribeArgs, context: &Context) -> Result<Vec<Described>> {
    if args.details {
        return Err(Error::only_direct("--details"));
    }
    let served = context.serve().await?;
    let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
    let chosen = objects.named(&args.names, &served)?;
    Ok(chosen
        .into_iter()
        .map(|chosen| Described {
            line: chosen.line,
            backup: Some(chosen.found.object),
            record: None,
            resources: None,
        })
        .collect())
}

async fn direct(args: &BackupDescribeArgs, context: &Context) -> Result<(Vec<Described>, Exit)> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let chosen = args
        .names
        .iter()
        .map(|name| rows.find(name).cloned())
        .collect::<Result<Vec<_>>>()?;
    let mut exit = Exit::Ok;
    let mut described = Vec::new();
    for entry in catalog::load(&repository, &chosen).await {
        let resources = match args.details {
            true => Some(count(&repository, &entry).await?),
            false => None,
        };
        let line = Line::of_entry(&entry);
        let (backup, finished) = match entry.content {
            Ok(content) => {
                let manifest = content.manifest;
                let finished = (from_millis(manifest.finished), manifest.tool);
                (Some(content.backup), Some(finished))
            }
            Err(error) => {
                context.talk.line(&error.report());
                exit = Exit::Damage;
                (None, None)
            }
        };
        described.push(Described {
            line,
            backup,
            record: Some(Record {
                row: entry.row,
                finished,
            }),
            resources,
        });
    }
    Ok((described, exit))
}

/// Counts the objects of each resource by a walk over all keys; no object is read.
async fn count(repository: &Repository, entry: &Entry) -> Result<Vec<Counted>> {
    let (reader, map) = match objects(repository, &entry.row).await {
        Err(Error::NoObjects { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let name = &entry.row.name;
    let mut counted = Vec::new();
    for resource in resources(&reader, &map, name).await? {
        let (from, to) = resource.key_range();
        let mut range = map.range(&from, Some(&to));
        let mut keys = 0_u64;
        while let Some(_entry) = range
            .next()
            .await
            .doing(format!("cannot read the objects of {name}"))?
        {
            keys += 1;
        }
        // One of the keys is the resource's own entry.
        let objects = keys.saturating_sub(1);
        counted.push(Counted { resource, objects });
    }
    Ok(counted)
}

fn value(one: &Described) -> Value {
    let mut value = one.line.json();
    if let (Value::Object(map), Some(resources)) = (&mut value, &one.resources) {
        let resources: Vec<Value> = resources
            .iter()
            .map(|counted| json!({ "resource": counted.resource, "objects": counted.objects }))
            .collect();
        map.insert("resources".to_owned(), resources.into());
    }
    value
}

fn text(one: &Described, context: &Context) -> String {
    let line = &one.line;
    let time = |at: Option<Timestamp>| at.map(|at| table_time(at, &context.zone));
    let mut out = Description::default();
    let (id, name) = &line.cluster;
    out.field("Name", line.name.clone())
        .field("ID", line.id.clone().unwrap_or_default())
        .field("Cluster", format!("{name} ({id})"))
        .field("Status", line.status.clone());
    let record = one.record.as_ref();
    let status = one.backup.as_ref().and_then(|backup| backup.status.clone());
    let status = status.unwrap_or_default();
    if let Some(backup) = &one.backup {
        out.field("Namespace", backup.namespace().unwrap_or_default())
            .field("Labels", pairs(backup.metadata.labels.as_ref()))
            .field("Annotations", pairs(backup.metadata.annotations.as_ref()));
        spec(&mut out, &backup.spec);
    }
    out.field("Started", time(line.created).unwrap_or_default());
    if one.backup.is_some() {
        let finished = match record.and_then(|record| record.finished.as_ref()) {
            Some((at, _)) => Some(*at),
            None => status.completion_timestamp.map(|at| at.0),
        };
        out.field("Finished", time(finished).unwrap_or_default())
            .field("Warnings", status.warnings.to_string())
            .field("Errors", status.errors.to_string())
            .field("Failure", status.failure_reason.unwrap_or_default());
        if let Some(hooks) = status.hook_status {
            let failed = grouped(hooks.hooks_failed);
            let text = format!("{} run, {failed} failed", grouped(hooks.hooks_attempted));
            out.field("Hooks", text);
        }
        if !status.validation_errors.is_empty() {
            out.field("Refused", status.validation_errors.join("\n"));
        }
    }
    if let Some((_, tool)) = record.and_then(|record| record.finished.as_ref()) {
        out.field("Made by", tool.clone());
    }
    let left = |at| from_now(at, context.now());
    let expires = line
        .expires
        .map(|at| format!("{} ({})", table_time(at, &context.zone), left(at)));
    out.field("Expires", expires.unwrap_or_default())
        .field("Items", line.items.map(grouped).unwrap_or_default());
    if let Some(failed) = line.failed {
        out.field("Not captured", grouped(failed));
    }
    out.field("Size", line.bytes.map(human_size).unwrap_or_default());
    let added = line.added.map(human_size).unwrap_or_default();
    match record {
        Some(record) => written(&mut out, &added, &record.row),
        None => {
            out.field("Added", added);
        }
    }
    let mut text = out.render();
    if let Some(resources) = &one.resources {
        text.push('\n');
        text.push_str(&resource_table(resources).render(true));
    }
    text
}

fn written(out: &mut Description, added: &str, row: &BackupRow) {
    let stats = &row.stats;
    out.field(
        "Added",
        format!(
            "{added} (data {}, tree {}, trailers {}, index {}, padding {}, control {})",
            human_size(stats.data_bytes),
            human_size(stats.tree_bytes),
            human_size(stats.trailer_bytes),
            human_size(stats.index_bytes),
            human_size(stats.padding_bytes),
            human_size(stats.control_bytes + row.manifest_size),
        ),
    )
    .field(
        "Chunks",
        format!(
            "{} new, {} reused",
            grouped(stats.new_chunks),
            grouped(stats.reused_chunks)
        ),
    );
}

/// What a backup takes.
pub fn spec(out: &mut Description, spec: &BackupSpec) {
    let list = |names: &[String], empty: &str| match names {
        [] => empty.to_owned(),
        names => names.join(", "),
    };
    out.field("Included namespaces", list(&spec.included_namespaces, "*"))
        .field("Excluded namespaces", list(&spec.excluded_namespaces, ""))
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
            "TTL",
            spec.ttl.map(|ttl| ttl.to_string()).unwrap_or_default(),
        );
    if let Some(location) = &spec.storage_location {
        out.field("Location", location.clone());
    }
}

/// `key=value` lines.
pub fn pairs(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.join("\n")
}

fn resource_table(resources: &[Counted]) -> Table {
    let mut table = Table::new(&["RESOURCE", "VERSION", "KIND", "OBJECTS", "CAPTURED"]);
    for Counted { resource, objects } in resources {
        table.row(vec![
            resource.to_string(),
            resource.entry.version.clone(),
            resource.entry.kind.clone(),
            grouped(*objects),
            captured(&resource.entry),
        ]);
    }
    table
}

fn captured(entry: &ResourceEntry) -> String {
    let word = match entry.captured {
        Captured::Yes => "yes",
        Captured::Partial => "partly",
        Captured::No => "no",
    };
    match &entry.reason {
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_owned(),
    }
}
