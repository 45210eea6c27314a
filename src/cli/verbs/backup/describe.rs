//! `ark backup describe`

use ark_engine::Repository;
use serde_json::{Value, json};

use super::{objects, rows};
use crate::api::{BackupSpec, Captured, ResourceEntry};
use crate::cli::args::backup::BackupDescribeArgs;
use crate::cli::catalog::{self, Entry, backup_name, selector_text};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{BackedUpResource, resources};
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, from_seconds, table_time};

/// A backup and, with `--details`, its resources.
struct Described {
    entry: Entry,
    resources: Option<Vec<Counted>>,
}

/// A resource with the number of its objects.
struct Counted {
    resource: BackedUpResource,
    objects: u64,
}

pub async fn run(args: BackupDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let described = interrupt.unless(describe(&args, context)).await??;
    let mut exit = Exit::Ok;
    for one in &described {
        if let Err(error) = &one.entry.content {
            context.talk.line(&error.report());
            exit = Exit::Damage;
        }
    }
    match context.printer.format() {
        crate::cli::args::global::Output::Table | crate::cli::args::global::Output::Wide => {
            let texts: Vec<String> = described.iter().map(|one| text(one, context)).collect();
            context.printer.text(&texts.join("\n\n"))?;
        }
        _ => context.printer.list(Listing {
            table: Table::default(),
            items: described.iter().map(value).collect(),
            names: described
                .iter()
                .map(|one| backup_name(&one.entry.row.name))
                .collect(),
            single: described.len() == 1,
        })?,
    }
    Ok(exit)
}

async fn describe(args: &BackupDescribeArgs, context: &Context) -> Result<Vec<Described>> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let chosen = args
        .names
        .iter()
        .map(|name| rows.find(name).cloned())
        .collect::<Result<Vec<_>>>()?;
    let mut described = Vec::new();
    for entry in catalog::load(&repository, &chosen).await {
        let resources = match args.details {
            true => Some(count(&repository, &entry).await?),
            false => None,
        };
        described.push(Described { entry, resources });
    }
    Ok(described)
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
    let mut value = one.entry.json();
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
    let entry = &one.entry;
    let row = &entry.row;
    let time = |at| table_time(at, &context.zone);
    let mut out = Description::default();
    out.field("Name", row.name.clone())
        .field("ID", row.id.to_string())
        .field(
            "Cluster",
            format!("{} ({})", row.cluster.name, row.cluster.id),
        )
        .field("Status", entry.status());
    if let Ok(content) = &entry.content {
        let backup = &content.backup;
        out.field(
            "Namespace",
            backup.metadata.namespace.clone().unwrap_or_default(),
        )
        .field("Labels", pairs(backup.metadata.labels.as_ref()))
        .field("Annotations", pairs(backup.metadata.annotations.as_ref()));
        spec(&mut out, &backup.spec);
        out.field("Started", time(from_millis(row.created)))
            .field("Finished", time(from_millis(content.manifest.finished)));
        if let Some(status) = &backup.status {
            out.field("Warnings", status.warnings.to_string())
                .field("Errors", status.errors.to_string())
                .field("Failure", status.failure_reason.clone().unwrap_or_default());
        }
        out.field("Made by", content.manifest.tool.clone());
    } else {
        out.field("Started", time(from_millis(row.created)));
    }
    let expires = row.expires.map(from_seconds);
    out.field(
        "Expires",
        expires
            .map(|at| format!("{} ({})", time(at), from_now(at, context.now())))
            .unwrap_or_default(),
    );
    let stats = &row.stats;
    out.field("Items", grouped(row.counts.items))
        .field("Not captured", grouped(row.counts.failed))
        .field("Size", human_size(row.counts.bytes))
        .field(
            "Added",
            format!(
                "{} (data {}, tree {}, trailers {}, index {}, padding {}, control {})",
                human_size(row.added_bytes()),
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
    let mut text = out.render();
    if let Some(resources) = &one.resources {
        text.push('\n');
        text.push_str(&resource_table(resources).render(true));
    }
    text
}

fn spec(out: &mut Description, spec: &BackupSpec) {
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
