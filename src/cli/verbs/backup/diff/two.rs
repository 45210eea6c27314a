//! Two backups: a lock-step walk over both maps that skips what they share.

use ark_engine::objects::{ObjectKey, parse_key};
use ark_engine::{Reader, Value, diff};

use super::super::rows;
use super::{Sink, unreadable};
use crate::cli::args::backup::DiffArgs;
use crate::cli::catalog::{self, Content};
use crate::cli::context::Context;
use crate::cli::difference::{Change, Difference, Side, Tally, one_sided};
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{BackedUpResource, resources};

/// A backup that is compared.
struct Compared {
    content: Content,
    resources: Vec<BackedUpResource>,
}

impl Compared {
    fn side(&self, key: &ObjectKey) -> Side<'_> {
        Side {
            spec: &self.content.backup.spec,
            resource: self
                .resources
                .iter()
                .find(|resource| resource.group == key.group && resource.resource == key.resource),
        }
    }

    async fn object(
        &self,
        reader: &Reader,
        key: &ObjectKey,
        value: &Value,
    ) -> Result<Option<serde_json::Value>> {
        let Some(resource) = self.side(key).resource else {
            return Ok(None);
        };
        let bytes = reader
            .read(value)
            .await
            .doing(format!("cannot read {key}"))?;
        resource
            .complete(&bytes)
            .map(Some)
            .map_err(unreadable(key.to_string()))
    }
}

pub async fn run(args: &DiffArgs, after: &str, context: &mut Context) -> Result<(Tally, Exit)> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let (a, b) = (rows.find(&args.before)?, rows.find(after)?);
    if a.cluster.id != b.cluster.id {
        context
            .talk
            .note("the two backups are of different clusters");
    }
    let reader = repository
        .browse()
        .await
        .doing("cannot read the repository")?;
    let mut compared = Vec::new();
    for row in [a, b] {
        let content = catalog::content(&repository, row).await?;
        let resources = match row.dataset("objects") {
            Some(root) => resources(&reader, &reader.map(root), &row.name).await?,
            None => Vec::new(),
        };
        compared.push(Compared { content, resources });
    }
    let (roots, [before, after]) = (
        [a.dataset("objects"), b.dataset("objects")],
        [&compared[0], &compared[1]],
    );
    let mut walk = diff(&reader, roots[0], roots[1]);
    let mut sink = Sink::new(&mut context.printer, args);
    while let Some(found) = walk.next().await.doing("cannot compare the backups")? {
        let Some(key) = parse_key(&found.key).filter(|key| !key.is_resource()) else {
            continue;
        };
        let (change, reason) = match (&found.before, &found.after) {
            (Some(_), None) => one_sided(
                Change::Removed,
                after.side(&key),
                before.side(&key).spec,
                &key.namespace,
            ),
            (None, Some(_)) => one_sided(
                Change::Added,
                before.side(&key),
                after.side(&key).spec,
                &key.namespace,
            ),
            _ => (Change::Changed, None),
        };
        let mut difference = Difference {
            change,
            resource: key.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            reason,
            before: None,
            after: None,
        };
        if args.patch {
            if let Some(value) = &found.before {
                difference.before = before.object(&reader, &key, value).await?;
            }
            if let Some(value) = &found.after {
                difference.after = after.object(&reader, &key, value).await?;
            }
        }
        sink.put(&difference)?;
    }
    Ok((sink.finish()?, Exit::Ok))
}
