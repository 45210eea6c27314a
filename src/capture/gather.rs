//! Related objects, looked for after everything else was read.
//!
//! This is the second half of a capture with filters. It asks for objects by name through lists with a field selector, not
//! through reads of single objects: so they come in the same form as all others and deduplicate against them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ark_engine::ChunkWriter;

use super::batch::Batch;
use super::error::Result;
use super::filter::excludes_itself;
use super::read::{Context, Sink, is_fatal};
use super::related::{ObjectName, References, binds_one_of};
use crate::cluster::kinds::{CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS};
use crate::cluster::{GroupResource, Item, ListOptions, Lister, Resource, describe};

/// So many objects of one resource and namespace are asked for by name; more are picked out of the whole list.
const MANY: usize = 16;

/// What was found for one resource.
#[derive(Debug, Default)]
pub struct Found {
    /// The entries, in no order.
    pub batches: Vec<Batch>,
    /// How many objects.
    pub objects: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What could not be read, and why.
    pub failures: Vec<String>,
}

/// Looks for everything that the references lead to, and what that leads to in turn.
pub async fn gather(
    context: &Context,
    mut references: References,
    writer: &mut ChunkWriter,
) -> Result<BTreeMap<GroupResource, Found>> {
    let mut found: BTreeMap<GroupResource, Found> = BTreeMap::new();
    let mut done: BTreeMap<GroupResource, BTreeSet<ObjectName>> = BTreeMap::new();
    let accounts = std::mem::take(&mut references.accounts);
    if !accounts.is_empty() {
        let more = bindings(context, &accounts, writer, &mut found).await?;
        references.merge(more);
    }
    while !references.is_empty() {
        let mut next = References::default();
        for (name, wanted) in std::mem::take(&mut references.objects) {
            let Some(resource) = wanted_resource(context, &name) else {
                continue;
            };
            let seen = done.entry(name.clone()).or_default();
            let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for object in wanted {
                if seen.insert(object.clone())
                    && (object.0.is_empty() || context.plan.takes_namespace(&object.0))
                {
                    by_namespace.entry(object.0).or_default().insert(object.1);
                }
            }
            for (namespace, names) in by_namespace {
                let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
                let mut search = Search {
                    context,
                    resource: &resource,
                    found: found.entry(name.clone()).or_default(),
                };
                if names.len() > MANY {
                    let takes = |item: &Item<'_>| names.contains(item.meta.name.as_ref());
                    search
                        .list(namespace, None, &takes, writer, &mut next)
                        .await?;
                } else {
                    for one in &names {
                        let field = Some(format!("metadata.name={one}"));
                        search
                            .list(namespace.clone(), field, &|_| true, writer, &mut next)
                            .await?;
                    }
                }
            }
        }
        // Accounts come from listings only: none is referred to.
        next.accounts.clear();
        references = next;
    }
    Ok(found)
}

/// The bindings that name one of these accounts.
async fn bindings(
    context: &Context,
    accounts: &BTreeSet<ObjectName>,
    writer: &mut ChunkWriter,
    found: &mut BTreeMap<GroupResource, Found>,
) -> Result<References> {
    let mut next = References::default();
    let takes = |item: &Item<'_>| binds_one_of(item.raw, &item.meta.namespace, accounts);
    if let Some(resource) = wanted_resource(context, &CLUSTER_ROLE_BINDINGS) {
        let found = found.entry(CLUSTER_ROLE_BINDINGS).or_default();
        let mut search = Search {
            context,
            resource: &resource,
            found,
        };
        search.list(None, None, &takes, writer, &mut next).await?;
    }
    if let Some(resource) = wanted_resource(context, &ROLE_BINDINGS) {
        let namespaces: BTreeSet<&String> =
            accounts.iter().map(|(namespace, _)| namespace).collect();
        let found = found.entry(ROLE_BINDINGS).or_default();
        let mut search = Search {
            context,
            resource: &resource,
            found,
        };
        if namespaces.len() > MANY {
            let takes =
                |item: &Item<'_>| context.plan.takes_namespace(&item.meta.namespace) && takes(item);
            search.list(None, None, &takes, writer, &mut next).await?;
        } else {
            for namespace in namespaces {
                search
                    .list(Some(namespace.clone()), None, &takes, writer, &mut next)
                    .await?;
            }
        }
    }
    Ok(next)
}

/// The resource, if its objects may be taken and are not all listed anyway.
fn wanted_resource(context: &Context, name: &GroupResource) -> Option<Arc<Resource>> {
    let resource = context.plan.discovery.find_name(name)?;
    (context.plan.takes_related(resource) && !context.plan.lists_all(resource))
        .then(|| Arc::clone(resource))
}

struct Search<'c> {
    context: &'c Context,
    resource: &'c Arc<Resource>,
    found: &'c mut Found,
}

impl Search<'_> {
    async fn list(
        &mut self,
        namespace: Option<String>,
        field_selector: Option<String>,
        takes: &(dyn Fn(&Item<'_>) -> bool + Sync),
        writer: &mut ChunkWriter,
        references: &mut References,
    ) -> Result<()> {
        let options = ListOptions {
            namespace,
            field_selector,
            ..ListOptions::default()
        };
        let mut lister = Lister::new(&self.context.cluster, self.resource, &options);
        let mut sink = Sink::new(self.context, self.resource, writer, None);
        loop {
            let page = match lister.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) if is_fatal(&error) => return Err(error.into()),
                Err(error) if error.is_not_found() => break,
                Err(error) => {
                    self.found.failures.push(describe(&error));
                    break;
                }
            };
            for item in page.items() {
                let item = match item {
                    Ok(item) => item,
                    Err(error) => {
                        self.found.failures.push(describe(&error));
                        continue;
                    }
                };
                if !takes(&item) || excludes_itself(&item.meta) {
                    continue;
                }
                references.note(self.resource, &item);
                self.found.objects += 1;
                self.found.bytes += item.raw.len() as u64;
                sink.put(&item).await?;
                if sink.batch.is_full() {
                    self.found.batches.push(std::mem::take(&mut sink.batch));
                }
            }
        }
        self.found.batches.push(sink.finish().await?);
        Ok(())
    }
}
