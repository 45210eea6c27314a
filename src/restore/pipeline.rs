//! A restore from end to end: plan, apply wave after wave, put back owners.
//!
//! Memory: one batch of objects, those under way, and sixteen bytes twice for the uid of every object. Nothing is written
//! that [`journal`](super::journal) could not find again, so a restore may be stopped at any point and run again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;

use super::api::{Mode, Requests};
use super::apply::{Applier, Item, State};
use super::choose;
use super::error::RestoreError;
use super::finalize::{Relinked, relink};
use super::hooked;
use super::journal::Done;
use super::mutate::{Context, Facts, Prepared, Skip, mark, prepare};
use super::object::Key;
use super::order::Wave;
use super::plan::{Intent, Plan, PlannedResource, PlannedWave};
use super::report::{Outcome, RestoreReport, Severity};
use super::source::{Loaded, ObjectSource, SourceKey};
use super::target::{self, Target};
use super::{Monitor, Options};
use crate::api::labels::label_value;
use crate::api::{Restore, RestoreSpec};
use crate::cluster::{Cluster, Discovery, GroupResource, describe, kinds};
use crate::hooks::RestoreRules;

/// Restores a backup into a cluster.
///
/// Errors are for what stops the whole restore; what befalls single objects stands in the report.
pub async fn restore(
    cluster: &Cluster,
    source: &dyn ObjectSource,
    restore: &Restore,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<RestoreReport, RestoreError> {
    let before = cluster.requests();
    let mut discovery = Discovery::load(cluster).await?;
    let (plan, facts) = choose::plan(source, &restore.spec, &discovery).await?;
    let rules = hooked::rules(&restore.spec, &discovery, options.hooks)?;
    monitor.planned(&plan);
    let state = State::default();
    let labels = Labels::new(restore);
    let run = Run {
        source,
        spec: &restore.spec,
        plan: &plan,
        facts: &facts,
        labels: &labels,
        rules: rules.as_ref(),
        applier: Applier {
            requests: Requests {
                cluster,
                mode: Mode::Real,
            },
            options,
            policy: restore.spec.existing_resource_policy.unwrap_or_default(),
            preserve_node_ports: restore.spec.preserve_node_ports.unwrap_or(false),
            monitor,
            state: &state,
        },
    };
    for hole in &plan.holes {
        state
            .report()
            .problem(Severity::Warning, None, hole.to_string());
    }
    let mut blank = true;
    for wave in &plan.waves {
        if blank && wave.wave > Wave::Definitions {
            run.blank_namespaces(&discovery).await;
            blank = false;
        }
        monitor.wave(wave.wave);
        run.wave(wave, &discovery).await?;
        let definitions = state.take_definitions();
        if !definitions.is_empty() {
            discovery = run.wait_for_definitions(definitions, &discovery).await?;
        }
    }
    run.relink(&discovery).await;
    hooked::run(cluster, restore, &state).await;
    let mut report = std::mem::take(&mut *state.report());
    report.requests = cluster.requests().since(&before);
    Ok(report)
}

/// The values of the labels on every restored object.
pub(super) struct Labels {
    pub backup: String,
    pub restore: String,
}

impl Labels {
    pub(super) fn new(restore: &Restore) -> Labels {
        Labels {
            backup: label_value(&restore.spec.backup_name),
            restore: label_value(restore.metadata.name.as_deref().unwrap_or_default()),
        }
    }
}

/// Turns what the backup holds into what is created, or says what became of it.
pub(super) fn prepare_item(
    loaded: Loaded,
    target: &Target,
    spec: &RestoreSpec,
    labels: &Labels,
    facts: &Facts,
    rules: Option<&RestoreRules>,
) -> (Key, Result<Prepared, Outcome>) {
    let key = loaded.key;
    let bytes = match loaded.bytes {
        Ok(bytes) => bytes,
        Err(error) => return (key, Err(Outcome::Failed(describe(&error)))),
    };
    let object = match serde_json::from_slice(&bytes) {
        Ok(object) => object,
        Err(error) => {
            return (
                key,
                Err(Outcome::Failed(format!(
                    "the backup holds no JSON: {error}"
                ))),
            );
        }
    };
    let context = Context {
        resource: &key.resource,
        mapping: &spec.namespace_mapping,
        backup_label: &labels.backup,
        restore_label: &labels.restore,
        preserve_node_ports: spec.preserve_node_ports.unwrap_or(false),
        facts,
    };
    let prepared = prepare(
        object,
        &key,
        &target.api_version,
        &target.resource.kind,
        &context,
    );
    let prepared = prepared
        .map_err(Outcome::Skipped)
        .and_then(|prepared| hooked::add(&key, prepared, rules));
    (key, prepared)
}

struct Run<'a> {
    source: &'a dyn ObjectSource,
    spec: &'a RestoreSpec,
    plan: &'a Plan,
    facts: &'a Facts,
    labels: &'a Labels,
    rules: Option<&'a RestoreRules>,
    applier: Applier<'a>,
}

/// A resource on its way into the cluster.
struct Lane<'a> {
    planned: &'a PlannedResource,
    target: Arc<Target>,
    done: Done,
}

impl Run<'_> {
    async fn wave(&self, wave: &PlannedWave, discovery: &Discovery) -> Result<(), RestoreError> {
        let mut lanes = Vec::new();
        for planned in &wave.resources {
            for (skip, objects) in &planned.skipped {
                self.applier
                    .state
                    .report()
                    .record_skipped(&planned.resource, skip, *objects);
            }
            if planned.objects == 0 {
                continue;
            }
            match target::choose(discovery, &planned.resource, &planned.entry) {
                Ok(target) => {
                    if !target.same_version {
                        let text = format!(
                            "the cluster does not serve {}; its objects are created as {}",
                            planned.entry.version, target.api_version
                        );
                        let subject = Some(planned.resource.to_string());
                        self.applier
                            .state
                            .report()
                            .problem(Severity::Warning, subject, text);
                    }
                    let done = self.done(&target).await?;
                    lanes.push(Lane {
                        planned,
                        target: Arc::new(target),
                        done,
                    });
                }
                Err(error) => {
                    let text = match error.hint() {
                        Some(hint) => format!("{error}; {hint}"),
                        None => error.to_string(),
                    };
                    self.fail_all(&planned.resource, &text).await?;
                }
            }
        }
        // One stream for the wave: while the last objects of a resource are under way, those of the next one start.
        // Boxed, so that whoever spawns a restore need not see into its closures.
        let objects = futures::stream::iter(&lanes)
            .map(|lane| {
                let wanted = Box::new(|key: &Key| self.plan.intent(key) == Intent::Apply);
                self.source
                    .objects(&lane.planned.resource, wanted)
                    .map(move |batch| (lane, batch))
            })
            .flatten()
            .flat_map(|(lane, batch)| {
                let batch = batch.unwrap_or_else(|error| {
                    let subject = Some(lane.planned.resource.to_string());
                    self.applier
                        .state
                        .report()
                        .problem(Severity::Error, subject, describe(&error));
                    Vec::new()
                });
                futures::stream::iter(batch).map(move |loaded| (lane, loaded))
            })
            .boxed();
        objects
            .for_each_concurrent(self.applier.options.concurrency, |(lane, loaded)| {
                self.object(lane, loaded)
            })
            .await;
        Ok(())
    }

    async fn object(&self, lane: &Lane<'_>, loaded: Loaded) {
        if let Some(skip) = self.mapped_twice(&loaded.key) {
            return self.applier.skip(&loaded.key, skip);
        }
        let (key, prepared) = prepare_item(
            loaded,
            &lane.target,
            self.spec,
            self.labels,
            self.facts,
            self.rules,
        );
        match prepared {
            Ok(prepared) => {
                let only_related = self.plan.is_only_related(&key);
                let item = Item {
                    key: &key,
                    target: &lane.target,
                    prepared,
                    only_related,
                };
                self.applier.apply(item, &lane.done).await;
            }
            Err(outcome) => self.applier.record(&key, &outcome),
        }
    }

    /// Of several namespaces that are restored into one, the first gives its labels.
    fn mapped_twice(&self, key: &Key) -> Option<Skip> {
        if key.resource != kinds::NAMESPACES {
            return None;
        }
        let target = self
            .spec
            .namespace_mapping
            .get(&key.name)
            .unwrap_or(&key.name);
        let first = self.plan.namespaces.get(target)?.first()?;
        (*first != key.name).then_some(Skip::MappedTwice)
    }

    async fn done(&self, target: &Target) -> Result<Done, RestoreError> {
        if !self.applier.options.resume {
            return Ok(Done::default());
        }
        let cluster = self.applier.requests.cluster;
        match Done::load(cluster, target, &self.labels.backup, &self.labels.restore).await {
            Ok(done) => Ok(done),
            // Without the list each object is compared instead.
            Err(error) if error.api().is_some() => Ok(Done::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// None of the objects of a resource can be restored.
    async fn fail_all(&self, resource: &GroupResource, text: &str) -> Result<(), RestoreError> {
        let mut keys = self.source.keys();
        while let Some(key) = keys.next().await {
            if let SourceKey::Object(key) = key?
                && key.resource == *resource
                && self.plan.intent(&key) == Intent::Apply
            {
                self.applier.record(&key, &Outcome::Failed(text.to_owned()));
            }
        }
        Ok(())
    }

    /// Namespaces that objects need and the backup does not hold. They are not objects of the backup, so only failures
    /// are reported.
    async fn blank_namespaces(&self, discovery: &Discovery) {
        let Some(resource) = discovery.find_name(&kinds::NAMESPACES) else {
            return;
        };
        let target = Target {
            api_version: "v1".to_owned(),
            resource: Arc::clone(resource),
            same_version: true,
        };
        futures::stream::iter(&self.plan.blank_namespaces)
            .for_each_concurrent(self.applier.options.concurrency, |name| {
                let target = &target;
                async move {
                    let mut object =
                        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                    mark(&mut object, &self.labels.backup, &self.labels.restore);
                    let body = object.to_string().into();
                    if let Err(error) = self.applier.requests.create(target, None, body).await {
                        let text = format!("cannot be made: {}", super::api::reason(&error));
                        let subject = Some(format!("namespaces {name}"));
                        self.applier.state.report().problem(Severity::Error, subject, text);
                    }
                }
            })
            .await;
    }

    /// Waits until the apiserver serves what was defined, and asks it again what it serves.
    async fn wait_for_definitions(
        &self,
        mut names: Vec<String>,
        discovery: &Discovery,
    ) -> Result<Discovery, RestoreError> {
        let began = Instant::now();
        let patience = self.applier.options.definition_patience;
        let fail = |name: &str, text: String| {
            let subject = Some(format!("{} {name}", kinds::CUSTOM_RESOURCE_DEFINITIONS));
            self.applier
                .state
                .report()
                .problem(Severity::Error, subject, text);
        };
        let mut served = Vec::new();
        if let Some(resource) = discovery.find_name(&kinds::CUSTOM_RESOURCE_DEFINITIONS) {
            let target = Target {
                api_version: resource.api_version(),
                resource: Arc::clone(resource),
                same_version: true,
            };
            let mut pause = Duration::from_millis(20);
            loop {
                let states: Vec<(String, Definition)> =
                    futures::stream::iter(std::mem::take(&mut names))
                        .map(|name| {
                            let target = &target;
                            async move {
                                let live = self.applier.requests.get(target, None, &name).await;
                                let state = live
                                    .ok()
                                    .flatten()
                                    .as_ref()
                                    .map_or(Definition::Gone, definition_state);
                                (name, state)
                            }
                        })
                        .buffer_unordered(self.applier.options.concurrency)
                        .collect()
                        .await;
                for (name, state) in states {
                    match state {
                        Definition::Established => served.push(name),
                        Definition::Pending => names.push(name),
                        Definition::Refused(text) => fail(&name, text),
                        Definition::Gone => fail(&name, "it was deleted by somebody".to_owned()),
                    }
                }
                if names.is_empty() {
                    break;
                }
                if began.elapsed() > patience {
                    for name in &names {
                        fail(
                            name,
                            format!("it was not established after {} s", patience.as_secs()),
                        );
                    }
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
        // Discovery is a moment behind the definitions.
        let mut pause = Duration::from_millis(20);
        loop {
            let discovery = Discovery::load(self.applier.requests.cluster).await?;
            let known = |name: &String| {
                let (plural, group) = name.split_once('.').unwrap_or((name, ""));
                discovery.find(group, plural).is_some()
            };
            if served.iter().all(known) || began.elapsed() > patience {
                return Ok(discovery);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn relink(&self, discovery: &Discovery) {
        let state = self.applier.state;
        let uids = std::mem::take(&mut *state.uids());
        let orphans = state.take_orphans();
        let concurrency = self.applier.options.concurrency;
        for (key, became) in relink(
            self.applier.requests,
            discovery,
            &uids,
            orphans,
            concurrency,
        )
        .await
        {
            let mut report = state.report();
            match became {
                Relinked::Done { linked, dropped } => {
                    report.relinked += u64::from(linked > 0);
                    report.owners_dropped += dropped;
                }
                Relinked::Failed(text) => {
                    report.warn(&key, format!("its owners could not be put back: {text}"))
                }
            }
        }
    }
}

/// How far a definition is.
enum Definition {
    Established,
    Pending,
    Refused(String),
    Gone,
}

fn definition_state(live: &serde_json::Value) -> Definition {
    let condition = |kind: &str| {
        let conditions = live["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind)
    };
    if let Some(names) = condition("NamesAccepted").filter(|names| names["status"] == "False") {
        let text = names["message"].as_str().unwrap_or_default();
        return Definition::Refused(format!("its names are not accepted: {text}"));
    }
    match condition("Established").is_some_and(|established| established["status"] == "True") {
        true => Definition::Established,
        false => Definition::Pending,
    }
}
