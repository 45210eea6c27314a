//! Hooks of restored pods: decided from the pod as it will be created, and the spec.
//!
//! An init hook puts containers into the pod, before those that it has, so that they run first. A pod whose init hook makes no sense is
//! not created: what the hook was to prepare would be missing, and nobody would see it. A command in a container ([`AwaitedHook`]) is
//! run when the container runs ([`super::wait`]).
//!
//! Namespaces and labels of a hook are those of the backup, as in all filters of a restore.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use serde::Serialize;
use serde_json::Value;

use super::annotations::{self, INIT_RESTORE, MARK_RESTORE, POST_RESTORE};
use super::operation;
use super::plan::{Hook, PodName, TIMEOUT};
use super::pods::Pod;
use super::report::{Level, Line};
use super::rules::{HookError, Selection, Written};
use crate::api::{GoDuration, RestoreExecHook, RestoreHooks, RestoreResourceHooks};
use crate::cluster::Discovery;

/// How long a container may take until it runs, if nothing else is said.
pub const WAIT: Duration = Duration::from_secs(600);

/// A command in a container of a restored pod, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwaitedHook {
    /// The command.
    #[serde(flatten)]
    pub hook: Hook,
    /// How long after the pod was created the container may take.
    #[serde(skip)]
    pub wait: Duration,
    /// Whether the container must be ready, and not only run.
    pub ready: bool,
}

/// Init containers that are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitWait {
    /// Their names.
    pub containers: Vec<String>,
    /// How long after the pod was created.
    #[serde(skip)]
    pub timeout: Duration,
}

/// The hooks of one restored pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredHooks {
    /// Containers to put into it.
    pub init: Vec<Value>,
    /// Which of them are waited for.
    pub waits: Vec<InitWait>,
    /// What is run in it.
    pub exec: Vec<AwaitedHook>,
    /// What is not, and why.
    pub remarks: Vec<Line>,
}

impl RestoredHooks {
    /// Whether there is nothing to do once the pod is there.
    pub fn is_done(&self) -> bool {
        self.waits.is_empty() && self.exec.is_empty()
    }
}

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    selection: Selection,
    exec: Vec<RestoreExecHook>,
    init: Vec<(Vec<Value>, Option<Duration>)>,
}

/// The hooks of a Restore's spec.
#[derive(Debug, Clone, Default)]
pub struct RestoreRules(Vec<Rule>);

impl RestoreRules {
    /// Reads them; everything that is wrong is told at once.
    pub fn read(
        spec: Option<&RestoreHooks>,
        discovery: &Discovery,
    ) -> Result<RestoreRules, Vec<HookError>> {
        let mut errors = Vec::new();
        if let Some(hooks) = spec {
            errors.extend(operation::check(hooks.before.iter().chain(&hooks.after)));
        }
        let resources = spec.map(|hooks| hooks.resources.as_slice());
        let mut rules = Vec::new();
        for written in resources.unwrap_or_default() {
            let hook = || written.name.clone();
            let selection = Selection::read(&of(written), discovery, &mut errors);
            let (mut exec, mut init) = (Vec::new(), Vec::new());
            for one in &written.post_hooks {
                if let Some(command) = &one.exec {
                    let program = command.command.first();
                    if program.is_none_or(|word| word.is_empty()) {
                        errors.push(HookError::NoCommand { hook: hook() });
                    }
                    exec.push(command.clone());
                }
                if let Some(containers) = &one.init {
                    for container in &containers.init_containers {
                        if let Err(why) = checked(container) {
                            errors.push(HookError::Container { hook: hook(), why });
                        }
                    }
                    init.push((containers.init_containers.clone(), time(containers.timeout)));
                }
            }
            rules.push(Rule {
                name: written.name.clone(),
                selection,
                exec,
                init,
            });
        }
        match errors.is_empty() {
            true => Ok(RestoreRules(rules)),
            false => Err(errors),
        }
    }

    fn of<'a>(&'a self, namespace: &'a str, pod: &'a Pod) -> impl Iterator<Item = &'a Rule> {
        self.0
            .iter()
            .filter(move |rule| rule.selection.takes(namespace, pod.label_pairs()))
    }
}

fn of(written: &RestoreResourceHooks) -> Written<'_> {
    Written {
        name: &written.name,
        included_namespaces: &written.included_namespaces,
        excluded_namespaces: &written.excluded_namespaces,
        included_resources: &written.included_resources,
        excluded_resources: &written.excluded_resources,
        label_selector: written.label_selector.as_ref(),
    }
}

fn time(time: Option<GoDuration>) -> Option<Duration> {
    let time = time.and_then(|time| Duration::try_from(time.0).ok());
    time.filter(|time| !time.is_zero())
}

/// The name of a container that can be one.
fn checked(container: &Value) -> Result<String, String> {
    let read: Container =
        serde_json::from_value(container.clone()).map_err(|error| error.to_string())?;
    match (read.name.as_str(), read.image.as_deref()) {
        ("", _) => Err("it has no name".to_owned()),
        (name, None | Some("")) => Err(format!("{name} has no image")),
        (name, _) => Ok(name.to_owned()),
    }
}

/// The hooks of a pod that was in that namespace of the backup; `None` if it has none. An error means that the pod is not to be
/// created as it is.
pub fn decide(
    object: &Value,
    namespace: &str,
    rules: &RestoreRules,
) -> Result<Option<RestoredHooks>, String> {
    let annotations = object["metadata"]["annotations"].as_object();
    let mut names = annotations.into_iter().flat_map(|all| all.keys());
    if rules.0.is_empty() && !names.any(|name| name.contains(MARK_RESTORE)) {
        return Ok(None);
    }
    let pod = Pod::parse(&object.to_string()).map_err(|error| error.to_string())?;
    let mut hooks = RestoredHooks::default();
    init(&pod, namespace, rules, &mut hooks)?;
    let names: Vec<&str> = hooks
        .init
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    let there = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| {
            let containers = object["spec"][field].as_array();
            containers
                .into_iter()
                .flatten()
                .filter_map(|c| c["name"].as_str())
        });
    let mut known: Vec<&str> = there.collect();
    for name in names {
        if known.contains(&name) {
            return Err(format!(
                "init hook: the pod has a container {name:?} already"
            ));
        }
        known.push(name);
    }
    exec(&pod, namespace, rules, &mut hooks);
    Ok(Some(hooks))
}

/// Puts the init containers of hooks into a pod, before its own.
pub fn put(object: &mut Value, hooks: &RestoredHooks) {
    if hooks.init.is_empty() {
        return;
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let own = spec.remove("initContainers");
    let own = own.and_then(|own| match own {
        Value::Array(own) => Some(own),
        _ => None,
    });
    let all = hooks.init.iter().cloned().chain(own.into_iter().flatten());
    spec.insert("initContainers".to_owned(), all.collect());
}

fn init(
    pod: &Pod,
    namespace: &str,
    rules: &RestoreRules,
    hooks: &mut RestoredHooks,
) -> Result<(), String> {
    let said = annotations::restore_init(&pod.annotations, &INIT_RESTORE);
    let remark = |text: String| Line::new(Level::Warning, format!("pod {}: {text}", pod.name));
    hooks.remarks.extend(said.unused.into_iter().map(remark));
    if !said.errors.is_empty() {
        return Err(said.errors.join("; "));
    }
    if let Some(stated) = said.hook {
        hooks.waits.extend(stated.timeout.map(|timeout| InitWait {
            containers: vec![stated.name.clone()],
            timeout,
        }));
        hooks.init.push(serde_json::json!({
            "name": stated.name, "image": stated.image, "command": stated.command,
        }));
        return Ok(());
    }
    for (containers, timeout) in rules.of(namespace, pod).flat_map(|rule| &rule.init) {
        let names = containers.iter().filter_map(|c| c["name"].as_str());
        hooks.waits.extend(timeout.map(|timeout| InitWait {
            containers: names.map(str::to_owned).collect(),
            timeout,
        }));
        hooks.init.extend(containers.iter().cloned());
    }
    Ok(())
}

fn exec(pod: &Pod, namespace: &str, rules: &RestoreRules, hooks: &mut RestoredHooks) {
    let said = annotations::restore_exec(&pod.annotations, &POST_RESTORE);
    let say = |level| move |text: String| Line::new(level, format!("pod {}: {text}", pod.name));
    hooks
        .remarks
        .extend(said.unused.into_iter().map(say(Level::Warning)));
    if !said.errors.is_empty() {
        hooks
            .remarks
            .extend(said.errors.into_iter().map(say(Level::Error)));
        return;
    }
    let stated: Vec<(RestoreExecHook, String)> = match said.hook {
        Some(stated) => vec![(stated.exec, format!("annotation {}", stated.annotation))],
        None => rules
            .of(namespace, pod)
            .flat_map(|rule| {
                let origin = format!("hook {} of the spec", rule.name);
                rule.exec
                    .iter()
                    .map(move |exec| (exec.clone(), origin.clone()))
            })
            .collect(),
    };
    for (exec, origin) in stated {
        let on_error = exec.on_error.unwrap_or(annotations::RESTORE_ON_ERROR);
        let found = match &exec.container {
            Some(name) => pod.containers.iter().find(|known| *known == name),
            None => pod.containers.first(),
        };
        let Some(container) = found else {
            let text = format!(
                "pod {}: restore hook ({origin}) cannot be run: there is no container {:?}; there are {}",
                pod.name,
                exec.container.unwrap_or_default(),
                pod.containers.join(", ")
            );
            hooks.remarks.push(Line::of_hook(on_error, text));
            continue;
        };
        hooks.exec.push(AwaitedHook {
            hook: Hook {
                container: container.clone(),
                command: exec.command,
                on_error,
                timeout: time(exec.exec_timeout).unwrap_or(TIMEOUT),
                origin,
            },
            wait: time(exec.wait_timeout).unwrap_or(WAIT),
            ready: exec.wait_for_ready.unwrap_or(false),
        });
    }
}

/// A restored pod with something to do in it.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The pod.
    pub pod: PodName,
    /// Its uid in the cluster.
    pub uid: Option<String>,
    /// When this process saw it created.
    pub since: std::time::Instant,
    /// What to do.
    pub hooks: RestoredHooks,
}

impl fmt::Display for InitWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "init containers {}", self.containers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::api::OnError;
    use crate::cluster::discovery::sample;

    fn rules(resources: Value) -> Result<RestoreRules, String> {
        let hooks: RestoreHooks =
            serde_json::from_value(json!({ "resources": resources })).unwrap();
        RestoreRules::read(Some(&hooks), &sample()).map_err(|errors| {
            errors
                .iter()
                .map(|e| format!("{e}; {}\n", e.hint()))
                .collect()
        })
    }

    fn pod(annotations: Value) -> Value {
        json!({
            "metadata": { "namespace": "new", "name": "db", "labels": { "app": "db" }, "annotations": annotations },
            "spec": { "containers": [{ "name": "main" }, { "name": "side" }], "initContainers": [{ "name": "own" }] },
        })
    }

    #[test]
    fn a_pod_gets_its_init_containers_first() {
        let rules = rules(json!([{ "name": "prepare", "includedNamespaces": ["shop"], "postHooks": [
            { "init": { "initContainers": [{ "name": "fetch", "image": "busybox" }], "timeout": "5m" } },
            { "exec": { "command": ["load"], "container": "side", "waitForReady": true, "waitTimeout": "1m", "onError": "Continue" } },
        ] }]))
        .unwrap();
        let mut object = pod(json!({}));
        // By the namespace in the backup.
        assert_eq!(
            decide(&object, "new", &rules).unwrap().unwrap(),
            RestoredHooks::default()
        );
        let hooks = decide(&object, "shop", &rules).unwrap().unwrap();
        put(&mut object, &hooks);
        assert_eq!(
            object["spec"]["initContainers"],
            json!([{ "name": "fetch", "image": "busybox" }, { "name": "own" }])
        );
        assert_eq!(hooks.waits[0].containers, ["fetch"]);
        let exec = &hooks.exec[0];
        assert_eq!((exec.hook.container.as_str(), exec.ready), ("side", true));
        assert_eq!(
            (exec.wait, exec.hook.timeout),
            (Duration::from_secs(60), TIMEOUT)
        );
        assert_eq!(exec.hook.on_error, OnError::Continue);
    }

    #[test]
    fn annotations_take_the_place_of_the_spec() {
        let rules = rules(json!([{ "name": "s", "postHooks": [
            { "init": { "initContainers": [{ "name": "fetch", "image": "busybox" }] } },
            { "exec": { "command": ["load"] } },
        ] }]))
        .unwrap();
        let annotated = pod(json!({
            "init.hook.restore.velero.io/container-image": "busybox",
            "init.hook.restore.velero.io/command": "[\"a\"]",
            "post.hook.restore.ark.heptio.com/command": "own",
            "post.hook.restore.ark.heptio.com/wait-for-ready": "true",
            "post.hook.restore.ark.heptio.com/exec-timeout": "2s",
            "post.hook.restore.ark.heptio.com/wait-timeout": "3s",
        }));
        let hooks = decide(&annotated, "shop", &rules).unwrap().unwrap();
        assert_eq!(
            hooks.init,
            [json!({ "name": "ark-init-hook", "image": "busybox", "command": ["a"] })]
        );
        assert!(hooks.waits.is_empty());
        let exec = &hooks.exec[0];
        assert_eq!(exec.hook.command, ["own"]);
        assert_eq!(
            (exec.hook.timeout, exec.wait),
            (Duration::from_secs(2), Duration::from_secs(3))
        );
        assert!(exec.ready);
        assert_eq!(
            decide(&pod(json!({})), "shop", &RestoreRules::default()).unwrap(),
            None
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let errors = rules(json!([
            { "name": "a", "postHooks": [{ "init": { "initContainers": [{ "name": "x" }] } }] },
            { "name": "b", "postHooks": [{ "init": { "initContainers": [{ "image": "x" }] } }] },
            { "name": "c", "postHooks": [{ "exec": { "command": [""] } }] },
        ]))
        .unwrap_err();
        for part in [
            "hook a: an init container cannot be used: x has no image",
            "hook b: ",
            "hook c: a command is empty",
        ] {
            assert!(errors.contains(part), "{errors}");
        }
        let none = RestoreRules::default();
        let said = |annotations: Value| decide(&pod(annotations), "shop", &none).unwrap_err();
        assert!(
            said(json!({ "init.hook.restore.velero.io/command": "a" })).contains("container-image")
        );
        assert!(
            said(json!({
                "init.hook.restore.velero.io/command": "a",
                "init.hook.restore.velero.io/container-image": "b",
                "init.hook.restore.velero.io/container-name": "own",
            }))
            .contains("has a container \"own\" already")
        );
        // The pod is as it should be; what is to be run in it is not.
        let lost = pod(json!({
            "post.hook.restore.velero.io/command": "a",
            "post.hook.restore.velero.io/container": "gone",
        }));
        let hooks = decide(&lost, "shop", &none).unwrap().unwrap();
        assert!(hooks.exec.is_empty() && hooks.remarks[0].failed);
        let odd = pod(json!({
            "post.hook.restore.velero.io/command": "a",
            "post.hook.restore.velero.io/wait-for-ready": "perhaps",
        }));
        let hooks = decide(&odd, "shop", &none).unwrap().unwrap();
        assert!(hooks.exec.is_empty());
        assert!(
            hooks.remarks[0].text.contains("neither true nor false"),
            "{:?}",
            hooks.remarks
        );
    }
}
