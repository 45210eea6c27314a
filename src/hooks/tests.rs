//! What is run where, in which order, and what becomes of it: with pods and commands as values.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::BackupHooks;
use crate::cluster::discovery::sample;

fn rules(resources: serde_json::Value) -> Result<Rules, String> {
    let hooks: BackupHooks = serde_json::from_value(json!({ "resources": resources })).unwrap();
    let mut errors = Vec::new();
    let rules = Rules::read(Some(&hooks), &sample(), &mut errors);
    match errors.as_slice() {
        [] => Ok(rules),
        errors => Err(errors
            .iter()
            .map(|e| format!("{e}; {}\n", e.hint()))
            .collect()),
    }
}

fn pod(name: &str, annotations: &[(&str, &str)]) -> Pod {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    let raw = json!({
        "metadata": { "namespace": "shop", "name": name, "labels": { "app": name }, "annotations": annotations },
        "spec": { "containers": [{ "name": "main" }, { "name": "db" }],
            "initContainers": [{ "name": "once" }, { "name": "beside", "restartPolicy": "Always" }] },
        "status": { "phase": "Running" },
    });
    Pod::parse(&raw.to_string()).unwrap()
}

fn exec(words: &[&str]) -> serde_json::Value {
    json!({ "exec": { "command": words } })
}

#[test]
fn a_spec_says_which_pods() {
    let rules = rules(json!([
        { "name": "all", "includedNamespaces": ["sh*"], "excludedNamespaces": ["shed"], "pre": [exec(&["one"])] },
        { "name": "web", "labelSelector": { "matchLabels": { "app": "web" } }, "includedResources": ["po"],
          "pre": [exec(&["two"]), { "exec": { "command": ["three"], "container": "db", "onError": "Continue", "timeout": "5s" } }],
          "post": [exec(&["four"])] },
    ]))
    .unwrap();
    let (web, api) = (pod("web", &[]), pod("api", &[]));
    let mut elsewhere = pod("web", &[]);
    elsewhere.name.namespace = "shed".to_owned();
    let plan = Plan::of([&web, &api, &elsewhere], &rules);
    let words = |hooks: &[Hook]| -> Vec<String> { hooks.iter().map(Hook::shown).collect() };
    let said: Vec<_> = plan
        .pods
        .iter()
        .map(|pod| (pod.pod.to_string(), words(&pod.pre), words(&pod.post)))
        .collect();
    let own = |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
    assert_eq!(
        said,
        [
            (
                "shed/web".to_owned(),
                own(&["two", "three"]),
                own(&["four"])
            ),
            ("shop/api".to_owned(), own(&["one"]), own(&[])),
            (
                "shop/web".to_owned(),
                own(&["one", "two", "three"]),
                own(&["four"])
            ),
        ]
    );
    let three = &plan.pods[2].pre[2];
    assert_eq!(
        (three.container.as_str(), three.timeout),
        ("db", Duration::from_secs(5))
    );
    let one = &plan.pods[1].pre[0];
    assert_eq!(
        (one.container.as_str(), one.timeout),
        ("main", Duration::from_secs(30))
    );
    let due: Vec<String> = plan.due().map(ToString::to_string).collect();
    assert_eq!(due, ["shed/web", "shop/web"]);
    let text = plan.to_string();
    assert!(text.contains("pre hook in pod shop/web, container db: three (hook web of the spec; Continue on error, within 5s)"), "{text}");
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["pods"][1]["pre"][0]["timeoutSeconds"], 30.0);
}

#[test]
fn what_is_wrong_with_a_spec_is_told_at_once() {
    let errors = rules(json!([
        { "name": "a", "includedNamespaces": ["[x"], "labelSelector": { "matchExpressions": [{ "key": "k", "operator": "Near" }] } },
        { "name": "b", "includedResources": ["deployments"] },
        { "name": "c", "excludedResources": ["pods"] },
        { "name": "d", "includedResources": ["podz"] },
        { "name": "e", "pre": [exec(&[""])] },
    ]))
    .unwrap_err();
    for part in [
        "hook a: includedNamespaces: '['",
        "hook a: labelSelector: \"Near\"",
        "hook b is for no pods",
        "hook c is for no pods",
        "hook d: includedResources: ",
        "hook e: a command is empty",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
}

#[test]
fn annotations_take_the_place_of_the_spec_stage_by_stage() {
    let rules =
        rules(json!([{ "name": "s", "pre": [exec(&["spec"])], "post": [exec(&["spec"])] }]))
            .unwrap();
    let annotated = pod("web", &[("pre.hook.backup.velero.io/command", "own")]);
    let plan = Plan::of([&annotated], &rules);
    assert_eq!(plan.pods[0].pre[0].shown(), "own");
    assert_eq!(
        plan.pods[0].pre[0].origin,
        "annotation pre.hook.backup.velero.io/command"
    );
    assert_eq!(plan.pods[0].post[0].shown(), "spec");
}

fn levels(plan: &Plan) -> Vec<(Level, bool)> {
    plan.remarks
        .iter()
        .map(|line| (line.level, line.failed))
        .collect()
}

/// Nobody freezes what cannot be thawed.
#[test]
fn a_pod_whose_post_hook_cannot_be_run_gets_no_pre_hook() {
    let pre = ("pre.hook.backup.velero.io/command", "freeze");
    let post = ("post.hook.backup.velero.io/command", "thaw");
    for wrong in [
        ("post.hook.backup.velero.io/container", "gone"),
        ("post.hook.backup.velero.io/container", "once"),
        ("post.hook.backup.velero.io/timeout", "soon"),
    ] {
        let plan = Plan::of([&pod("web", &[pre, post, wrong])], &Rules::default());
        assert!(plan.pods.is_empty(), "{plan}");
        assert_eq!(levels(&plan)[0], (Level::Error, true));
        assert!(plan.to_string().contains("pod shop/web: "), "{plan}");
    }
    // Continue says what that means for the backup, not that the pod may stay frozen.
    let relaxed = ("post.hook.backup.velero.io/on-error", "Continue");
    let gone = ("post.hook.backup.velero.io/container", "gone");
    let empty = ("post.hook.backup.velero.io/command", " ");
    let alone = ("post.hook.backup.velero.io/timeout", "5s");
    for (said, level) in [
        (vec![pre, post, gone, relaxed], Level::Warning),
        (vec![pre, empty], Level::Error),
        (vec![pre, alone], Level::Error),
        (vec![pre, empty, relaxed], Level::Warning),
    ] {
        let plan = Plan::of([&pod("web", &said)], &Rules::default());
        assert!(plan.pods.is_empty(), "{plan}");
        let last = levels(&plan).pop();
        assert_eq!(last, Some((level, true)), "{plan}");
        assert!(plan.to_string().contains("none of its hooks is run"));
    }
    let relaxed_rule = json!({ "command": ["thaw"], "container": "gone", "onError": "Continue" });
    let rules = rules(json!([
        { "name": "s", "pre": [exec(&["freeze"])], "post": [exec(&["one"]), { "exec": relaxed_rule }] },
    ]))
    .unwrap();
    let plan = Plan::of([&pod("web", &[])], &rules);
    assert!(plan.pods.is_empty(), "{plan}");
    // Nothing is frozen without a pre hook; and what another prefix says does no harm.
    let plan = Plan::of([&pod("web", &[post, relaxed])], &Rules::default());
    assert_eq!(plan.pods[0].post.len(), 1);
    let twice = [
        pre,
        post,
        ("post.hook.backup.ark.heptio.com/command", "ours"),
    ];
    let plan = Plan::of([&pod("web", &twice)], &Rules::default());
    assert_eq!((plan.pods[0].pre.len(), plan.pods[0].post.len()), (1, 1));
    let misspelt = [pre, ("pst.hook.backup.velero.io/command", "thaw")];
    let plan = Plan::of([&pod("web", &misspelt)], &Rules::default());
    assert_eq!(levels(&plan), [(Level::Warning, false)]);
    assert!(
        plan.to_string()
            .contains("pst.hook.backup.velero.io/command is of no kind"),
        "{plan}"
    );
    let beside = [pre, ("pre.hook.backup.velero.io/container", "beside")];
    let plan = Plan::of([&pod("web", &beside)], &Rules::default());
    assert_eq!(plan.pods[0].pre[0].container, "beside");
}

#[test]
fn in_a_pod_that_does_not_run_nothing_is_run() {
    let pre = [("pre.hook.backup.velero.io/command", "freeze")];
    for (phase, level) in [
        ("Pending", Level::Warning),
        ("Unknown", Level::Warning),
        ("Succeeded", Level::Info),
        ("Failed", Level::Info),
    ] {
        let mut pod = pod("web", &pre);
        pod.phase = phase.to_owned();
        let plan = Plan::of([&pod], &Rules::default());
        assert!(plan.pods.is_empty());
        assert_eq!(levels(&plan), [(level, false)]);
        let text = format!("pod shop/web is {phase}: its hooks are not run");
        assert_eq!(plan.remarks[0].text, text);
    }
    let mut without = pod("web", &[]);
    without.phase = "Pending".to_owned();
    assert!(Plan::of([&without], &Rules::default()).is_empty());
}

/// Does what the command's first word says, and notes it.
#[derive(Clone, Default)]
struct Scripted {
    done: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
}

impl Executor for Scripted {
    fn exec<'a>(
        &'a self,
        target: &'a Target,
        command: &'a [String],
        output: &'a Output,
    ) -> BoxFuture<'a, Result<(), ExecError>> {
        async move {
            let word = command[0].as_str();
            let text = format!("{} {word}", target.pod.name);
            self.done.lock().unwrap().push(text);
            match word {
                "fail" => {
                    output.stderr(b"no\n");
                    return Err(ExecError::Exit(3));
                }
                "hang" => {
                    output.stdout(b"before\n");
                    std::future::pending::<()>().await;
                }
                "kubelet" => {
                    let tries = self.done.lock().unwrap().len();
                    if tries < 10 {
                        return Err(ExecError::Faltered("error dialing backend".to_owned()));
                    }
                }
                "away" => return Err(ExecError::Unreachable("no route".to_owned())),
                "lost" => return Err(ExecError::Lost("reset".to_owned())),
                "stop" => self.stop.cancel(),
                _ => {}
            }
            Ok(())
        }
        .boxed()
    }
}

fn hook(word: &str, on_error: &str) -> serde_json::Value {
    json!({ "exec": { "command": [word], "onError": on_error, "timeout": "1s" } })
}

async fn ran(pods: &[Pod], pre: &[(&str, &str)], post: &[(&str, &str)]) -> (Vec<String>, Report) {
    let hooks = |all: &[(&str, &str)]| -> Vec<serde_json::Value> {
        all.iter()
            .map(|(word, on_error)| hook(word, on_error))
            .collect()
    };
    let rules = rules(json!([{ "name": "s", "pre": hooks(pre), "post": hooks(post) }])).unwrap();
    let scripted = Scripted::default();
    let executor = Arc::new(scripted.clone());
    let run = Run::new(Plan::of(pods, &rules), executor, |_| {});
    run.pre(&scripted.stop).await;
    run.post().await;
    // Once is enough.
    run.post().await;
    let done = scripted.done.lock().unwrap().clone();
    (done, run.report())
}

fn counts(report: &Report) -> (u64, u64) {
    (report.counts.hooks_attempted, report.counts.hooks_failed)
}

#[tokio::test]
async fn one_after_the_other_and_the_post_hooks_whatever_happens() {
    let web = [pod("web", &[])];
    let (done, report) = ran(
        &web,
        &[("a", "Fail"), ("fail", "Fail"), ("b", "Fail")],
        &[("fail", "Fail"), ("c", "Fail")],
    )
    .await;
    assert_eq!(done, ["web a", "web fail", "web fail", "web c"]);
    assert_eq!(counts(&report), (4, 2));
    let errors = report
        .lines
        .iter()
        .filter(|line| line.level == Level::Error);
    assert_eq!(errors.count(), 2);
    let texts: Vec<&str> = report.lines.iter().map(|line| line.text.as_str()).collect();
    assert!(
        texts[1].contains("pod shop/web, container main: pre hook (hook s of the spec) failed"),
        "{texts:?}"
    );
    assert!(texts[1].contains("exit code 3: fail"), "{texts:?}");
    assert_eq!(texts[2], "pod shop/web, container main: stderr: no");

    let (done, report) = ran(&web, &[("fail", "Continue"), ("b", "Fail")], &[]).await;
    assert_eq!(done, ["web fail", "web b"]);
    assert_eq!(counts(&report), (2, 1));
    assert_eq!(report.lines[0].level, Level::Warning);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_hangs_and_what_is_lost_is_said() {
    let web = [pod("web", &[])];
    let (done, report) = ran(
        &web,
        &[("hang", "Continue"), ("lost", "Fail")],
        &[("away", "Fail")],
    )
    .await;
    assert_eq!(done[..2], ["web hang", "web lost"]);
    // What was not begun is tried again, a post hook for longer than it may take.
    assert!(
        done.len() > 3 && done[2..].iter().all(|word| word == "web away"),
        "{done:?}"
    );
    assert_eq!(counts(&report), (3, 3));
    let text = |at: usize| report.lines[at].text.as_str();
    assert!(text(0).contains("it had not ended after 1s"), "{}", text(0));
    assert_eq!(text(1), "pod shop/web, container main: stdout: before");
    assert!(
        text(2).contains("the connection was lost while it ran"),
        "{}",
        text(2)
    );
    assert!(
        text(3).contains("could not be reached: no route"),
        "{}",
        text(3)
    );
}

/// A kubelet that is away for a while: pre hooks fail, what is frozen is thawed when it is back.
#[tokio::test(start_paused = true)]
async fn a_post_hook_that_could_not_be_begun_is_tried_again() {
    let web = [pod("web", &[])];
    let (done, report) = ran(&web, &[("kubelet", "Fail")], &[("kubelet", "Fail")]).await;
    assert_eq!((done.len(), counts(&report)), (10, (2, 1)), "{report:?}");
    let not = ExecError::NotStarted("exec: \"x\": executable file not found in $PATH".to_owned());
    assert!(!not.was_not_begun() && !ExecError::Exit(1).was_not_begun());
    assert!(!ExecError::Lost(String::new()).was_not_begun());
}

/// What is stopped runs the post hooks of those whose turn had come, and begins no others.
#[tokio::test]
async fn a_backup_that_is_stopped_thaws_what_it_froze() {
    let many: Vec<Pod> = (0..100).map(|n| pod(&format!("p{n:03}"), &[])).collect();
    let (done, _) = ran(
        &many,
        &[("stop", "Fail"), ("more", "Fail")],
        &[("thaw", "Fail")],
    )
    .await;
    assert!(!done.iter().any(|text| text.ends_with("more")), "{done:?}");
    let of = |word: &str| {
        let mut pods: Vec<&str> = done
            .iter()
            .filter_map(|text| text.strip_suffix(word))
            .collect();
        pods.sort_unstable();
        pods
    };
    assert_eq!(of(" stop"), of(" thaw"));
    assert!(!of(" thaw").is_empty() && of(" thaw").len() < many.len());
}

/// An interrupted run's pods are thawed even if their pre hooks make no sense any more.
#[test]
fn what_was_begun_is_ended_whatever_the_pre_hooks_say_now() {
    let changed = pod(
        "web",
        &[
            ("pre.hook.backup.velero.io/command", "[broken"),
            ("post.hook.backup.velero.io/command", "thaw"),
        ],
    );
    let plan = Plan::afterwards([&changed], &Rules::default());
    assert!(plan.remarks.is_empty());
    assert_eq!((plan.pods[0].pre.len(), plan.pods[0].post.len()), (0, 1));
}
