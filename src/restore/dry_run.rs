//! What a restore would do, with the apiserver's own answer, without changing anything.
//!
//! Every object goes through the same plan and the same steps as in a real restore, and then to the apiserver with
//! `dryRun=All`: admission, validation and defaults say what they would say. Of an object that exists and would be
//! changed, or differs and would be left, there is a diff. What the apiserver cannot judge yet, because a namespace or a
//! definition would be made first, is said to be unchecked.
//!
//! The values of Secrets are never shown, only that they differ.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::api::{Created, Mode, Requests, reason};
use super::choose;
use super::error::RestoreError;
use super::existing::{Decision, Rules, decide, normalised};
use super::hooked;
use super::mutate::{Facts, Skip, at, at_mut};
use super::object::Key;
use super::pipeline::{Labels, prepare_item};
use super::plan::{Intent, Plan};
use super::report::Outcome;
use super::source::{Loaded, ObjectSource};
use super::target::{self, Target};
use super::{Monitor, Options};
use crate::api::{ExistingResourcePolicy, Restore};
use crate::cluster::{Cluster, Discovery, GroupResource, kinds};
use crate::hooks::RestoreRules;

/// What would be done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It would be created.
    Create,
    /// It would probably be created; the apiserver cannot say before something else is there.
    Unchecked,
    /// It would be patched.
    Update,
    /// It is as in the backup.
    Unchanged,
    /// It would be left out.
    Skip,
    /// It would be refused.
    Fail,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Action::Create => "create",
            Action::Unchecked => "unchecked",
            Action::Update => "update",
            Action::Unchanged => "unchanged",
            Action::Skip => "skip",
            Action::Fail => "fail",
        })
    }
}

/// What would become of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// The object in the backup.
    pub object: Key,
    /// What would be done.
    pub action: Action,
    /// Why, unless it is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether somebody should look at it.
    #[serde(skip)]
    pub noteworthy: bool,
    /// What would change, or what differs, as a unified diff from the cluster to the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What a restore would do.
#[derive(Debug, Clone, Serialize)]
pub struct DryRun {
    /// The plan.
    pub plan: Plan,
    /// Objects by what would be done.
    pub actions: BTreeMap<Action, u64>,
    /// Why objects would be skipped that nobody need look at: resource, reason, how many.
    pub skipped: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why the apiserver cannot judge some objects yet: reason, how many.
    pub unchecked: BTreeMap<String, u64>,
    /// Objects that somebody may want to look at: everything but what would simply be created, is unchanged, is skipped for
    /// a reason that is no concern of the user's, or cannot be judged yet.
    pub objects: Vec<Prediction>,
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        for prediction in &self.objects {
            write!(f, "{:9} {}", prediction.action, prediction.object)?;
            match &prediction.reason {
                Some(reason) => writeln!(f, ": {reason}")?,
                None => writeln!(f)?,
            }
            if let Some(diff) = &prediction.diff {
                for line in diff.lines() {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        for (resource, reasons) in &self.skipped {
            for (reason, count) in reasons {
                writeln!(f, "skip      {count} {resource}: {reason}")?;
            }
        }
        for (reason, count) in &self.unchecked {
            writeln!(f, "unchecked {count} objects: {reason}")?;
        }
        let counts: Vec<String> = self
            .actions
            .iter()
            .map(|(action, n)| format!("{n} {action}"))
            .collect();
        write!(f, "the apiserver's answer: {}", counts.join(", "))
    }
}

/// Finds out what a restore would do.
pub async fn dry_run(
    cluster: &Cluster,
    source: &dyn ObjectSource,
    restore: &Restore,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<DryRun, RestoreError> {
    let discovery = Discovery::load(cluster).await?;
    let (plan, facts) = choose::plan(source, &restore.spec, &discovery).await?;
    let rules = hooked::rules(&restore.spec, &discovery, options.hooks)?;
    monitor.planned(&plan);
    let requests = Requests {
        cluster,
        mode: Mode::DryRun,
    };
    let labels = Labels::new(restore);
    let missing = missing_namespaces(requests, &discovery, &plan, options.concurrency).await?;
    let trial = Trial {
        requests,
        restore,
        plan: &plan,
        facts: &facts,
        labels: &labels,
        rules: rules.as_ref(),
        missing: &missing,
    };
    let mut actions: BTreeMap<Action, u64> = BTreeMap::new();
    let mut objects = Vec::new();
    let mut unchecked: BTreeMap<String, u64> = BTreeMap::new();
    let mut skipped: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for planned in plan.resources() {
        let resource = planned.resource.to_string();
        for (skip, count) in &planned.skipped {
            *actions.entry(Action::Skip).or_default() += count;
            *skipped
                .entry(resource.clone())
                .or_default()
                .entry(skip.to_string())
                .or_default() += count;
        }
        let target = target::choose(&discovery, &planned.resource, &planned.entry);
        let wanted = Box::new(|key: &Key| plan.intent(key) == Intent::Apply);
        let predictions = source
            .objects(&planned.resource, wanted)
            .flat_map(|batch| match batch {
                Ok(batch) => futures::stream::iter(batch.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => futures::stream::iter(vec![Err(error)]),
            })
            .map(|loaded| async { Ok(trial.object(loaded?, target.as_ref()).await) })
            .buffered(options.concurrency);
        let mut predictions = std::pin::pin!(predictions);
        while let Some(prediction) = predictions.next().await {
            let prediction: Result<Prediction, super::source::SourceError> = prediction;
            let prediction = prediction?;
            *actions.entry(prediction.action).or_default() += 1;
            match prediction {
                Prediction {
                    action: Action::Create | Action::Unchanged,
                    reason: None,
                    diff: None,
                    ..
                } => {}
                Prediction {
                    action: Action::Skip,
                    reason: Some(reason),
                    noteworthy: false,
                    ..
                } => {
                    let reasons = skipped.entry(resource.clone()).or_default();
                    *reasons.entry(reason).or_default() += 1;
                }
                Prediction {
                    action: Action::Unchecked,
                    reason: Some(reason),
                    ..
                } => {
                    *unchecked.entry(reason).or_default() += 1;
                }
                prediction => objects.push(prediction),
            }
        }
    }
    Ok(DryRun {
        plan,
        actions,
        skipped,
        unchecked,
        objects,
    })
}

/// Namespaces of the plan that are not in the cluster.
async fn missing_namespaces(
    requests: Requests<'_>,
    discovery: &Discovery,
    plan: &Plan,
    concurrency: usize,
) -> Result<HashSet<String>, RestoreError> {
    let Some(resource) = discovery.find_name(&kinds::NAMESPACES) else {
        return Ok(HashSet::new());
    };
    let target = Target {
        api_version: "v1".to_owned(),
        resource: resource.clone(),
        same_version: true,
    };
    let target = &target;
    let found: Vec<_> = futures::stream::iter(plan.namespaces.keys())
        .map(|name| async move { (name, requests.get(target, None, name).await) })
        .buffer_unordered(concurrency)
        .collect()
        .await;
    let mut missing = HashSet::new();
    for (name, live) in found {
        let gone = match live? {
            None => true,
            Some(live) => !live["metadata"]["deletionTimestamp"].is_null(),
        };
        if gone {
            missing.insert(name.clone());
        }
    }
    Ok(missing)
}

struct Trial<'a> {
    requests: Requests<'a>,
    restore: &'a Restore,
    plan: &'a Plan,
    facts: &'a Facts,
    labels: &'a Labels,
    rules: Option<&'a RestoreRules>,
    missing: &'a HashSet<String>,
}

impl Trial<'_> {
    async fn object(
        &self,
        loaded: Loaded,
        target: Result<&Target, &target::TargetError>,
    ) -> Prediction {
        let target = match target {
            Ok(target) => target,
            Err(error) => return self.unserved(loaded.key, error),
        };
        let (key, prepared) = prepare_item(
            loaded,
            target,
            &self.restore.spec,
            self.labels,
            self.facts,
            self.rules,
        );
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(Outcome::Skipped(skip)) => return skipped(key, &skip),
            Err(Outcome::Failed(text)) => return plain(key, Action::Fail, Some(text)),
            Err(_) => return plain(key, Action::Unchanged, None),
        };
        let wanted = prepared.object;
        let namespace = wanted["metadata"]["namespace"].as_str();
        if let Some(namespace) = namespace.filter(|namespace| self.missing.contains(*namespace)) {
            return plain(
                key,
                Action::Unchecked,
                Some(format!("namespace {namespace} would be made first")),
            );
        }
        let body = wanted.to_string().into();
        match self.requests.create(target, namespace, body).await {
            Ok(Created::Yes { dropped, .. }) => {
                let reason = dropped
                    .map(|fields| format!("the cluster does not know some fields: {fields}"));
                plain(key, Action::Create, reason)
            }
            Ok(Created::Exists) => self.exists(key, target, namespace, &wanted).await,
            Err(error) => plain(key, Action::Fail, Some(reason(&error))),
        }
    }

    fn unserved(&self, key: Key, error: &target::TargetError) -> Prediction {
        let definition = Key::new(
            kinds::CUSTOM_RESOURCE_DEFINITIONS,
            None,
            &key.resource.to_string(),
        );
        match self.plan.intent(&definition) {
            // Whether the backup holds the definition is known by the plan's counts only; the name is enough to say why.
            Intent::Apply
                if matches!(error, target::TargetError::NotServed { custom: true, .. }) =>
            {
                plain(
                    key,
                    Action::Unchecked,
                    Some("its definition would have to be made first".to_owned()),
                )
            }
            _ => plain(key, Action::Fail, Some(error.to_string())),
        }
    }

    async fn exists(
        &self,
        key: Key,
        target: &Target,
        namespace: Option<&str>,
        wanted: &Value,
    ) -> Prediction {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let live = match self.requests.get(target, namespace, name).await {
            Ok(Some(live)) => live,
            Ok(None) => return plain(key, Action::Create, None),
            Err(error) => return plain(key, Action::Fail, Some(reason(&error))),
        };
        let policy = self
            .restore
            .spec
            .existing_resource_policy
            .unwrap_or_default();
        let only_related = self.plan.is_only_related(&key);
        let resource = key.resource.clone();
        match decide(
            &live,
            wanted,
            Rules {
                resource: &resource,
                policy,
                only_related,
            },
        ) {
            Decision::Done | Decision::Unchanged => plain(key, Action::Unchanged, None),
            Decision::WaitUntilGone => plain(
                key,
                Action::Unchecked,
                Some("one of that name is being deleted".to_owned()),
            ),
            Decision::Leave(Skip::ExistsAndDiffers) => Prediction {
                diff: diff(&live, wanted, &resource),
                ..skipped(key, &Skip::ExistsAndDiffers)
            },
            Decision::Leave(skip) => skipped(key, &skip),
            Decision::Patch(patch) => {
                match self
                    .requests
                    .patch(target, namespace, name, None, &patch)
                    .await
                {
                    Ok(answer) => {
                        let would: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
                        let merged = policy == ExistingResourcePolicy::None;
                        let reason = merged.then(|| "service accounts are merged".to_owned());
                        Prediction {
                            diff: diff(&live, &would, &resource),
                            ..plain(key, Action::Update, reason)
                        }
                    }
                    Err(error) => Prediction {
                        diff: diff(&live, wanted, &resource),
                        ..plain(key, Action::Fail, Some(reason(&error)))
                    },
                }
            }
        }
    }
}

fn plain(object: Key, action: Action, reason: Option<String>) -> Prediction {
    Prediction {
        object,
        action,
        reason,
        noteworthy: true,
        diff: None,
    }
}

fn skipped(object: Key, skip: &Skip) -> Prediction {
    Prediction {
        noteworthy: skip.is_warning(),
        ..plain(object, Action::Skip, Some(skip.to_string()))
    }
}

/// The difference between two objects as far as it counts, as YAML.
pub fn diff(before: &Value, after: &Value, resource: &GroupResource) -> Option<String> {
    let (mut before, mut after) = (normalised(before, resource), normalised(after, resource));
    // What the answer to a patch leaves out, the object keeps.
    for field in ["apiVersion", "kind"] {
        if let (Some(a), Some(b)) = (before.as_object_mut(), after.as_object_mut()) {
            a.remove(field);
            b.remove(field);
        }
    }
    if *resource == kinds::SECRETS {
        mask(&mut before, &mut after);
    }
    let text = |value: &Value| serde_yaml_ng::to_string(value).unwrap_or_default();
    let (before, after) = (text(&before), text(&after));
    if before == after {
        return None;
    }
    let diff = similar::TextDiff::from_lines(&before, &after);
    Some(
        diff.unified_diff()
            .context_radius(2)
            .header("cluster", "backup")
            .to_string(),
    )
}

/// Hides the values of a Secret and keeps whether they differ. Annotations go too: `kubectl apply` keeps a copy of the
/// values in one.
fn mask(before: &mut Value, after: &mut Value) {
    for path in [&["data"][..], &["stringData"], &["metadata", "annotations"]] {
        let names: HashSet<String> = [&*before, &*after]
            .iter()
            .filter_map(|object| at(object, path)?.as_object())
            .flat_map(|data| data.keys().cloned())
            .collect();
        for name in names {
            let value = |object| at(object, path).and_then(|data| data.get(&name));
            let same = value(before) == value(after);
            for (object, text) in [
                (&mut *before, "*** (cluster)"),
                (&mut *after, "*** (backup)"),
            ] {
                if let Some(value) = at_mut(object, path).and_then(|data| data.get_mut(&name)) {
                    *value = Value::from(if same { "***" } else { text });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_diff_shows_what_counts() {
        let resource = GroupResource::new("", "configmaps");
        let live = json!({"metadata": {"name": "a", "uid": "1"}, "data": {"k": "x", "same": "1"}});
        let wanted = json!({"metadata": {"name": "a"}, "data": {"k": "v", "same": "1"}});
        let text = diff(&live, &wanted, &resource).unwrap();
        assert!(text.contains("-  k: x\n+  k: v\n"), "{text}");
        assert!(!text.contains("uid"));
        assert_eq!(diff(&live, &live, &resource), None);
    }

    #[test]
    fn the_values_of_secrets_are_not_shown() {
        let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"k\":\"c2VjcmV0\"}}"});
        let live = json!({"metadata": {"name": "a", "annotations": applied}, "data": {"k": "c2VjcmV0", "same": "b3RoZXI="}});
        let wanted =
            json!({"metadata": {"name": "a"}, "data": {"k": "cGFzcw==", "same": "b3RoZXI="}});
        let text = diff(&live, &wanted, &kinds::SECRETS).unwrap();
        for value in ["c2VjcmV0", "cGFzcw==", "b3RoZXI="] {
            assert!(!text.contains(value), "{text}");
        }
        assert!(
            text.contains("-  k: '*** (cluster)'\n+  k: '*** (backup)'\n"),
            "{text}"
        );
    }
}
