//! What is taken out of objects and logs before they leave the user's hands.
//!
//! It takes out too much rather than too little. Of objects, what may hold a secret by its place goes whatever it looks like: the data of
//! Secrets, values of environment variables and headers that are not known to be harmless, commands, arguments of other programs than ark,
//! templates of Jobs, paths of URLs, annotations but for a few. Of every text, what looks like a secret goes: what follows the name of one,
//! tokens, keys, the user in a URL.

use regex::{Captures, Regex};
use serde_json::Value;

/// What stands where something was.
pub const REMOVED: &str = "<removed>";

/// Environment variables whose values are shown.
const HARMLESS: [&str; 12] = [
    "ARK_LOG_LEVEL",
    "ARK_NAMESPACE",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "GOMAXPROCS",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "NO_PROXY",
    "RUST_LOG",
    "TZ",
];

/// Annotations whose values are shown: their beginnings.
const SHOWN: [&str; 6] = [
    "ark.heptio.com/",
    "velero.io/",
    "prometheus.io/",
    "deployment.kubernetes.io/",
    "control-plane.alpha.kubernetes.io/",
    "meta.helm.sh/",
];

/// Fields that say where a secret is, not what it is.
const WHERE: [&str; 4] = [
    "secretName",
    "secretNamespace",
    "serviceAccountToken",
    "tokenExpirationSeconds",
];

/// Words in names of what is secret, without case, dashes and underscores.
const SECRET: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "token",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "authorization",
    "signature",
];

/// Fields that hold what somebody else wrote, of which nobody knows what is in it.
const FOREIGN: [&str; 4] = ["command", "headers", "httpHeaders", "body"];

/// Takes secrets out.
#[derive(Debug)]
pub struct Redactor {
    rules: Vec<(Regex, &'static str)>,
    /// Long runs of letters and digits, which are judged one by one.
    runs: Regex,
    /// What follows the host of a URL.
    path: Regex,
}

impl Redactor {
    /// A new one.
    ///
    /// # Errors
    /// If a rule does not parse; a test says that all do.
    pub fn new() -> Result<Redactor, regex::Error> {
        let named = r"password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key|signature|credentials?|authorization";
        let rules = [
            (
                r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)"
                    .to_owned(),
                "<removed>",
            ),
            (
                r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}".to_owned(),
                "$1 <removed>",
            ),
            (
                r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?".to_owned(),
                "<removed>",
            ),
            (
                r#"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@"']+@"#.to_owned(),
                "$1<removed>@",
            ),
            (r"\b(AKIA|ASIA)[A-Z0-9]{16}\b".to_owned(), "<removed>"),
            (r"\bARK0[A-Z0-9-]{8,}".to_owned(), "<removed>"),
            (
                r#"(?i)([?&](?:sig|se|x-amz-[a-z-]+|x-goog-[a-z-]+)=)[^&\s"']+"#.to_owned(),
                "$1<removed>",
            ),
            // What a program of MySQL's is given after -p.
            (
                r"(?i)(\b(?:mysql|mariadb)\w*\b[^\n]*?\s-p)[^\s\-]\S*".to_owned(),
                "$1<removed>",
            ),
            (
                format!(
                    r#"(?i)([a-z0-9_.-]*(?:{named})[a-z0-9_.-]*\\?["']?\s*[=:]\s*)(\\?"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+)"#
                ),
                "$1<removed>",
            ),
            // Words after a colon may be a passphrase.
            (
                format!(
                    r#"(?i)([a-z0-9_.-]*(?:{named})[a-z0-9_.-]*: )([^\n"']*?<removed>)[^\n"']*"#
                ),
                "$1$2",
            ),
            (
                r"(?i)(--[a-z-]*(?:password|passphrase|token|secret|key)) +[^\s-]\S*".to_owned(),
                "$1 <removed>",
            ),
        ];
        let rules = rules
            .into_iter()
            .map(|(rule, by)| Ok((Regex::new(&rule)?, by)))
            .collect::<Result<_, regex::Error>>()?;
        Ok(Redactor {
            rules,
            runs: Regex::new(r"[A-Za-z0-9+/_-]{40,}={0,2}")?,
            path: Regex::new(r"^([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*).+$")?,
        })
    }

    /// The text without what looks like a secret.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (rule, by) in &self.rules {
            text = rule.replace_all(&text, *by).into_owned();
        }
        let judged = self.runs.replace_all(&text, |found: &Captures<'_>| {
            let run = &found[0];
            match is_key(run) {
                true => REMOVED.to_owned(),
                false => run.to_owned(),
            }
        });
        judged.into_owned()
    }

    /// The object without what is secret by its place or by its looks.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value)),
            Value::Object(map) => {
                if map.get("kind").is_some_and(|kind| kind == "Secret") {
                    map.remove("data");
                    map.remove("stringData");
                }
                let is_ark = map.get("name").is_some_and(|name| name == "ark");
                let is_harmless = |name: &Value| {
                    let name = name.as_str();
                    name.is_some_and(|name| HARMLESS.contains(&name))
                };
                let is_pair = map.get("name").is_some_and(|name| !is_harmless(name));
                for (name, value) in map.iter_mut() {
                    match name.as_str() {
                        // A variable, a header.
                        "value" if is_pair => *value = REMOVED.into(),
                        "args" if !is_ark => *value = REMOVED.into(),
                        _ => self.field(name, value),
                    }
                }
                map.remove("managedFields");
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn field(&self, name: &str, value: &mut Value) {
        let plain: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        match (name, &mut *value) {
            ("annotations", Value::Object(annotations)) => {
                for (name, value) in annotations.iter_mut() {
                    // Others may be copies of objects, and commands of hooks are among ours.
                    let shown = SHOWN.iter().any(|start| name.starts_with(start));
                    match shown && !name.contains("hook.") {
                        true => self.field(name, value),
                        false => *value = REMOVED.into(),
                    }
                }
            }
            ("job", Value::Object(job)) => {
                job.remove("template");
                job.iter_mut()
                    .for_each(|(name, value)| self.field(name, value));
            }
            // Tokens stand in the path as often as behind it.
            ("url", Value::String(url)) => {
                *url = self.text(&self.path.replace(url, "$1/<removed>"));
            }
            (name, _) if FOREIGN.contains(&name) => *value = REMOVED.into(),
            (_, Value::String(_) | Value::Number(_))
                if !WHERE.contains(&name) && SECRET.iter().any(|word| plain.contains(word)) =>
            {
                *value = REMOVED.into();
            }
            (_, Value::Array(list)) if SECRET.iter().any(|word| plain.contains(word)) => {
                for value in list.iter_mut() {
                    match value {
                        Value::Object(_) => self.value(value),
                        _ => *value = REMOVED.into(),
                    }
                }
            }
            _ => self.value(value),
        }
    }
}

/// Whether a run looks like a key and not like a path or a word: hex of 32 bytes, or letters of both cases with digits.
fn is_key(run: &str) -> bool {
    let all = |is: fn(&char) -> bool| run.chars().all(|c| is(&c));
    if all(char::is_ascii_hexdigit) {
        return run.len() >= 64;
    }
    let any = |is: fn(&char) -> bool| run.chars().any(|c| is(&c));
    let slashes = match run.len() {
        ..64 => run.chars().filter(|c| *c == '/').count(),
        _ => 0,
    };
    any(char::is_ascii_uppercase)
        && any(char::is_ascii_lowercase)
        && any(char::is_ascii_digit)
        && slashes < 5
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_looks_like_a_secret_goes_and_what_does_not_stays() {
        let redactor = Redactor::new().unwrap();
        for (text, expected) in [
            ("password=hunter2 next", "password=<removed> next"),
            (
                r#"{"token":"hunter2","n":1}"#,
                r#"{"token":<removed>,"n":1}"#,
            ),
            (
                r#"AWS_SECRET_ACCESS_KEY: "hunter 2""#,
                "AWS_SECRET_ACCESS_KEY: <removed>",
            ),
            (
                "GET https://joe:hunter2@host/x",
                "GET https://<removed>@host/x",
            ),
            (
                "Authorization: Bearer hunter2hunter2",
                "Authorization: <removed>",
            ),
            ("jwt eyJhbGciOi.eyJzdWIi.c2ln end", "jwt <removed> end"),
            ("id AKIAIOSFODNN7EXAMPLE.", "id <removed>."),
            (
                "put /x?a=1&X-Amz-Signature=abc&b=2",
                "put /x?a=1&X-Amz-Signature=<removed>",
            ),
            (
                "run --passphrase hunter2 --verbose",
                "run --passphrase <removed> --verbose",
            ),
            ("password=hunt,er&2;x n=1", "password=<removed> n=1"),
            (
                r#"{"password":"hunt\"er2","n":1}"#,
                r#"{"password":<removed>,"n":1}"#,
            ),
            ("password: correct horse battery", "password: <removed>"),
            (
                "mysqldump -u root -phunter2 shop",
                "mysqldump -u root -p<removed> shop",
            ),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "<removed>"),
            (&"0f".repeat(32), "<removed>"),
            (
                "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nx",
                "<removed>\nx",
            ),
        ] {
            assert_eq!(redactor.text(text), expected);
        }
        for text in [
            "backed up 51,623 objects of configmaps in shop",
            "/apis/ark.heptio.com/v1/namespaces/heptio-ark/backups/nightly-20261122020000",
            "the location default is Unavailable: connection refused (10.0.0.1:9000)",
            "manifests/00000000000000aa-0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn what_is_secret_by_its_place_goes() {
        let mut pod = json!({
            "kind": "Pod",
            "metadata": {
                "managedFields": [{}],
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"hunter2\"}",
                    "pre.hook.backup.velero.io/command": "[\"mysqldump\",\"-phunter2\"]",
                    "prometheus.io/port": "8085",
                    "kapp.k14s.io/original": "{\"x\":\"hunter2\"}",
                },
            },
            "spec": { "containers": [{
                "command": ["sh", "-c", "echo hunter2"],
                "name": "ark",
                "args": ["server", "--namespace=ark"],
                "env": [
                    { "name": "ANYTHING", "value": "hunter2" },
                    { "name": "AWS_REGION", "value": "eu-central-1" },
                    { "name": "REF", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
                ],
            }]},
            "config": { "accessKey": "hunter2", "region": "eu" },
            "credentials": "hunter2",
            "tokens": ["hunter2"],
            "sidecar": { "name": "db", "args": ["--password", "hunter2"] },
            "probe": { "httpGet": { "httpHeaders": [{ "name": "X-Api-Key", "value": "hunter2" }] } },
            "hooks": { "before": [
                { "job": { "namespace": "jobs", "template": { "spec": { "args": ["hunter2"] } } } },
                { "http": { "url": "https://chat.example/run/hunter2" } },
            ] },
            "volume": { "secretName": "certificates" },
        });
        let redactor = Redactor::new().unwrap();
        redactor.value(&mut pod);
        let text = pod.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("managedFields"), "{text}");
        for kept in [
            "8085",
            "eu-central-1",
            "--namespace=ark",
            "secretKeyRef",
            "\"region\":\"eu\"",
            "\"namespace\":\"jobs\"",
            "https://chat.example/",
            "certificates",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        let mut secret = json!({ "kind": "Secret", "data": { "a": "aHVudGVyMg==" }, "stringData": { "b": "c" } });
        redactor.value(&mut secret);
        assert_eq!(secret, json!({ "kind": "Secret" }));
    }
}
