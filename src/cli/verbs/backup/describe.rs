//! `ark backup describe`

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::choose::Objects;
use super::line::Line;
use super::{fetch, rows};
use crate::api::{Backup, BackupSpec, Captured, DownloadKind, DownloadTarget, ResourceEntry};
use crate::cli::args::backup::BackupDescribeArgs;
use crate::cli::args::global::Output;
use crate::cli::catalog::{self, backup_name, selector_text};
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::served::Served;
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, table_time};
use crate::server::reading::objects::BackedUpResource;
use crate::server::reading::{self, Head, Record};

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
    let served = context.serve().await?;
    let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
    let mut described = Vec::new();
    for chosen in objects.named(&args.names, &served)? {
        let mut one = Described {
            line: chosen.line,
            backup: Some(chosen.found.object),
            record: None,
            resources: None,
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
        let target = DownloadTarget::new(DownloadKind::BackupDetails, &self.line.name);
        let mut pieces = fetch(served, target, &context.env).await?;
        let mut counted = Vec::new();
        while let Some(piece) = pieces.next().await? {
            match piece.head {
                Head::Record(record) => {
                    self.line.created = Some(from_millis(record.created));
                    self.line.failed = Some(record.failed);
                    self.record = Some(*record);
                }
                Head::Counted { resource, objects } => counted.push(Counted { resource, objects }),
                _ => {}
            }
        }
        self.resources = Some(counted);
        Ok(())
    }
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
            true => {
                let counted = reading::count(&repository, &entry.row).await?;
                let counted = counted.into_iter();
                Some(
                    counted
                        .map(|(resource, objects)| Counted { resource, objects })
                        .collect(),
                )
            }
            false => None,
        };
        let line = Line::of_entry(&entry);
        let (backup, manifest) = match entry.content {
            Ok(content) => (Some(content.backup), Some(content.manifest)),
            Err(error) => {
                context.talk.line(&error.report());
                exit = Exit::Damage;
                (None, None)
            }
        };
        described.push(Described {
            line,
            backup,
            record: Some(Record::new(&entry.row, manifest.as_ref())),
            resources,
        });
    }
    Ok((described, exit))
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
            Some((at, _)) => Some(from_millis(*at)),
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
        Some(record) => written(&mut out, &added, record),
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

fn written(out: &mut Description, added: &str, record: &Record) {
    let stats = &record.stats;
    out.field(
        "Added",
        format!(
            "{added} (data {}, tree {}, trailers {}, index {}, padding {}, control {})",
            human_size(stats.data_bytes),
            human_size(stats.tree_bytes),
            human_size(stats.trailer_bytes),
            human_size(stats.index_bytes),
            human_size(stats.padding_bytes),
            human_size(stats.control_bytes + record.manifest_size),
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
