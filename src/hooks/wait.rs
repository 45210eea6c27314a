//! Runs the commands of restored pods when their containers run.
//!
//! The pods are looked at together, one list for each namespace and round, and each waits by itself: one that never runs holds up no
//! other, and has its time like all. Which pods are done with is written on them, so that a restore that is interrupted and goes on does
//! not run their commands again.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::exec::Executor;
use super::plan::PodName;
use super::report::{Level, Line, Report};
use super::restore::{AwaitedHook, InitWait, Restored};
use super::run::{PODS_AT_ONCE, Runner};
use crate::api::OnError;
use crate::cluster::{Call, Cluster, Verb, describe};

/// How often the pods are looked at.
const ROUND: Duration = Duration::from_secs(1);
/// The annotation of a pod whose restore hooks were run: by which restore.
pub const DONE: &str = "ark.heptio.com/restore-hooks-run-by";

/// Where the pods are.
pub trait Pods: Send + Sync {
    /// The pods of a namespace that the restore has put there.
    fn list<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Value>, String>>;
    /// Writes on a pod that it is done with.
    fn done<'a>(&'a self, pod: &'a PodName) -> BoxFuture<'a, ()>;
}

/// The pods of a cluster that one restore has put there.
pub struct RestoredPods {
    cluster: Cluster,
    selector: String,
    restore: String,
}

impl RestoredPods {
    /// The pods with this label of a restore; `restore` is what says which restore it was.
    pub fn new(cluster: &Cluster, label: &str, value: &str, restore: &str) -> RestoredPods {
        RestoredPods {
            cluster: cluster.clone(),
            selector: format!("{label}%3D{value}"),
            restore: restore.to_owned(),
        }
    }
}

impl Pods for RestoredPods {
    fn list<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<Value>, String>> {
        Box::pin(async move {
            let path = format!(
                "/api/v1/namespaces/{namespace}/pods?labelSelector={}",
                self.selector
            );
            let call = Call::new(Verb::List, path);
            let body = self.cluster.call(&call).await;
            let body = body.map_err(|error| describe(&error))?;
            let mut list: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
            match list["items"].take() {
                Value::Array(items) => Ok(items),
                _ => Ok(Vec::new()),
            }
        })
    }

    fn done<'a>(&'a self, pod: &'a PodName) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
            let patch = json!({ "metadata": { "annotations": { (DONE): self.restore } } });
            let call = Call::new(Verb::Patch, path)
                .with_body("application/merge-patch+json", patch.to_string());
            if let Err(error) = self.cluster.call(&call).await {
                tracing::warn!(%pod, error = describe(&error), "cannot write that its hooks were run");
            }
        })
    }
}

/// What one look at the pods has shown.
#[derive(Debug, Clone, Default)]
struct Seen {
    pods: BTreeMap<PodName, Value>,
    /// Namespaces that could be read, by now.
    read: BTreeSet<String>,
    /// Why one could not.
    error: Option<String>,
}

/// What is to be done about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Now.
    Go,
    /// Not yet.
    Wait,
    /// It was done before.
    Done,
    /// Never.
    Never(String),
}

/// Runs what is to be run in these pods, and waits for init containers that are to be waited for.
pub async fn run(
    restored: Vec<Restored>,
    restore: &str,
    pods: &dyn Pods,
    executor: Arc<dyn Executor>,
) -> Report {
    let runner = Runner::new(executor, |line| tracing::info!("{}", line.text));
    let namespaces: BTreeSet<String> = restored
        .iter()
        .map(|one| one.pod.namespace.clone())
        .collect();
    let (sender, seen) = watch::channel(Seen::default());
    let permits = Semaphore::new(PODS_AT_ONCE);
    let each =
        futures::stream::iter(&restored).for_each_concurrent(None, async |one: &Restored| {
            let waiting = Waiting {
                restored: one,
                restore,
                runner: &runner,
                permits: &permits,
            };
            if waiting.run(seen.clone()).await {
                pods.done(&one.pod).await;
            }
        });
    tokio::select! {
        () = Box::pin(each) => {}
        never = look(pods, &namespaces, &sender) => match never {},
    }
    runner.report()
}

/// Looks at the pods again and again, and never ends.
async fn look(
    pods: &dyn Pods,
    namespaces: &BTreeSet<String>,
    sender: &watch::Sender<Seen>,
) -> Infallible {
    loop {
        let mut seen = Seen::default();
        for namespace in namespaces {
            match pods.list(namespace).await {
                Ok(items) => {
                    seen.read.insert(namespace.clone());
                    for item in items {
                        let name = item["metadata"]["name"].as_str().unwrap_or_default();
                        let name = PodName {
                            namespace: namespace.clone(),
                            name: name.to_owned(),
                        };
                        seen.pods.insert(name, item);
                    }
                }
                Err(error) => seen.error = Some(error),
            }
        }
        sender.send_replace(seen);
        tokio::time::sleep(ROUND).await;
    }
}

struct Waiting<'a> {
    restored: &'a Restored,
    restore: &'a str,
    runner: &'a Runner,
    permits: &'a Semaphore,
}

impl Waiting<'_> {
    /// Whether something was run, and is not to be run again.
    async fn run(&self, mut seen: watch::Receiver<Seen>) -> bool {
        let hooks = &self.restored.hooks;
        for wait in &hooks.waits {
            let judge = |pod: &Value| initialized(pod, wait);
            match self.until(&mut seen, wait.timeout, judge).await {
                Verdict::Never(why) => {
                    self.fail(OnError::Fail, &format!("{wait}"), &why);
                    return true;
                }
                Verdict::Done => return false,
                Verdict::Go | Verdict::Wait => {
                    let text = format!("pod {}: {wait} have ended well", self.restored.pod);
                    self.runner.counted(Line::new(Level::Info, text));
                }
            }
        }
        for one in &hooks.exec {
            let judge = |pod: &Value| running(pod, one);
            let good = match self.until(&mut seen, one.wait, judge).await {
                Verdict::Never(why) => {
                    let what = format!(
                        "container {}: restore hook ({})",
                        one.hook.container, one.hook.origin
                    );
                    self.fail(one.hook.on_error, &what, &why);
                    false
                }
                Verdict::Done => return false,
                Verdict::Go | Verdict::Wait => {
                    let _permit = self.permits.acquire().await;
                    let pod = &self.restored.pod;
                    self.runner.run(pod, "restore hook", &one.hook).await
                }
            };
            if !good && one.hook.on_error == OnError::Fail {
                break;
            }
        }
        true
    }

    fn fail(&self, on_error: OnError, what: &str, why: &str) {
        let text = format!("pod {}, {what} failed: {why}", self.restored.pod);
        self.runner.remark(Line::of_hook(on_error, text));
    }

    /// Waits until it can be said what is to be done.
    async fn until(
        &self,
        seen: &mut watch::Receiver<Seen>,
        patience: Duration,
        judge: impl Fn(&Value) -> Verdict,
    ) -> Verdict {
        let deadline = self.restored.since + patience;
        loop {
            let verdict = self.judge(&seen.borrow_and_update(), &judge);
            if verdict != Verdict::Wait {
                return verdict;
            }
            let has_looked = !seen.borrow().read.is_empty() || seen.borrow().error.is_some();
            if has_looked && Instant::now() >= deadline {
                let text = format!("it was not so far {patience:?} after the pod was created");
                return Verdict::Never(match &seen.borrow().error {
                    Some(error) => format!("{text}; the pods cannot be read: {error}"),
                    None => text,
                });
            }
            if seen.changed().await.is_err() {
                return Verdict::Never("nobody looks at the pods any more".to_owned());
            }
        }
    }

    fn judge(&self, seen: &Seen, judge: &impl Fn(&Value) -> Verdict) -> Verdict {
        let name = &self.restored.pod;
        let Some(pod) = seen.pods.get(name) else {
            return match seen.read.contains(&name.namespace) {
                true => Verdict::Never("the pod is gone".to_owned()),
                false => Verdict::Wait,
            };
        };
        let uid = pod["metadata"]["uid"].as_str();
        if self
            .restored
            .uid
            .as_deref()
            .is_some_and(|own| uid != Some(own))
        {
            return Verdict::Never("the pod is gone, and another one has its name".to_owned());
        }
        if pod["metadata"]["annotations"][DONE] == self.restore {
            return Verdict::Done;
        }
        judge(pod)
    }
}

fn statuses<'p>(pod: &'p Value, name: &'p str) -> impl Iterator<Item = &'p Value> {
    ["containerStatuses", "initContainerStatuses"]
        .into_iter()
        .flat_map(|field| pod["status"][field].as_array().into_iter().flatten())
        .filter(move |status| status["name"] == name)
}

/// Whether a command can be run.
fn running(pod: &Value, one: &AwaitedHook) -> Verdict {
    if let phase @ ("Succeeded" | "Failed") = pod["status"]["phase"].as_str().unwrap_or_default() {
        return Verdict::Never(format!("the pod is {phase}"));
    }
    let fits = statuses(pod, &one.hook.container).any(|status| {
        status["state"]["running"].is_object() && (!one.ready || status["ready"] == true)
    });
    match fits {
        true => Verdict::Go,
        false => Verdict::Wait,
    }
}

/// Whether init containers have ended well.
fn initialized(pod: &Value, wait: &InitWait) -> Verdict {
    let ended = |name: &String| {
        statuses(pod, name).any(|status| status["state"]["terminated"]["exitCode"] == 0)
    };
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    match wait.containers.iter().all(ended) {
        true => Verdict::Go,
        false if phase == "Failed" => Verdict::Never("the pod is Failed".to_owned()),
        false => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use futures::FutureExt;

    use super::super::exec::{ExecError, Target};
    use super::super::output::Output;
    use super::super::plan::Hook;
    use super::super::restore::RestoredHooks;
    use super::*;

    #[derive(Default)]
    struct Fake {
        rounds: Mutex<Vec<Vec<Value>>>,
        done: Mutex<Vec<String>>,
        ran: Arc<Mutex<Vec<String>>>,
    }

    impl Pods for Fake {
        fn list<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Value>, String>> {
            let mut rounds = self.rounds.lock().unwrap();
            let now = match rounds.len() {
                1 => rounds[0].clone(),
                _ => rounds.remove(0),
            };
            async move { Ok(now) }.boxed()
        }

        fn done<'a>(&'a self, pod: &'a PodName) -> BoxFuture<'a, ()> {
            self.done.lock().unwrap().push(pod.name.clone());
            async {}.boxed()
        }
    }

    struct Noting(Arc<Mutex<Vec<String>>>);

    impl Executor for Noting {
        fn exec<'a>(
            &'a self,
            target: &'a Target,
            command: &'a [String],
            _: &'a Output,
        ) -> BoxFuture<'a, Result<(), ExecError>> {
            let text = format!("{} {}", target.pod.name, command.join(" "));
            self.0.lock().unwrap().push(text);
            async { Ok(()) }.boxed()
        }
    }

    fn restored(name: &str, wait: u64, ready: bool) -> Restored {
        let hook = Hook {
            container: "main".to_owned(),
            command: vec!["load".to_owned()],
            on_error: OnError::Fail,
            timeout: Duration::from_secs(1),
            origin: "test".to_owned(),
        };
        Restored {
            pod: PodName {
                namespace: "n".to_owned(),
                name: name.to_owned(),
            },
            uid: Some(format!("uid-{name}")),
            since: Instant::now(),
            hooks: RestoredHooks {
                exec: vec![AwaitedHook {
                    hook,
                    wait: Duration::from_secs(wait),
                    ready,
                }],
                ..RestoredHooks::default()
            },
        }
    }

    fn pod(name: &str, state: Value, ready: bool) -> Value {
        json!({
            "metadata": { "name": name, "uid": format!("uid-{name}") },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "main", "state": state, "ready": ready }] },
        })
    }

    #[tokio::test]
    async fn each_pod_waits_by_itself() {
        let up = || json!({ "running": {} });
        let down = || json!({ "waiting": {} });
        let mut done = pod("done", up(), true);
        done["metadata"]["annotations"][DONE] = json!("r");
        let other = json!({ "metadata": { "name": "other", "uid": "new" } });
        let ended = json!({ "metadata": { "name": "ended", "uid": "uid-ended" }, "status": { "phase": "Succeeded" } });
        let before = vec![
            pod("now", up(), false),
            pod("later", up(), false),
            pod("never", down(), false),
            done,
            other,
            ended,
        ];
        let mut after = before.clone();
        after[1] = pod("later", up(), true);
        let fake = Fake {
            rounds: Mutex::new(vec![before, after]),
            ..Fake::default()
        };
        let all = vec![
            restored("never", 2, false),
            restored("now", 60, false),
            restored("later", 60, true),
            restored("done", 60, false),
            restored("gone", 60, false),
            restored("other", 60, false),
            restored("ended", 60, false),
        ];
        let executor = Arc::new(Noting(Arc::clone(&fake.ran)));
        let report = run(all, "r", &fake, executor).await;
        assert_eq!(*fake.ran.lock().unwrap(), ["now load", "later load"]);
        assert_eq!(report.counts.hooks_attempted, 6);
        assert_eq!(report.counts.hooks_failed, 4);
        let text: Vec<&str> = report.failures().map(|line| line.text.as_str()).collect();
        for part in [
            "pod n/never, container main: restore hook (test) failed: it was not so far 2s after",
            "pod n/gone, container main: restore hook (test) failed: the pod is gone",
            "another one has its name",
            "the pod is Succeeded",
        ] {
            assert!(
                text.iter().any(|line| line.contains(part)),
                "{part}: {text:?}"
            );
        }
        assert!(!fake.done.lock().unwrap().contains(&"done".to_owned()));
        assert!(fake.done.lock().unwrap().contains(&"now".to_owned()));
    }

    #[test]
    fn init_containers_are_done_when_they_ended_well() {
        let wait = InitWait {
            containers: vec!["a".to_owned(), "b".to_owned()],
            timeout: Duration::from_secs(1),
        };
        let with = |a: Value, b: Value, phase: &str| {
            let pod = json!({ "status": { "phase": phase, "initContainerStatuses": [
                { "name": "a", "state": a }, { "name": "b", "state": b } ] } });
            initialized(&pod, &wait)
        };
        let (good, bad) = (
            json!({ "terminated": { "exitCode": 0 } }),
            json!({ "terminated": { "exitCode": 1 } }),
        );
        assert_eq!(with(good.clone(), good.clone(), "Running"), Verdict::Go);
        assert_eq!(with(good.clone(), bad.clone(), "Pending"), Verdict::Wait);
        assert!(matches!(with(good, bad, "Failed"), Verdict::Never(_)));
    }
}
