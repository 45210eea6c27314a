//! A simulated machine: a home, a network, a namespace of the cluster that only it backs up. It runs one `ark` after the other, disturbs
//! most of them, and holds every one that it did not disturb to success.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::arena::{Arena, FULL, lock};
use super::content::{self, Content, Namespace};
use super::pace::Pace;
use super::relay::{Fault, Relay};
use super::victim::{self, Disturbance, Ended};
use crate::dataset::random::Random;
use crate::{Api, Ark};

/// Backups that a worker keeps.
const KEEPS: usize = 6;
/// Objects in its namespace.
pub(super) const OBJECTS: usize = 60;

/// A PID namespace of its own, as a container has one: processes outside cannot tell whether one inside lives.
pub(super) const ELSEWHERE: &[&str] =
    &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Excused,
    Unexpected,
}

/// Judges how a process ended; an error says what should not have happened.
fn judge(
    ended: &Ended,
    disturbance: Disturbance,
    full: bool,
    excuses: &[&str],
) -> Result<Verdict, String> {
    let says = |words: &str| ended.stderr.contains(words);
    let struck = ended.struck;
    if ended.panicked() {
        return Err("it panicked".to_owned());
    }
    if ended.hung {
        return Err("it hung".to_owned());
    }
    match (ended.code, ended.signal, disturbance) {
        (Some(0), _, _) => Ok(Verdict::Done),
        (None, Some(9), Disturbance::Kill { .. } | Disturbance::PauseThenKill { .. })
        | (Some(130), _, Disturbance::Interrupt { .. })
        // A process that has not set up its handlers yet is ended by the signal itself.
        | (None, Some(2), Disturbance::Interrupt { .. })
            if struck =>
        {
            Ok(Verdict::Excused)
        }
        (Some(1), _, Disturbance::Network(_)) if struck => Ok(Verdict::Excused),
        (Some(1), ..) if full && says(FULL) => Ok(Verdict::Excused),
        (Some(1), ..) if excuses.iter().any(|excuse| says(excuse)) => Ok(Verdict::Excused),
        (code, signal, _) => Err(format!("it ended with code {code:?}, signal {signal:?}")),
    }
}

/// The number in a backup's name: newer ones have higher ones.
fn number_of(name: &str) -> usize {
    let number = name.rsplit_once('-').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(0)
}

/// One machine.
pub(super) struct Worker {
    pub number: usize,
    pub arena: Arc<Arena>,
    /// `ark` in its home.
    pub ark: Ark,
    /// `ark` in its home, with the cluster that is restored into.
    pub ark_for_restores: Ark,
    pub target: Api,
    pub relay: Option<Relay>,
    pub through: &'static [&'static str],
    pub namespace: Namespace,
    pub random: Random,
    pub pace: Arc<Pace>,
    pub made: usize,
}

impl Worker {
    /// Works until then.
    pub(super) async fn work(&mut self, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            self.pace.turn().await;
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let listed = lock(&self.arena.ledger).listed(self.number);
        let deleted = lock(&self.arena.ledger).deleted_ones(self.number);
        let chosen = listed.get(self.random.below(listed.len())).cloned();
        let Some((name, content)) = chosen else {
            return self.create().await;
        };
        let newest = listed.iter().max_by_key(|(name, _)| number_of(name));
        let newest = newest.map_or(&name, |(name, _)| name).clone();
        let grave = deleted.get(self.random.below(deleted.len())).cloned();
        match (self.random.below(100), grave) {
            (0..30, _) if listed.len() < KEEPS => self.create().await,
            // What is in the newest one alone is needed again by the next: it must not rely on what is being taken away.
            (0..36, _) => self.delete(&[newest]).await,
            (36..39, _) => {
                let all: Vec<String> = listed.into_iter().map(|(name, _)| name).collect();
                self.delete(&all).await
            }
            (39..41, _) => self.delete(&[name]).await,
            (41..46, _) => self.delete_and_make_again(newest).await,
            (46..54, Some(grave)) => self.undelete(&grave).await,
            (54..62, _) => self.prune(true).await,
            (62..69, _) => self.prune(false).await,
            (69..74, _) => self.verify(true).await,
            (74..79, _) => self.verify(false).await,
            (79..86, _) => self.restore(&name, &content).await,
            (86..91, _) => self.get().await,
            (91..93, _) => self.rotate().await,
            _ => self.cat(&name).await,
        }
    }

    /// Whether its processes may be killed. Who sees them from another PID namespace takes half an hour to find out, and a bucket's clock
    /// cannot be set.
    fn is_spared(&self) -> bool {
        !self.through.is_empty() && !self.arena.is_folder()
    }

    fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(self.random.between(from, to) as u64)
    }

    fn disturbance(&mut self, kind: &'static str) -> Disturbance {
        let usual = self.arena.usual(kind).as_millis() as usize;
        let after = self.millis(0, usual * 3 / 2);
        let lasts = match self.random.chance(12) {
            true => self.millis(3000, 10_000),
            false => self.millis(50, 2000),
        };
        match self.random.below(100) {
            0..35 => Disturbance::None,
            75..85 => Disturbance::Pause { after, lasts },
            _ if self.is_spared() => Disturbance::None,
            35..63 => Disturbance::Kill { after },
            63..71 => Disturbance::Interrupt { after },
            71..75 => Disturbance::PauseThenKill { after, lasts },
            _ if self.relay.is_some() => Disturbance::Network(self.fault()),
            _ => Disturbance::Kill { after },
        }
    }

    fn fault(&mut self) -> Fault {
        // As often in the first hundred bytes as in the last hundred thousand.
        let scale = 1 << self.random.between(5, 17);
        let after = self.random.between(0, scale) as u64;
        let lasts = match self.random.chance(15) {
            true => self.millis(2000, 8000),
            false => self.millis(50, 1500),
        };
        match self.random.below(7) {
            0 => Fault::CutRequest { after, down: lasts },
            1 => Fault::CutReply { after, down: lasts },
            // Few operations write much: it often comes too late to strike.
            2 | 6 => Fault::LoseReply {
                request: self.random.between(1, 4) as u64,
            },
            3 => Fault::Overload {
                request: self.random.between(1, 25) as u64,
                lasts,
            },
            4 => Fault::Slow {
                each: self.millis(2, 60),
            },
            _ => Fault::Stall { after, lasts },
        }
    }

    /// Runs `ark` and judges how it ended. `excuses` are asked for when it has.
    async fn run(
        &self,
        kind: &'static str,
        ark: &Ark,
        arguments: &[&str],
        disturbance: Disturbance,
        excuses: impl FnOnce() -> Vec<&'static str>,
    ) -> anyhow::Result<(Verdict, Ended)> {
        let arena = &self.arena;
        let before = arena.fullness();
        let relay = self.relay.as_ref();
        let ended = victim::run(ark, self.through, arguments, disturbance, relay).await?;
        let full = before % 2 == 1 || arena.fullness() != before;
        let who = format!("worker-{}", self.number);
        arena.note(&who, arguments, disturbance.name(), &ended);
        arena.reported(&ended.stdout);
        if ended.code == Some(0) && !ended.struck && !full {
            arena.took(kind, ended.took);
        }
        if ended.struck {
            let mut counts = lock(&arena.counts);
            match disturbance {
                Disturbance::None | Disturbance::Network(_) => {}
                Disturbance::Kill { .. } => counts.kills += 1,
                Disturbance::Interrupt { .. } => counts.interrupts += 1,
                Disturbance::Pause { .. } => counts.stops += 1,
                Disturbance::PauseThenKill { .. } => {
                    counts.stops += 1;
                    counts.kills += 1;
                }
            }
        }
        let judged = judge(&ended, disturbance, full, &excuses());
        let mut counts = lock(&arena.counts);
        let operations = counts.operation(kind);
        let verdict = match judged {
            Ok(verdict) => {
                match verdict {
                    Verdict::Done => operations.ok += 1,
                    _ => operations.failed_as_expected += 1,
                }
                verdict
            }
            Err(what) => {
                operations.unexpected += 1;
                drop(counts);
                arena.complain(format!(
                    "{who}: ark {} ({disturbance:?}, struck {}): {what}: {} {:.3000}",
                    arguments.join(" "),
                    ended.struck,
                    ended.last_words(),
                    ended.stdout
                ));
                Verdict::Unexpected
            }
        };
        Ok((verdict, ended))
    }

    async fn create(&mut self) -> anyhow::Result<()> {
        // Not always: a backup of what has not changed shares everything with one that may just be going.
        if self.random.chance(60) {
            self.namespace.churn(OBJECTS).await?;
        }
        let content = Arc::clone(self.namespace.content());
        self.made += 1;
        let name = format!("w{}-{}", self.number, self.made);
        let namespace = self.namespace.name.clone();
        let arguments = ["backup", "create", &name, "-o", "json"];
        let arguments = [&arguments[..], &["--include-namespaces", &namespace]].concat();
        let disturbance = self.disturbance("create");
        let (verdict, _) = self
            .run("create", &self.ark, &arguments, disturbance, Vec::new)
            .await?;
        let certain = verdict == Verdict::Done;
        lock(&self.arena.ledger).created(&name, self.number, &content, certain);
        if certain {
            lock(&self.arena.counts).backups_committed += 1;
            return Ok(());
        }
        if self.random.chance(60) {
            return Ok(());
        }
        // The name of a backup that came to nothing is free at once, and one that is taken is the name of a whole backup.
        const TAKEN: &str = "exists already for this cluster";
        let excuses = || match self.through {
            [] => vec![TAKEN],
            _ => vec![TAKEN, "is being written by"],
        };
        let (verdict, ended) = self
            .run("create", &self.ark, &arguments, Disturbance::None, excuses)
            .await?;
        let certain = verdict == Verdict::Done || ended.stderr.contains(TAKEN);
        lock(&self.arena.ledger).created(&name, self.number, &content, certain);
        let mut counts = lock(&self.arena.counts);
        match verdict {
            Verdict::Done => counts.backups_committed += 1,
            _ if certain => counts.backups_found_after_a_disturbance += 1,
            _ => {}
        }
        Ok(())
    }

    async fn delete(&mut self, names: &[String]) -> anyhow::Result<()> {
        let since = self.arena.now();
        let disturbance = self.disturbance("delete");
        let mut arguments = vec!["backup", "delete", "--confirm"];
        arguments.extend(names.iter().map(String::as_str));
        let (verdict, _) = self
            .run("delete", &self.ark, &arguments, disturbance, Vec::new)
            .await?;
        let done = verdict == Verdict::Done;
        for name in names {
            lock(&self.arena.ledger).deleted(name, since, done);
        }
        // Most of what was deleted a while ago is pruned by now.
        if done && self.random.chance(30) {
            self.undelete(&names[0]).await?;
        }
        Ok(())
    }

    /// Deletes the newest backup, and makes one of the same content while a prune takes away what the deleted one alone needed.
    async fn delete_and_make_again(&mut self, newest: String) -> anyhow::Result<()> {
        self.delete(&[newest]).await?;
        self.made += 1;
        let name = format!("w{}-{}", self.number, self.made);
        let content = Arc::clone(self.namespace.content());
        let namespace = self.namespace.name.clone();
        let create = ["backup", "create", &name, "-o", "json"];
        let create = [&create[..], &["--include-namespaces", &namespace]].concat();
        let usual = self.arena.usual("prune_now").as_millis() as usize;
        let later = self.millis(0, usual);
        let disturbance = match self.random.chance(40) {
            true => Disturbance::Pause {
                after: self.millis(0, usual),
                lasts: self.millis(100, 2000),
            },
            false => Disturbance::None,
        };
        lock(&self.arena.ledger).prune_begins();
        let prune = ["prune", "--now", "-o", "json"];
        let (pruned, made) = tokio::join!(
            self.run("prune_now", &self.ark, &prune, Disturbance::None, Vec::new),
            async {
                tokio::time::sleep(later).await;
                self.run("create", &self.ark, &create, disturbance, Vec::new)
                    .await
            }
        );
        let moment = self.arena.now();
        lock(&self.arena.ledger).prune_ends(moment);
        pruned?;
        let done = made?.0 == Verdict::Done;
        lock(&self.arena.ledger).created(&name, self.number, &content, done);
        if done {
            lock(&self.arena.counts).backups_committed += 1;
        }
        Ok(())
    }

    async fn undelete(&mut self, name: &str) -> anyhow::Result<()> {
        const GONE: &str = "there is no backup";
        let disturbance = self.disturbance("undelete");
        let arguments = ["backup", "undelete", name];
        let excuses = || match lock(&self.arena.ledger).may_be_gone(name) {
            true => vec![GONE],
            false => Vec::new(),
        };
        let (verdict, ended) = self
            .run("undelete", &self.ark, &arguments, disturbance, excuses)
            .await?;
        let mut ledger = lock(&self.arena.ledger);
        if verdict == Verdict::Excused && ended.code == Some(1) && ended.stderr.contains(GONE) {
            ledger.gone(name);
        } else {
            ledger.undeleted(name, verdict == Verdict::Done);
        }
        Ok(())
    }

    async fn prune(&mut self, now: bool) -> anyhow::Result<()> {
        let kind = if now { "prune_now" } else { "prune" };
        let disturbance = self.disturbance(kind);
        let arguments: &[&str] = match now {
            true => &["prune", "--now", "-o", "json"],
            false => &["prune", "-o", "json"],
        };
        if now {
            lock(&self.arena.ledger).prune_begins();
        }
        let ran = self
            .run(kind, &self.ark, arguments, disturbance, Vec::new)
            .await;
        if now {
            let moment = self.arena.now();
            lock(&self.arena.ledger).prune_ends(moment);
        }
        let (verdict, ended) = ran?;
        if verdict == Verdict::Done {
            let report: Value = serde_json::from_str(&ended.stdout)?;
            let mut counts = lock(&self.arena.counts);
            counts.packs_deleted += report["packs_deleted"].as_u64().unwrap_or(0);
            counts.packs_rewritten += report["packs_repacked"].as_u64().unwrap_or(0);
        }
        Ok(())
    }

    async fn verify(&mut self, data: bool) -> anyhow::Result<()> {
        let kind = if data { "verify_data" } else { "verify" };
        let disturbance = self.disturbance(kind);
        let arguments: &[&str] = match data {
            true => &["verify", "--read-data", "-o", "json"],
            false => &["verify", "-o", "json"],
        };
        let ran = self
            .run(kind, &self.ark, arguments, disturbance, Vec::new)
            .await;
        ran.map(|_| ())
    }

    async fn rotate(&mut self) -> anyhow::Result<()> {
        let disturbance = self.disturbance("rotate");
        let arguments = ["repo", "keys", "rotate", "-o", "json"];
        let ran = self
            .run("rotate", &self.ark, &arguments, disturbance, Vec::new)
            .await;
        ran.map(|_| ())
    }

    async fn get(&mut self) -> anyhow::Result<()> {
        let disturbance = self.disturbance("get");
        let arguments = ["backup", "get", "-o", "json"];
        let (verdict, ended) = self
            .run("get", &self.ark, &arguments, disturbance, Vec::new)
            .await?;
        if verdict == Verdict::Done {
            let rows: Value = serde_json::from_str(&ended.stdout)?;
            let items = rows["items"].as_array().into_iter().flatten();
            let names: Vec<&str> = items
                .filter_map(|row| row["metadata"]["name"].as_str())
                .collect();
            for (name, _) in lock(&self.arena.ledger).listed(self.number) {
                if !names.contains(&name.as_str()) {
                    self.arena.lose(format!("{name} is not listed any more"));
                }
            }
        }
        Ok(())
    }

    async fn cat(&mut self, name: &str) -> anyhow::Result<()> {
        let disturbance = self.disturbance("cat");
        let arguments = ["backup", "cat", name, "-o", "json"];
        let (verdict, ended) = self
            .run("cat", &self.ark, &arguments, disturbance, Vec::new)
            .await?;
        if verdict == Verdict::Done {
            self.arena.compare(name, &ended)?;
            lock(&self.arena.counts).backups_read_meanwhile += 1;
        }
        Ok(())
    }

    async fn restore(&mut self, backup: &str, expected: &Content) -> anyhow::Result<()> {
        let target = format!("copy-{}", self.namespace.name);
        content::clear(&self.target, &target).await?;
        self.made += 1;
        let mut name = format!("r{}-{}", self.number, self.made);
        let mapping = format!("{}:{target}", self.namespace.name);
        let disturbance = self.disturbance("restore");
        let ark = self.ark_for_restores.clone();
        let mut done = false;
        // One that was killed goes on under its name; one whose network failed may be on record as failed.
        const EXISTS: &str = "exists already (Completed)";
        for (attempt, disturbance) in [disturbance, Disturbance::None].into_iter().enumerate() {
            let arguments = ["restore", "create", &name, "--from-backup", backup];
            let mapped = ["--namespace-mappings", &mapping, "-o", "json"];
            let arguments = [&arguments[..], &mapped].concat();
            let (verdict, ended) = self
                .run("restore", &ark, &arguments, disturbance, Vec::new)
                .await?;
            done = verdict == Verdict::Done;
            if done || verdict == Verdict::Unexpected || attempt == 1 {
                break;
            }
            let on_record = self.restore_on_record(&name).await?;
            done = on_record.as_deref() == Some("Completed");
            if done {
                break;
            }
            if ended.code == Some(1) || on_record.as_deref() == Some("Failed") {
                name.push_str("-again");
            }
            if ended.stderr.contains(EXISTS) {
                break;
            }
        }
        if !done {
            return Ok(());
        }
        if let Some(difference) =
            content::restored_difference(&self.target, &target, expected).await?
        {
            self.arena.lose(format!(
                "{backup} was restored, and something is not as it was: {difference}"
            ));
        }
        lock(&self.arena.counts).restores_compared += 1;
        Ok(())
    }

    /// The phase of a restore that was begun.
    async fn restore_on_record(&self, name: &str) -> anyhow::Result<Option<String>> {
        let arguments = ["restore", "get", "-o", "json"];
        let (verdict, ended) = self
            .run(
                "restore_get",
                &self.ark,
                &arguments,
                Disturbance::None,
                Vec::new,
            )
            .await?;
        if verdict != Verdict::Done {
            return Ok(None);
        }
        let rows: Value = serde_json::from_str(&ended.stdout)?;
        let mut items = rows["items"].as_array().into_iter().flatten();
        let row = items.find(|row| row["metadata"]["name"] == name);
        Ok(row.and_then(|row| Some(row["status"]["phase"].as_str()?.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, signal: Option<i32>, struck: bool, stderr: &str) -> Ended {
        Ended {
            code,
            signal,
            stdout: String::new(),
            stderr: stderr.to_owned(),
            took: Duration::ZERO,
            struck,
            hung: false,
        }
    }

    #[test]
    fn only_what_was_disturbed_may_fail() {
        let zero = Duration::ZERO;
        let kill = Disturbance::Kill { after: zero };
        let slow = Disturbance::Network(Fault::Slow { each: zero });
        let cases = [
            (
                ended(Some(0), None, false, ""),
                Disturbance::None,
                false,
                true,
            ),
            (
                ended(Some(1), None, false, "x"),
                Disturbance::None,
                false,
                false,
            ),
            (ended(None, Some(9), true, ""), kill, false, true),
            (
                ended(None, Some(9), false, ""),
                Disturbance::None,
                false,
                false,
            ),
            (ended(Some(1), None, true, "x"), kill, false, false),
            (ended(Some(1), None, true, "x"), slow, false, true),
            (ended(Some(1), None, false, "x"), slow, false, false),
            (ended(Some(4), None, true, "x"), slow, false, false),
            (
                ended(Some(1), None, false, FULL),
                Disturbance::None,
                true,
                true,
            ),
            (
                ended(Some(1), None, false, FULL),
                Disturbance::None,
                false,
                false,
            ),
            (
                ended(Some(0), None, false, "panicked at"),
                kill,
                false,
                false,
            ),
        ];
        for (ended, disturbance, full, fine) in cases {
            let judged = judge(&ended, disturbance, full, &[]);
            assert_eq!(judged.is_ok(), fine, "{ended:?} {disturbance:?}");
        }
    }
}
