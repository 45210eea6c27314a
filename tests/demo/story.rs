//! The demo itself, from an empty cluster to an empty repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use ark::cli::size::{grouped, human_size};
use ark_testkit::Churn;
use serde_json::Value;

use crate::Settings;
use crate::ark::{Ark, Ran, count, requests, store_requests};
use crate::cluster::Cluster;
use crate::equality::Snapshot;
use crate::folder::{self, Folder};
use crate::voice::{Row, Voice, table};

/// What an unchanged backup may cost while the control plane's own Leases and Events move.
const UNCHANGED_BYTES: u64 = 24 << 10;
const UNCHANGED_PUTS: u64 = 7;
/// Exit code of `ark verify` for damage.
const DAMAGE: i32 = 4;

/// A demo under way.
struct Demo<'a> {
    cluster: &'a Cluster,
    ark: Ark<'a>,
    voice: &'a Voice,
    rows: Vec<Row>,
}

/// Plays the demo. Whatever does not go as claimed is an error.
pub async fn tell(settings: &Settings, folder: &Path, voice: &Voice) -> anyhow::Result<()> {
    let cluster = open(settings, voice).await?;
    let mut demo = Demo {
        ark: Ark::new(&settings.ark, folder, &cluster.kubeconfig, voice),
        cluster: &cluster,
        voice,
        rows: Vec::new(),
    };
    demo.fill().await?;
    demo.init().await?;
    let first = demo.first_backup().await?;
    demo.unchanged_backup().await?;
    let changed = demo.change_some().await?;
    demo.changed_backup(first, &changed).await?;
    demo.list().await?;
    let before = demo.accident().await?;
    demo.restore(&before).await?;
    demo.verify(
        "Verify: read, authenticate and re-hash every byte",
        "verify",
    )
    .await?;
    demo.damage().await?;
    demo.delete_and_prune().await?;
    voice.step("What each step wrote to the repository, counted in its folder");
    voice.fact(&table(&demo.rows));
    voice.fact("Not counted: the 8 MiB that a repository in a folder keeps free, so that prune has room on a full disk.");
    Ok(())
}

async fn open(settings: &Settings, voice: &Voice) -> anyhow::Result<Cluster> {
    let began = Instant::now();
    voice.step(match settings.kubeconfig {
        None => "Start a throwaway control plane: etcd, kube-apiserver, kube-controller-manager",
        Some(_) => "Connect to your cluster",
    });
    let cluster = Cluster::open(settings.kubeconfig.as_deref()).await?;
    if cluster.scope.yours {
        cluster.delete_all().await?;
    }
    let version = cluster.api.get("/version").await?;
    voice.fact(&format!(
        "Kubernetes {} is ready after {:.1}s",
        version["gitVersion"]
            .as_str()
            .unwrap_or("of unknown version"),
        began.elapsed().as_secs_f64()
    ));
    Ok(cluster)
}

impl Demo<'_> {
    async fn fill(&mut self) -> anyhow::Result<()> {
        let scope = self.cluster.scope;
        self.voice.step("Create the nginx example of Ark's quickstart, and a few thousand objects of every common kind");
        self.voice.command(&format!(
            "kubectl create -f nginx-app.yaml    # namespace {}",
            scope.nginx_namespace()
        ));
        self.cluster.create_nginx().await?;
        let data = self.cluster.dataset();
        self.voice.command(&format!(
            "ark-testkit load --objects {} --prefix {}",
            data.len(),
            scope.prefix()
        ));
        let loaded = ark_testkit::load(&self.cluster.api, &data).await?;
        ensure!(
            loaded.created == data.len(),
            "{} of {} objects were created",
            loaded.created,
            data.len()
        );
        let settled = self.cluster.settle().await?;
        self.voice.fact(&format!(
            "{} objects of {} resources, {} as JSON, in {:.1}s",
            grouped(settled.len() as u64),
            settled.resources(),
            human_size(settled.bytes()),
            loaded.seconds
        ));
        Ok(())
    }

    async fn init(&mut self) -> anyhow::Result<()> {
        self.voice
            .step("Create an encrypted repository in a folder, with a new key file");
        self.ark.introduce();
        let ran = self.ark.does(&["repo", "init"]).await?;
        self.voice
            .fact(&format!("recovery key: {}", ran.stdout.trim()));
        self.record("repo init", &ran, None, None);
        Ok(())
    }

    async fn backup(&mut self, name: &str) -> anyhow::Result<(Ran, Value)> {
        let filters = self.cluster.scope.filters();
        let mut arguments = vec!["backup", "create", name, "-o", "json"];
        arguments.extend(filters.iter().map(String::as_str));
        let ran = self.ark.does(&arguments).await?;
        let report = ran.json()?;
        let run = &report["run"];
        self.record(
            &format!("backup {name}"),
            &ran,
            Some(count(run, "/apiRequests").or_else(|_| sum(&run["apiRequests"]))?),
            Some(&run["storeRequests"]),
        );
        self.voice.fact(&format!(
            "{}: {} items, {}; {} reused and {} new chunks; {} added in {:.1}s",
            report["status"]["phase"].as_str().unwrap_or("?"),
            grouped(count(&report, "/repository/items")?),
            human_size(count(&report, "/repository/logicalBytes")?),
            grouped(count(&report, "/repository/stats/reused_chunks")?),
            grouped(count(&report, "/repository/stats/new_chunks")?),
            human_size(ran.change.new_bytes),
            ran.seconds,
        ));
        // What ark says it added is what the folder grew by.
        let said = count(&report, "/repository/addedBytes")?;
        ensure!(
            said == ran.change.new_bytes,
            "ark says that it added {said} bytes; the folder grew by {}",
            ran.change.new_bytes
        );
        Ok((ran, report))
    }

    /// Returns what the first backup added.
    async fn first_backup(&mut self) -> anyhow::Result<u64> {
        self.voice.step("Back up the cluster");
        let (ran, report) = self.backup("first").await?;
        let logical = count(&report, "/repository/logicalBytes")?;
        let added = ran.change.new_bytes;
        ensure!(
            added < logical,
            "{added} bytes were stored for {logical} bytes of objects"
        );
        self.voice.holds(&format!(
            "stored in {:.0}% of the size of its objects",
            added as f64 * 100.0 / logical as f64
        ));
        Ok(added)
    }

    async fn unchanged_backup(&mut self) -> anyhow::Result<()> {
        self.voice.step("Back up again; nothing has changed");
        let (ran, report) = self.backup("unchanged").await?;
        let puts = count(&report, "/run/storeRequests/put")?;
        let added = ran.change.new_bytes;
        // In a cluster with a life of its own more may have changed.
        if !self.cluster.scope.yours {
            ensure!(
                added <= UNCHANGED_BYTES && puts <= UNCHANGED_PUTS,
                "an unchanged backup wrote {added} bytes in {puts} requests; at most {UNCHANGED_BYTES} in {UNCHANGED_PUTS} were claimed"
            );
            self.voice.holds(&format!(
                "at most {} and {UNCHANGED_PUTS} uploads, the control plane's own Leases and Events included: {} and {puts}",
                human_size(UNCHANGED_BYTES),
                human_size(added)
            ));
        }
        Ok(())
    }

    /// Returns the paths of the changed objects.
    async fn change_some(&mut self) -> anyhow::Result<Vec<String>> {
        let prefix = self.cluster.scope.prefix();
        self.voice
            .step("Change one object in a hundred, picked at random");
        self.voice.command(&format!(
            "ark-testkit churn --change --percent 1 --prefix {prefix}"
        ));
        let churn = Churn {
            prefix: prefix.to_owned(),
            percent: 1.0,
            seed: 1,
            delete: false,
        };
        let report = ark_testkit::churn(&self.cluster.api, &churn).await?;
        ensure!(report.touched > 0, "no object was changed");
        self.voice.fact(&format!(
            "{} of {} objects changed",
            grouped(report.touched as u64),
            grouped(report.objects as u64)
        ));
        Ok(report.paths)
    }

    async fn changed_backup(&mut self, first: u64, changed: &[String]) -> anyhow::Result<()> {
        self.voice.step("Back up again, and ask what is different");
        let (ran, _) = self.backup("changed").await?;
        let added = ran.change.new_bytes;
        ensure!(
            added * 4 < first,
            "the backup of a small change added {added} bytes; the first one {first}"
        );
        let ran = self
            .ark
            .does(&["backup", "diff", "unchanged", "changed", "-o", "json"])
            .await?;
        let report = ran.json()?;
        let found: BTreeSet<(String, String, String)> = report["differences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["change"] == "changed")
            .map(difference_key)
            .collect();
        for path in changed {
            let key = path_key(path).with_context(|| format!("{path} is no path of an object"))?;
            ensure!(
                found.contains(&key),
                "{path} was changed, and the comparison does not say so"
            );
        }
        self.voice.holds(&format!(
            "the comparison names each of the {} changed objects; {} others moved by themselves",
            grouped(changed.len() as u64),
            grouped((found.len() - changed.len()) as u64)
        ));
        Ok(())
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        self.voice.step("List the backups");
        let ran = self.ark.does(&["backup", "get"]).await?;
        self.voice.fact(&ran.stdout);
        for name in ["first", "unchanged", "changed"] {
            ensure!(ran.stdout.contains(name), "the backup {name} is not listed");
        }
        Ok(())
    }

    /// Returns what was there before.
    async fn accident(&mut self) -> anyhow::Result<Snapshot> {
        let began = Instant::now();
        let scope = self.cluster.scope;
        self.voice.step(
            "The accident: delete the namespaces with all that is in them, the custom resource definitions, volumes and roles",
        );
        self.voice.command(&format!(
            "kubectl delete namespace {} {}-…    # and every cluster-scoped object named so",
            scope.nginx_namespace(),
            scope.prefix()
        ));
        let before = Snapshot::take(&self.cluster.api, scope).await?;
        self.cluster.delete_all().await?;
        self.voice.holds(&format!(
            "all {} objects are gone, after {:.1}s",
            grouped(before.len() as u64),
            began.elapsed().as_secs_f64()
        ));
        Ok(before)
    }

    async fn restore(&mut self, before: &Snapshot) -> anyhow::Result<()> {
        self.voice.step("Restore the newest backup");
        let ran = self
            .ark
            .does(&[
                "restore",
                "create",
                "rescue",
                "--from-backup",
                "changed",
                "-o",
                "json",
            ])
            .await?;
        let value = ran.json()?;
        let report = &value["report"];
        self.record("restore", &ran, Some(sum(&report["requests"])?), None);
        let counts = &report["counts"];
        let amount = |field: &str| count(counts, &format!("/{field}"));
        let created = amount("created")?;
        self.voice.fact(&format!(
            "{}: {} created, {} unchanged, {} skipped, {} failed; {} owner references relinked; {:.0} objects/s",
            value["status"]["phase"].as_str().unwrap_or("?"),
            grouped(created),
            grouped(amount("unchanged")?),
            grouped(amount("skipped")?),
            grouped(amount("failed")?),
            grouped(count(report, "/relinked")?),
            created as f64 / ran.seconds,
        ));
        self.voice.step(
            "Compare what the apiserver returned before the accident with what it returns now",
        );
        let after = self.cluster.settle().await?;
        self.prove(before, &after, &report["skipped"])
    }

    /// Every object is there and equal, but for those that a restore leaves out on purpose, which it names with a reason.
    fn prove(&self, before: &Snapshot, after: &Snapshot, skipped: &Value) -> anyhow::Result<()> {
        let comparison = before.compare(after);
        let shown: Vec<String> = comparison
            .different
            .iter()
            .take(10)
            .map(|(name, paths)| format!("{name}: {}", paths.join(", ")))
            .collect();
        ensure!(
            comparison.different.is_empty(),
            "{} restored objects differ:\n{}",
            comparison.different.len(),
            shown.join("\n")
        );
        ensure!(
            comparison.identical_uids == 0,
            "{} objects were never deleted",
            comparison.identical_uids
        );
        let mut missing: BTreeMap<&str, u64> = BTreeMap::new();
        for name in &comparison.missing {
            *missing.entry(&name.resource).or_default() += 1;
        }
        for (resource, number) in &missing {
            let reasons: BTreeMap<&str, u64> = skipped[resource]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(reason, number)| Some((reason.as_str(), number.as_u64()?)))
                .collect();
            let accounted: u64 = reasons.values().sum();
            let first = comparison
                .missing
                .iter()
                .find(|name| name.resource == *resource);
            ensure!(
                *number <= accounted,
                "{number} objects of {resource} are missing, and the restore skipped {accounted}; the first is {}",
                first.map(ToString::to_string).unwrap_or_default()
            );
            let reasons: Vec<&str> = reasons.into_keys().collect();
            self.voice.fact(&format!(
                "{} {resource} left out on purpose: {}",
                grouped(*number),
                reasons.join("; ")
            ));
        }
        // What controllers make by themselves they make again, sometimes under another name. The restore left these to them.
        for name in &comparison.extra {
            ensure!(
                skipped[&name.resource].is_object(),
                "{name} is there now, and was not before"
            );
        }
        for (name, paths) in &comparison.remade {
            ensure!(
                skipped[&name.resource].is_object(),
                "{name} was not restored, and differs: {}",
                paths.join(", ")
            );
        }
        self.voice.holds(&format!(
            "{} objects are equal, field by field, but for the {} that are the cluster's own (the list is in src/restore/compare.rs)",
            grouped(comparison.equal as u64),
            ark::restore::compare::IGNORED.len()
        ));
        Ok(())
    }

    async fn verify(&mut self, what: &str, row: &str) -> anyhow::Result<()> {
        self.voice.step(what);
        let ran = self
            .ark
            .does(&["verify", "--read-data", "-o", "json"])
            .await?;
        let report = ran.json()?;
        self.record(row, &ran, None, Some(&report["requests"]));
        let damage = report["damage"].as_array().map_or(1, Vec::len);
        ensure!(damage == 0, "a sound repository was called damaged");
        self.voice.holds(&format!(
            "sound: {} backups, {} items; {} files and {} chunks checked, {} read",
            grouped(count(&report, "/backups")?),
            grouped(count(&report, "/items")?),
            grouped(count(&report, "/objects")?),
            grouped(count(&report, "/chunks")?),
            human_size(count(&report, "/requests/bytes_read")?),
        ));
        Ok(())
    }

    async fn damage(&mut self) -> anyhow::Result<()> {
        let files = Folder::read(self.ark.repository())?;
        let (pack, size) = files
            .largest("packs/data/")
            .context("the repository has no pack of data")?;
        // Far from the header, the trailer and the padding.
        let offset = size / 3;
        self.voice
            .step("Flip one bit of a pack, as a bad disk does, and verify again");
        self.voice
            .command(&format!("# byte {} of {pack}", grouped(offset)));
        let flipped = folder::flip(&self.ark.repository().join(pack), offset)?;
        let ran = self.ark.exits(DAMAGE, &["verify", "--read-data"]).await?;
        self.record("verify, damaged", &ran, None, None);
        self.voice.fact(&first_lines(&ran.stdout, 10));
        let told: Vec<&str> = ran.stdout.lines().collect();
        let named = told
            .iter()
            .position(|line| line.starts_with("DAMAGED") && line.contains(pack))
            .with_context(|| format!("verify does not name {pack}:\n{}", ran.stdout))?;
        let backups = told.get(named + 1).copied().unwrap_or_default();
        ensure!(
            backups.contains("backups: ") && backups.contains("first"),
            "verify does not name the backups that are hit:\n{}",
            ran.stdout
        );
        let item = told.get(named + 2).copied().unwrap_or_default();
        ensure!(
            item.starts_with("  ") && !item.trim().is_empty(),
            "verify does not name the items that are hit:\n{}",
            ran.stdout
        );
        self.voice
            .holds("exit code 4; the pack is named, and the backups and items that it hits");
        flipped.put_back()?;
        self.verify("Put the byte back and verify once more", "verify, repaired")
            .await
    }

    async fn delete_and_prune(&mut self) -> anyhow::Result<()> {
        self.voice.step("Delete all backups");
        let ran = self
            .ark
            .does(&[
                "backup",
                "delete",
                "first",
                "unchanged",
                "changed",
                "--confirm",
            ])
            .await?;
        self.voice.fact(&ran.stdout);
        self.record("backup delete", &ran, None, None);
        self.voice
            .step("Prune at once, without the days of grace: the bytes are gone when it returns");
        let (_, before) = Folder::read(self.ark.repository())?.count("packs/");
        let ran = self.ark.does(&["prune", "--now", "-o", "json"]).await?;
        let report = ran.json()?;
        self.record("prune", &ran, None, Some(&report["requests"]));
        let files = Folder::read(self.ark.repository())?;
        let (packs, bytes) = files.count("packs/");
        ensure!(
            packs == 0,
            "{packs} packs with {bytes} bytes are left after the prune"
        );
        self.voice.holds(&format!(
            "{} backups removed, {} of packs freed, no pack is left",
            report["backups_removed"].as_array().map_or(0, Vec::len),
            human_size(before)
        ));
        Ok(())
    }

    fn record(&mut self, step: &str, ran: &Ran, api: Option<u64>, store: Option<&Value>) {
        self.rows.push(Row {
            step: step.to_owned(),
            seconds: ran.seconds,
            api,
            store: store.map(store_requests).filter(|text| !text.is_empty()),
            change: ran.change.clone(),
        });
    }
}

fn sum(counts: &Value) -> anyhow::Result<u64> {
    ensure!(counts.is_object(), "the report counts no requests");
    Ok(requests(counts))
}

fn first_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = lines[..lines.len().min(most)].join("\n");
    if lines.len() > most {
        shown.push_str(&format!("\n… {} more lines", lines.len() - most));
    }
    shown
}

/// Plural, namespace and name.
fn difference_key(one: &Value) -> (String, String, String) {
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let resource = text("resource");
    let plural = resource.split('.').next().unwrap_or_default().to_owned();
    (plural, text("namespace"), text("name"))
}

/// The same of an API path: `/api/v1/namespaces/shop/configmaps/prices`, `/apis/rbac…/v1/clusterroles/view`.
fn path_key(path: &str) -> Option<(String, String, String)> {
    let mut parts = path.trim_start_matches('/').split('/');
    if parts.next()? == "apis" {
        parts.next()?;
    }
    parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let key = |plural: &str, namespace: &str, name: &str| {
        Some((plural.to_owned(), namespace.to_owned(), name.to_owned()))
    };
    match rest[..] {
        ["namespaces", namespace, plural, name] => key(plural, namespace, name),
        [plural, name] => key(plural, "", name),
        _ => None,
    }
}
