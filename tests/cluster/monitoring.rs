//! Metrics, the alerts and the dashboard over them, and the page that describes them: none of them names what another one does not have.
//!
//! The names come from the `/metrics` of a server that has done everything once, and Prometheus' own `promtool` reads the expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark::api::Schedule;
use serde_json::{Value, json};

use crate::locations::Replica;
use crate::served::{QUICK, Served, object};

const PAGE: &str = "docs/src/monitoring.md";
const RULES: &str = "deploy/monitoring/rules.yaml";
const BEGIN: &str = "<!-- The table is made by `ARK_UPDATE_DOCS=1 cargo nextest run --workspace --test cluster -E 'test(monitoring::)'`. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of YAML or JSON.
fn document(path: &str) -> Value {
    serde_yaml_ng::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(arguments: &[&str], file: &Path) {
    let program = ark_testkit::binaries_folder().unwrap().join("promtool");
    let mut command = Command::new(&program);
    let ran = command.args(arguments).arg(file).output();
    let ran = ran.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; tests/cluster/build.sh builds it",
            program.display()
        )
    });
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        ran.status.success(),
        "{arguments:?}: {}{}",
        said[0],
        said[1]
    );
}

/// The alerts: name and expression.
fn alerts() -> BTreeMap<String, String> {
    let rules = document(RULES);
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .map(|rule| {
            let text = |field: &str| rule[field].as_str().unwrap().to_owned();
            (text("alert"), text("expr"))
        })
        .collect()
}

/// Every expression of the dashboard, those of its variables too.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned());
    expressions.collect()
}

/// The metrics of ark that an expression names, as `# TYPE` has them.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("ark_"))
        .map(|word| {
            let mut name = word;
            for suffix in ["_bucket", "_sum", "_count"] {
                name = name.strip_suffix(suffix).unwrap_or(name);
            }
            name.to_owned()
        })
        .collect()
}

#[test]
fn every_alert_fires_and_is_quiet_in_a_test_and_has_a_page() {
    promtool(
        &["check", "rules", "--lint=all", "--lint-fatal"],
        &root(RULES),
    );
    promtool(
        &["test", "rules"],
        &root("deploy/monitoring/rules_test.yaml"),
    );
    let tests = document("deploy/monitoring/rules_test.yaml");
    let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for test in tests["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let (fires, quiet) = seen.entry(case["alertname"].as_str().unwrap()).or_default();
            match case["exp_alerts"].as_array().unwrap().is_empty() {
                true => *quiet = true,
                false => *fires = true,
            }
        }
    }
    let page = read(PAGE);
    for alert in alerts().keys() {
        assert_eq!(
            seen.remove(alert.as_str()),
            Some((true, true)),
            "{alert}: fires, is quiet"
        );
        assert!(
            page.contains(&format!("### {alert}\n")),
            "{PAGE} does not say what to do about {alert}"
        );
    }
    assert!(
        seen.is_empty(),
        "tests of alerts that are not there: {seen:?}"
    );
}

#[test]
fn the_dashboard_is_read_by_prometheus() {
    let dashboard = document("deploy/monitoring/dashboard.json");
    let ids: Vec<&Value> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|panel| &panel["id"])
        .collect();
    let distinct: BTreeSet<String> = ids.iter().map(|id| id.to_string()).collect();
    assert_eq!(distinct.len(), ids.len(), "two panels have one id");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 30);
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(number, expression)| json!({ "record": format!("panel:{number}"), "expr": expression }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let group = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(&file, group.to_string()).unwrap();
    promtool(&["check", "rules", "--lint=none"], &file);
}

/// What `/metrics` shows of one metric.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The metrics by the names that expressions use.
fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP", of, help] => {
                name = (*of).to_owned();
                let metric = metrics.entry(name.clone()).or_default();
                metric.help = help.trim_end_matches('.').to_owned();
            }
            ["#", "TYPE", of, kind] => {
                assert_eq!(*of, name);
                metrics.entry(name.clone()).or_default().kind = (*kind).to_owned();
            }
            _ if line.starts_with(&name) && line.starts_with("ark_") => {
                let labels = line
                    .split_once('{')
                    .and_then(|(_, rest)| rest.split_once('}'));
                let labels = labels.map_or("", |(labels, _)| labels);
                let metric = metrics.get_mut(&name).unwrap();
                for label in labels.split(',').filter_map(|pair| pair.split_once('=')) {
                    if label.0 != "le" {
                        metric.labels.insert(label.0.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let called = |(name, metric): (String, Metric)| match metric.kind.as_str() {
        "counter" => (format!("{name}_total"), metric),
        _ => (name, metric),
    };
    metrics.into_iter().map(called).collect()
}

fn table(metrics: &BTreeMap<String, Metric>) -> String {
    let mut table = String::from("| metric | labels | kind | what |\n|---|---|---|---|\n");
    for (name, metric) in metrics {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        writeln!(
            table,
            "| `{name}` | {} | {} | {} |",
            labels.join(", "),
            metric.kind,
            metric.help
        )
        .unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_exported_and_what_is_exported_is_described() {
    let mut served = Served::start(&QUICK).await;
    served.namespace("shop").await;
    let schedule = json!({ "schedule": "@yearly", "template": {} });
    served
        .create::<Schedule>(object("Schedule", "yearly", schedule))
        .await;
    served
        .backup("one", json!({ "includedNamespaces": ["shop"] }))
        .await;
    served.finished_backup("one").await;
    served.stop();
    // It knows of the first backup from its object alone, and does the rest by itself.
    let server = Replica::start(
        &served,
        &["--prune-frequency", "2s", "--verify-period", "30s"],
    );
    for known in [
        "ark_backup_last_status{schedule=\"\"} 1",
        "ark_backup_items_total{schedule=\"\"} ",
        "ark_backup_tarball_size_bytes{schedule=\"\"} ",
        "ark_backup_last_successful_timestamp{schedule=\"\"} ",
        "ark_schedule_created_timestamp{schedule=\"yearly\"} ",
        "ark_backup_failure_total{schedule=\"yearly\"} 0",
        "ark_backup_lost_now{backup_location_name=\"default\"} 0",
        "ark_repository_recovery_missing{backup_location_name=\"default\"} 1",
    ] {
        server.until("/metrics", known).await;
    }
    served
        .backup("two", json!({ "includedNamespaces": ["shop"] }))
        .await;
    served.finished_backup("two").await;
    served.restore("back", json!({ "backupName": "one" })).await;
    served.finished_restore("back").await;
    for done in [
        "ark_backup_duration_seconds_count{schedule=\"\"} 1",
        "ark_restore_duration_seconds_count{schedule=\"\"} 1",
        "ark_repository_dedup_ratio{backup_location_name=\"default\"} ",
        "ark_repo_maintenance_duration_seconds_count{backup_location_name=\"default\"} ",
        "ark_verify_oldest_data_timestamp{backup_location_name=\"default\"} ",
        "ark_verify_damaged_objects{backup_location_name=\"default\"} 0",
    ] {
        server.until("/metrics", done).await;
    }
    let exported = metrics(&server.ask("/metrics").await.unwrap());
    let dashboard = document("deploy/monitoring/dashboard.json");
    let variables = dashboard["templating"]["list"].to_string();
    let watched = expressions(&dashboard)
        .into_iter()
        .chain(alerts().into_values())
        .chain([variables]);
    for name in watched.flat_map(|expression| named(&expression)) {
        assert!(
            exported.contains_key(&name),
            "{name} is watched, and no server exports it"
        );
    }

    let page = read(PAGE);
    let (head, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table ends");
    let expected = format!("{head}{BEGIN}\n{}\n{END}{tail}", table(&exported));
    if std::env::var_os("ARK_UPDATE_DOCS").is_some() {
        std::fs::write(root(PAGE), expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "{PAGE} is out of date; ARK_UPDATE_DOCS=1 writes it anew:\n{expected}"
    );
}
