//! Which commands are run in which pods: decided from pods and rules alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::annotations::{self, POST_BACKUP, PRE_BACKUP, Said};
use super::pods::Pod;
use super::report::{Level, Line};
use super::rules::Rules;
use crate::api::OnError;

/// How long a command of a backup may take if nothing else is said: as in Velero.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a command is shown.
const SHOWN: usize = 200;

/// A pod by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for PodName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for PodName {
    type Err = ();

    fn from_str(text: &str) -> Result<PodName, ()> {
        let (namespace, name) = text.split_once('/').ok_or(())?;
        Ok(PodName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before a backup reads anything.
    Pre,
    /// After it has read everything.
    Post,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Pre => "pre hook",
            Stage::Post => "post hook",
        })
    }
}

/// One command in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What a failure means.
    pub on_error: OnError,
    /// How long it may take.
    #[serde(serialize_with = "seconds", rename = "timeoutSeconds")]
    pub timeout: Duration,
    /// Who asks for it.
    pub origin: String,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Hook {
    /// The command as people read it, not too long.
    pub fn shown(&self) -> String {
        let mut text = self.command.join(" ").replace(char::is_control, " ");
        if let Some((end, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

/// What is run in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodHooks {
    /// The pod.
    pub pod: PodName,
    /// Before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre: Vec<Hook>,
    /// After.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<Hook>,
}

/// Which commands are run in which pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The pods in which something is run, in the order of their names.
    pub pods: Vec<PodHooks>,
    /// What is not run, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Line>,
}

impl Plan {
    /// Whether there is nothing to run and nothing to say.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.remarks.is_empty()
    }

    /// The pods in which something is to be run afterwards.
    pub fn due(&self) -> impl Iterator<Item = &PodName> {
        let due = self.pods.iter().filter(|pod| !pod.post.is_empty());
        due.map(|pod| &pod.pod)
    }

    /// Decides for these pods.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Pod>, rules: &Rules) -> Plan {
        let mut plan = Plan::default();
        for pod in pods {
            plan.add(pod, rules);
        }
        plan.pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        plan
    }

    /// The post hooks alone, for pods whose turn had come before. What is wrong with their pre hooks is no matter.
    pub fn afterwards<'a>(pods: impl IntoIterator<Item = &'a Pod>, rules: &Rules) -> Plan {
        let mut plan = Plan::default();
        for pod in pods {
            let mut remarks = Vec::new();
            let (post, _) = stage(pod, Stage::Post, rules, &mut remarks);
            plan.remarks.append(&mut remarks);
            if pod.is_running() && !post.is_empty() {
                plan.pods.push(PodHooks {
                    pod: pod.name.clone(),
                    pre: Vec::new(),
                    post,
                });
            }
        }
        plan
    }

    fn add(&mut self, pod: &Pod, rules: &Rules) {
        let mut remarks = Vec::new();
        let unknown = annotations::unknown(&pod.annotations);
        let say = |text| Line::new(Level::Warning, format!("pod {}: {text}", pod.name));
        remarks.extend(unknown.into_iter().map(say));
        let (pre, _) = stage(pod, Stage::Pre, rules, &mut remarks);
        let (post, missing) = stage(pod, Stage::Post, rules, &mut remarks);
        let hooks = pre.len() + post.len();
        let wrong = remarks.iter().any(|line| line.level == Level::Error);
        // What is frozen must be thawed, whatever a failure of the thaw means to the backup.
        let missing = missing.filter(|_| !pre.is_empty());
        if hooks > 0 && (wrong || missing.is_some()) {
            let text = format!(
                "pod {}: none of its hooks is run, because one of them cannot be",
                pod.name
            );
            remarks.push(match missing {
                Some(on_error) if !wrong => Line::of_hook(on_error, text),
                _ => Line::new(Level::Info, text),
            });
        } else if hooks > 0 && !pod.is_running() {
            remarks.push(not_running(pod));
        } else if hooks > 0 {
            self.pods.push(PodHooks {
                pod: pod.name.clone(),
                pre,
                post,
            });
        }
        self.remarks.append(&mut remarks);
    }
}

/// In a pod that has ended nothing can change any more.
fn not_running(pod: &Pod) -> Line {
    let level = match pod.has_ended() {
        true => Level::Info,
        false => Level::Warning,
    };
    let text = format!("pod {} is {}: its hooks are not run", pod.name, pod.phase);
    Line::new(level, text)
}

/// The hooks of a pod at one stage, and, if one of them is known not to be runnable, what its failure means. Its annotations take the
/// place of the spec's.
fn stage(
    pod: &Pod,
    stage: Stage,
    rules: &Rules,
    remarks: &mut Vec<Line>,
) -> (Vec<Hook>, Option<OnError>) {
    let prefixes: &[&str] = match stage {
        Stage::Pre => &PRE_BACKUP,
        Stage::Post => &POST_BACKUP,
    };
    let Said {
        hook,
        unused,
        errors,
    } = annotations::backup(&pod.annotations, prefixes);
    let say = |level| move |text: String| Line::new(level, format!("pod {}: {text}", pod.name));
    // What stands beside a command does no harm; without one something was meant that is not there.
    let mut missing = (hook.is_none() && !unused.is_empty())
        .then(|| annotations::stated_on_error(&pod.annotations, prefixes));
    remarks.extend(unused.into_iter().map(say(Level::Warning)));
    remarks.extend(errors.iter().cloned().map(say(Level::Error)));
    if !errors.is_empty() {
        return (Vec::new(), Some(OnError::Fail));
    }
    if let Some(stated) = hook {
        let origin = format!("annotation {}", stated.annotation);
        let timeout = stated.timeout.unwrap_or(TIMEOUT);
        let hook = resolve(
            pod,
            stage,
            (stated.container, stated.command),
            (stated.on_error, timeout),
            origin,
        );
        return match hook {
            Ok(hook) => (vec![hook], None),
            Err(line) => {
                remarks.push(line);
                (Vec::new(), Some(stated.on_error))
            }
        };
    }
    let mut hooks = Vec::new();
    for (name, exec) in rules.hooks(pod, stage) {
        let timeout = exec
            .timeout
            .and_then(|time| Duration::try_from(time.0).ok());
        let timeout = timeout.filter(|time| !time.is_zero()).unwrap_or(TIMEOUT);
        let on_error = exec.on_error.unwrap_or_default();
        let hook = resolve(
            pod,
            stage,
            (exec.container.clone(), exec.command.clone()),
            (on_error, timeout),
            format!("hook {name} of the spec"),
        );
        match hook {
            Ok(hook) => hooks.push(hook),
            Err(line) => {
                remarks.push(line);
                if missing != Some(OnError::Fail) {
                    missing = Some(on_error);
                }
            }
        }
    }
    (hooks, missing)
}

/// A hook with the container that it is run in; else why it cannot be run.
fn resolve(
    pod: &Pod,
    stage: Stage,
    (container, command): (Option<String>, Vec<String>),
    (on_error, timeout): (OnError, Duration),
    origin: String,
) -> Result<Hook, Line> {
    let found = match &container {
        Some(name) => pod.containers.iter().find(|known| *known == name),
        None => pod.containers.first(),
    };
    let Some(found) = found else {
        let text = format!(
            "pod {}: {stage} ({origin}) cannot be run: there is no container {:?}; there are {}",
            pod.name,
            container.unwrap_or_default(),
            pod.containers.join(", ")
        );
        return Err(Line::of_hook(on_error, text));
    };
    Ok(Hook {
        container: found.clone(),
        command,
        on_error,
        timeout,
        origin,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pods.is_empty() {
            writeln!(f, "Hooks:")?;
        }
        for pod in &self.pods {
            for (stage, hooks) in [(Stage::Pre, &pod.pre), (Stage::Post, &pod.post)] {
                for hook in hooks {
                    writeln!(
                        f,
                        "  {stage} in pod {}, container {}: {} ({}; {:?} on error, within {:?})",
                        pod.pod,
                        hook.container,
                        hook.shown(),
                        hook.origin,
                        hook.on_error,
                        hook.timeout
                    )?;
                }
            }
        }
        for line in &self.remarks {
            writeln!(f, "  {}", line.text)?;
        }
        Ok(())
    }
}

/// Labels or annotations.
pub(super) type Pairs = BTreeMap<String, String>;
