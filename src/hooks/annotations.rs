//! Hooks as the annotations of a pod ask for them.
//!
//! Each kind of hook has a family of prefixes: ark's, Velero's, and for pre hooks the oldest, from when there were no others. The
//! first prefix that names a command counts, as a whole; what stands under another one is told, not used. Anything that cannot be
//! meant is an error that names pod and annotation: a database that somebody believes frozen must not be backed up without a word.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{GoDuration, OnError, RestoreExecHook};

/// The prefixes of pre hooks of a backup.
pub const PRE_BACKUP: [&str; 4] = [
    "pre.hook.backup.ark.heptio.com/",
    "pre.hook.backup.velero.io/",
    "hook.backup.ark.heptio.com/",
    "hook.backup.velero.io/",
];
/// The prefixes of post hooks of a backup.
pub const POST_BACKUP: [&str; 2] = [
    "post.hook.backup.ark.heptio.com/",
    "post.hook.backup.velero.io/",
];
/// The prefixes of commands in restored pods.
pub const POST_RESTORE: [&str; 2] = [
    "post.hook.restore.ark.heptio.com/",
    "post.hook.restore.velero.io/",
];
/// The prefixes of init containers of restored pods.
pub const INIT_RESTORE: [&str; 2] = [
    "init.hook.restore.ark.heptio.com/",
    "init.hook.restore.velero.io/",
];
/// What every annotation of a backup's hook contains.
pub const MARK: &str = "hook.backup.";
/// What every annotation of a restore's hook contains.
pub const MARK_RESTORE: &str = "hook.restore.";

/// What the failure of a command in a restored pod means if nothing is said: as in Velero.
pub const RESTORE_ON_ERROR: OnError = OnError::Continue;

const COMMAND: &str = "command";
const CONTAINER: &str = "container";
const ON_ERROR: &str = "on-error";
const TIMEOUT: &str = "timeout";
const EXEC_TIMEOUT: &str = "exec-timeout";
const WAIT_TIMEOUT: &str = "wait-timeout";
const WAIT_FOR_READY: &str = "wait-for-ready";
const IMAGE: &str = "container-image";
const NAME: &str = "container-name";
const EXEC_KEYS: [&str; 6] = [
    COMMAND,
    CONTAINER,
    ON_ERROR,
    EXEC_TIMEOUT,
    WAIT_TIMEOUT,
    WAIT_FOR_READY,
];
const INIT_KEYS: [&str; 4] = [COMMAND, IMAGE, NAME, TIMEOUT];
/// What an init container is called that has no name.
const UNNAMED: &str = "ark-init-hook";
const BACKUP_KEYS: [&str; 4] = [COMMAND, CONTAINER, ON_ERROR, TIMEOUT];

/// An exec hook as annotations state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The annotation that holds the command.
    pub annotation: String,
    /// The container, if one is named.
    pub container: Option<String>,
    /// The command.
    pub command: Vec<String>,
    /// What a failure means.
    pub on_error: OnError,
    /// How long to wait, if it is said.
    pub timeout: Option<Duration>,
}

/// A command in a restored pod as annotations state it.
#[derive(Debug, Clone, PartialEq)]
pub struct StatedExec {
    /// The annotation that holds the command.
    pub annotation: String,
    /// What they say.
    pub exec: RestoreExecHook,
}

/// An init container of a restored pod as annotations state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedInit {
    /// What it is called.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it runs.
    pub command: Vec<String>,
    /// How long it is waited for, if it is.
    pub timeout: Option<Duration>,
}

/// What the annotations of one family say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T = Stated> {
    /// The hook.
    pub hook: Option<T>,
    /// What stands there and does nothing.
    pub unused: Vec<String>,
    /// What cannot be meant.
    pub errors: Vec<String>,
}

impl<T> Default for Said<T> {
    fn default() -> Said<T> {
        Said {
            hook: None,
            unused: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// The values under one prefix, by what follows it.
type Values<'a> = BTreeMap<&'a str, &'a str>;

/// Reads the hook of a backup that one family of annotations states.
pub fn backup(annotations: &BTreeMap<String, String>, prefixes: &[&str]) -> Said {
    let mut said = Said::default();
    let chosen = choose(annotations, prefixes, &BACKUP_KEYS, COMMAND, &mut said);
    let Some((prefix, values)) = chosen else {
        return said;
    };
    let on_error = on_error(prefix, &values, OnError::Fail, &mut said.errors);
    let timeout = duration(prefix, &values, TIMEOUT, &mut said.errors);
    let command = command(prefix, &values, &mut said.errors);
    if said.errors.is_empty() {
        said.hook = Some(Stated {
            annotation: format!("{prefix}{COMMAND}"),
            container: values.get(CONTAINER).and_then(|name| given(name)),
            command,
            on_error,
            timeout,
        });
    }
    said
}

/// Annotations that look like a backup's hook and are none that is known.
pub fn unknown(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let known = |key: &str| {
        let mut prefixes = PRE_BACKUP.iter().chain(&POST_BACKUP);
        prefixes.any(|prefix| key.starts_with(prefix))
    };
    let keys = annotations.keys();
    keys.filter(|key| key.contains(MARK) && !known(key))
        .map(|key| format!("annotation {key} is of no kind of hook that is known: it is not used"))
        .collect()
}

/// What a failure means by a family of annotations that may have no command.
pub fn stated_on_error(annotations: &BTreeMap<String, String>, prefixes: &[&str]) -> OnError {
    let mut stated = prefixes
        .iter()
        .filter_map(|prefix| annotations.get(&format!("{prefix}{ON_ERROR}")));
    match stated.next() {
        Some(text) if text.trim().eq_ignore_ascii_case("continue") => OnError::Continue,
        _ => OnError::Fail,
    }
}

/// Reads the command in a restored pod that one family of annotations states.
pub fn restore_exec(annotations: &BTreeMap<String, String>, prefixes: &[&str]) -> Said<StatedExec> {
    let mut said = Said::default();
    let chosen = choose(annotations, prefixes, &EXEC_KEYS, COMMAND, &mut said);
    let Some((prefix, values)) = chosen else {
        return said;
    };
    let mut time = |key| {
        let time = duration(prefix, &values, key, &mut said.errors)?;
        Some(GoDuration(time.try_into().ok()?))
    };
    let (exec_timeout, wait_timeout) = (time(EXEC_TIMEOUT), time(WAIT_TIMEOUT));
    let ready = values
        .get(WAIT_FOR_READY)
        .copied()
        .unwrap_or_default()
        .trim();
    let wait_for_ready = match ready.to_ascii_lowercase().as_str() {
        "" => None,
        "true" => Some(true),
        "false" => Some(false),
        _ => {
            said.errors.push(format!(
                "annotation {prefix}{WAIT_FOR_READY}: {ready:?} is neither true nor false"
            ));
            None
        }
    };
    let exec = RestoreExecHook {
        container: values.get(CONTAINER).and_then(|name| given(name)),
        command: command(prefix, &values, &mut said.errors),
        on_error: Some(on_error(
            prefix,
            &values,
            RESTORE_ON_ERROR,
            &mut said.errors,
        )),
        exec_timeout,
        wait_timeout,
        wait_for_ready,
    };
    if said.errors.is_empty() {
        said.hook = Some(StatedExec {
            annotation: format!("{prefix}{COMMAND}"),
            exec,
        });
    }
    said
}

/// Reads the init container that one family of annotations states.
pub fn restore_init(annotations: &BTreeMap<String, String>, prefixes: &[&str]) -> Said<StatedInit> {
    let mut said = Said::default();
    let chosen = choose(annotations, prefixes, &INIT_KEYS, COMMAND, &mut said);
    let Some((prefix, values)) = chosen else {
        return said;
    };
    let text = |key: &str| values.get(key).and_then(|text| given(text));
    let stated = StatedInit {
        name: text(NAME).unwrap_or_else(|| UNNAMED.to_owned()),
        image: text(IMAGE).unwrap_or_default(),
        command: command(prefix, &values, &mut said.errors),
        timeout: duration(prefix, &values, TIMEOUT, &mut said.errors),
    };
    if stated.image.is_empty() {
        said.errors.push(format!(
            "annotation {prefix}{COMMAND} has no {prefix}{IMAGE} beside it"
        ));
    }
    if said.errors.is_empty() {
        said.hook = Some(stated);
    }
    said
}

/// The values of the first prefix that has the key that makes a hook; what stands under others is told.
fn choose<'a, 'p, T>(
    annotations: &'a BTreeMap<String, String>,
    prefixes: &[&'p str],
    known: &[&str],
    makes: &str,
    said: &mut Said<T>,
) -> Option<(&'p str, Values<'a>)> {
    let mut chosen: Option<(&str, Values<'_>)> = None;
    for prefix in prefixes {
        let values: Values<'_> = annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
            .collect();
        let is_hook = values
            .get(makes)
            .is_some_and(|text| !text.trim().is_empty());
        for key in values.keys().filter(|key| !known.contains(key)) {
            said.errors.push(format!(
                "annotation {prefix}{key}: there is no such setting; there are {}",
                known.join(", ")
            ));
        }
        match (&chosen, is_hook) {
            (None, true) => chosen = Some((prefix, values)),
            (None, false) if values.contains_key(makes) => said
                .unused
                .push(format!("annotation {prefix}{makes} is empty")),
            (None, false) => {
                let alone = values.keys().filter(|key| known.contains(key));
                said.unused.extend(alone.map(|key| {
                    format!("annotation {prefix}{key} has no {prefix}{makes} beside it")
                }));
            }
            (Some((first, theirs)), _) if *theirs != values => {
                said.unused.extend(
                    values.keys().map(|key| {
                        format!("annotation {prefix}{key} is not used: {first}{makes} is")
                    }),
                );
            }
            (Some(_), _) => {}
        }
    }
    chosen
}

fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A JSON list of words, or one word: nothing splits it.
fn command(prefix: &str, values: &Values<'_>, errors: &mut Vec<String>) -> Vec<String> {
    let text = values.get(COMMAND).copied().unwrap_or_default().trim();
    if !text.starts_with('[') {
        return vec![text.to_owned()];
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|word| !word.is_empty()) => words,
        Ok(_) => {
            errors.push(format!(
                "annotation {prefix}{COMMAND}: {text} names no program"
            ));
            Vec::new()
        }
        Err(error) => {
            errors.push(format!(
                "annotation {prefix}{COMMAND} is not a JSON list of strings: {error}"
            ));
            Vec::new()
        }
    }
}

fn on_error(
    prefix: &str,
    values: &Values<'_>,
    absent: OnError,
    errors: &mut Vec<String>,
) -> OnError {
    let text = values.get(ON_ERROR).copied().unwrap_or_default().trim();
    match text.to_ascii_lowercase().as_str() {
        "" => absent,
        "fail" => OnError::Fail,
        "continue" => OnError::Continue,
        _ => {
            errors.push(format!(
                "annotation {prefix}{ON_ERROR}: {text:?} is neither Fail nor Continue"
            ));
            OnError::Fail
        }
    }
}

fn duration(
    prefix: &str,
    values: &Values<'_>,
    key: &str,
    errors: &mut Vec<String>,
) -> Option<Duration> {
    let text = values.get(key).and_then(|text| given(text))?;
    match text.parse::<GoDuration>() {
        Ok(time) => Duration::try_from(time.0)
            .ok()
            .filter(|time| !time.is_zero()),
        Err(error) => {
            errors.push(format!(
                "annotation {prefix}{key}: {error}; {}",
                error.hint()
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn every_spelling_is_read_and_ours_wins() {
        for (prefixes, all) in [(&PRE_BACKUP[..], 4), (&POST_BACKUP[..], 2)] {
            assert_eq!(prefixes.len(), all);
            for prefix in prefixes {
                let said = backup(
                    &annotations(&[
                        (&format!("{prefix}command"), r#"["/bin/sh", "-c", "sync"]"#),
                        (&format!("{prefix}container"), "db"),
                        (&format!("{prefix}on-error"), "Continue"),
                        (&format!("{prefix}timeout"), "1m30s"),
                    ]),
                    prefixes,
                );
                assert_eq!((said.unused.len(), said.errors.len()), (0, 0), "{said:?}");
                let hook = said.hook.unwrap();
                assert_eq!(hook.command, ["/bin/sh", "-c", "sync"]);
                assert_eq!(hook.container.as_deref(), Some("db"));
                assert_eq!(hook.on_error, OnError::Continue);
                assert_eq!(hook.timeout, Some(Duration::from_secs(90)));
            }
        }
        let said = backup(
            &annotations(&[
                ("pre.hook.backup.ark.heptio.com/command", "ours"),
                ("pre.hook.backup.velero.io/command", "theirs"),
                ("hook.backup.ark.heptio.com/command", "ours"),
                ("post.hook.backup.velero.io/command", "of another family"),
                ("example.com/pre.hook.backup.velero.io", "nothing"),
            ]),
            &PRE_BACKUP,
        );
        assert_eq!(said.hook.unwrap().command, ["ours"]);
        // The same again is no matter; something else is.
        assert_eq!(
            said.unused,
            [
                "annotation pre.hook.backup.velero.io/command is not used: pre.hook.backup.ark.heptio.com/command is"
            ]
        );
    }

    #[test]
    fn what_is_absent_is_as_in_velero() {
        let alone = annotations(&[("pre.hook.backup.velero.io/command", "/bin/freeze all")]);
        let hook = backup(&alone, &PRE_BACKUP).hook.unwrap();
        assert_eq!(hook.command, ["/bin/freeze all"], "nothing splits it");
        assert_eq!((hook.container, hook.timeout), (None, None));
        assert_eq!(hook.on_error, OnError::Fail);
        assert_eq!(backup(&alone, &POST_BACKUP), Said::default());
        let restored = annotations(&[("post.hook.restore.velero.io/command", "/bin/load")]);
        let hook = restore_exec(&restored, &POST_RESTORE).hook.unwrap();
        assert_eq!(hook.exec.on_error, Some(OnError::Continue));
    }

    #[test]
    fn nothing_is_ignored_without_a_word() {
        let says = |pairs: &[(&str, &str)]| {
            let said = backup(&annotations(pairs), &PRE_BACKUP);
            assert!(said.hook.is_none(), "{said:?}");
            [said.errors, said.unused].concat().join("\n")
        };
        let prefix = "pre.hook.backup.velero.io/";
        let with = |key: &str, value: &str| {
            says(&[
                (&format!("{prefix}command"), "x"),
                (&format!("{prefix}{key}"), value),
            ])
        };
        assert_eq!(
            with("timeout", "soon"),
            format!(
                "annotation {prefix}timeout: \"soon\" is not a duration; write it as 720h, 1h30m, 45s, 30d or 2w"
            )
        );
        assert!(with("on-error", "Ignore").contains("neither Fail nor Continue"));
        assert!(with("on_error", "Fail").contains("there is no such setting"));
        assert!(says(&[(&format!("{prefix}command"), "[\"a\"")]).contains("not a JSON list"));
        assert!(says(&[(&format!("{prefix}command"), "[1]")]).contains("not a JSON list"));
        assert!(says(&[(&format!("{prefix}command"), "[]")]).contains("names no program"));
        assert!(says(&[(&format!("{prefix}command"), " ")]).contains("is empty"));
        assert!(says(&[(&format!("{prefix}container"), "db")]).contains("beside it"));
    }
}
