//! The metrics, under the names that dashboards for Velero have, with `ark_` in the place of `velero_`, and what ark adds.
//!
//! Counters start at zero with the process, as Prometheus expects, and those that alerts look at are there before anything has happened:
//! a counter that came into being with its first failure would have grown by none. Gauges that describe the cluster's objects or a
//! repository are set by the controllers of the replica that works, also those that an earlier process found out; a replica that
//! only waits shows none of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The schedule that a backup or restore belongs to; empty for those made by hand.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ScheduleLabel {
    /// Its name.
    pub schedule: String,
}

/// A location, as Velero labels it.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct LocationLabel {
    /// Its name.
    pub backup_location_name: String,
}

/// What became of hooks.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct HookLabel {
    /// What they belong to: `backup` or `restore`.
    pub operation: String,
    /// `success` or `failure`.
    pub result: String,
}

/// A counter for each schedule.
pub type BySchedule = Family<ScheduleLabel, Counter>;
/// A gauge for each schedule.
pub type GaugeBySchedule = Family<ScheduleLabel, Gauge>;
/// A gauge for each location.
pub type GaugeByLocation = Family<LocationLabel, Gauge>;
/// A number with a fraction for each location.
pub type RatioByLocation = Family<LocationLabel, Gauge<f64, AtomicU64>>;
/// A counter for each location.
pub type ByLocation = Family<LocationLabel, Counter>;
/// Durations for each schedule.
pub type Durations = Family<ScheduleLabel, Histogram, fn() -> Histogram>;
/// Durations for each location.
pub type DurationsByLocation = Family<LocationLabel, Histogram, fn() -> Histogram>;

macro_rules! metrics {
    ($($field:ident: $kind:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// Every metric of the server.
        pub struct Metrics {
            registry: Registry,
            kept: Mutex<Kept>,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for Metrics {
            fn default() -> Metrics {
                let mut registry = Registry::with_prefix("ark");
                $(let $field: $kind = register(&mut registry, $make, $name, $help);)*
                Metrics { registry, kept: Mutex::default(), $($field,)* }
            }
        }
    };
}

metrics! {
    backups: Gauge = Gauge::default(), "backup_total", "Backups that exist now";
    backup_attempts: BySchedule = Family::default(), "backup_attempt", "Backups begun";
    backup_success: BySchedule = Family::default(), "backup_success", "Backups that are Completed";
    backup_partial: BySchedule = Family::default(), "backup_partial_failure", "Backups that are PartiallyFailed";
    backup_failure: BySchedule = Family::default(), "backup_failure", "Backups that are Failed";
    backup_validation_failure: BySchedule = Family::default(), "backup_validation_failure", "Backups whose spec is wrong";
    backup_duration: Durations = Family::new_with_constructor(seconds as fn() -> Histogram), "backup_duration_seconds", "How long backups took";
    backup_last_success: GaugeBySchedule = Family::default(), "backup_last_successful_timestamp", "When the newest Completed backup ended, Unix seconds";
    backup_last_status: GaugeBySchedule = Family::default(), "backup_last_status", "1 if the newest backup is Completed, else 0";
    backup_items: GaugeBySchedule = Family::default(), "backup_items_total", "Items of the newest backup";
    backup_items_errors: GaugeBySchedule = Family::default(), "backup_items_errors", "Errors of the newest backup";
    backup_size: GaugeBySchedule = Family::default(), "backup_tarball_size_bytes", "Bytes of the newest backup, every item counted in full; the name is that of dashboards, ark makes no tarball";
    backup_warnings: BySchedule = Family::default(), "backup_warning", "Warnings of backups";
    backup_added_bytes: BySchedule = Family::default(), "backup_added_bytes", "Bytes that backups added to repositories";
    backup_lost: Family<LocationLabel, Counter> = Family::default(), "backup_lost", "Backups that vanished from a bucket without having been deleted";
    backup_lost_now: GaugeByLocation = Family::default(), "backup_lost_now", "Backup objects that are Lost now";
    schedule_created: GaugeBySchedule = Family::default(), "schedule_created_timestamp", "When the schedule was made, Unix seconds";
    deletion_attempts: BySchedule = Family::default(), "backup_deletion_attempt", "Deletions of backups begun";
    deletion_success: BySchedule = Family::default(), "backup_deletion_success", "Backups deleted";
    deletion_failure: BySchedule = Family::default(), "backup_deletion_failure", "Deletions of backups that failed";
    location_available: GaugeByLocation = Family::default(), "backup_location_status_gauge", "1 if the location can be used, else 0";
    restores: Gauge = Gauge::default(), "restore_total", "Restores that exist now";
    restore_attempts: BySchedule = Family::default(), "restore_attempt", "Restores begun";
    restore_success: BySchedule = Family::default(), "restore_success", "Restores that are Completed";
    restore_partial: BySchedule = Family::default(), "restore_partial_failure", "Restores that are PartiallyFailed";
    restore_failure: BySchedule = Family::default(), "restore_failed", "Restores that are Failed";
    restore_validation_failure: BySchedule = Family::default(), "restore_validation_failed", "Restores whose spec is wrong";
    restore_duration: Durations = Family::new_with_constructor(seconds as fn() -> Histogram), "restore_duration_seconds", "How long restores took";
    repository_bytes: GaugeByLocation = Family::default(), "repository_size_bytes", "Bytes of packs and index in the repository";
    repository_logical_bytes: GaugeByLocation = Family::default(), "repository_logical_bytes", "Bytes that the backups of the repository hold together, each counted in full";
    repository_dedup_ratio: RatioByLocation = Family::default(), "repository_dedup_ratio", "Bytes that the backups of the repository hold together for each byte that is stored";
    recovery_missing: GaugeByLocation = Family::default(), "repository_recovery_missing", "1 if only the key in the cluster's Secret opens the repository, else 0";
    maintenance_success: ByLocation = Family::default(), "repo_maintenance_success", "Prunes of a repository that ended well";
    maintenance_failure: ByLocation = Family::default(), "repo_maintenance_failure", "Prunes of a repository that failed";
    maintenance_duration: DurationsByLocation = Family::new_with_constructor(seconds as fn() -> Histogram), "repo_maintenance_duration_seconds", "How long prunes of a repository took";
    prune_last: GaugeByLocation = Family::default(), "prune_last_timestamp", "When the repository was last pruned, or else the location was made, Unix seconds";
    prune_reclaimed: ByLocation = Family::default(), "prune_reclaimed_bytes", "Bytes that prunes freed";
    verify_last: GaugeByLocation = Family::default(), "verify_last_timestamp", "When a part of the repository was last verified, or else the location was made, Unix seconds";
    verify_oldest: GaugeByLocation = Family::default(), "verify_oldest_data_timestamp", "When the data that was verified longest ago was verified, Unix seconds; 0 if some never was";
    verify_damaged: GaugeByLocation = Family::default(), "verify_damaged_objects", "Damaged objects that the last verify found";
    hook_runs: Family<HookLabel, Counter> = Family::default(), "hook_runs", "Hooks that were run";
    leader: Gauge = Gauge::default(), "leader", "1 if this replica holds the lease";
}

/// What there was when it was last looked.
#[derive(Default)]
struct Kept {
    locations: BTreeSet<String>,
    schedules: BTreeSet<String>,
}

impl Metrics {
    /// Says which locations and schedules there are. The gauges of those that are gone go: nobody can put right what they say.
    pub fn keep(&self, locations: &[String], schedules: &[String]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Kept {
            locations: locations.iter().cloned().collect(),
            schedules: schedules.iter().cloned().collect(),
        };
        for gone in kept.locations.difference(&now.locations) {
            let label = of_location(gone);
            for gauge in [
                &self.location_available,
                &self.repository_bytes,
                &self.repository_logical_bytes,
                &self.recovery_missing,
                &self.backup_lost_now,
            ] {
                gauge.remove(&label);
            }
            self.repository_dedup_ratio.remove(&label);
            self.leave_to_others(&label);
        }
        for gone in kept.schedules.difference(&now.schedules) {
            let label = of_schedule(Some(gone));
            for gauge in [
                &self.backup_last_success,
                &self.backup_last_status,
                &self.backup_items,
                &self.backup_items_errors,
                &self.backup_size,
                &self.schedule_created,
            ] {
                gauge.remove(&label);
            }
        }
        *kept = now;
    }

    /// Shows the counters of a schedule before there is anything to count.
    pub fn expect_schedule(&self, label: &ScheduleLabel) {
        for counter in [
            &self.backup_attempts,
            &self.backup_success,
            &self.backup_partial,
            &self.backup_failure,
            &self.backup_validation_failure,
            &self.backup_warnings,
            &self.backup_added_bytes,
            &self.deletion_attempts,
            &self.deletion_success,
            &self.deletion_failure,
            &self.restore_attempts,
            &self.restore_success,
            &self.restore_partial,
            &self.restore_failure,
            &self.restore_validation_failure,
        ] {
            let _ = counter.get_or_create(label);
        }
    }

    /// Shows the counters of a location before there is anything to count.
    pub fn expect_location(&self, label: &LocationLabel) {
        for counter in [
            &self.backup_lost,
            &self.maintenance_success,
            &self.maintenance_failure,
            &self.prune_reclaimed,
        ] {
            let _ = counter.get_or_create(label);
        }
    }

    /// Says how large a repository is, as far as it has become known, and with it what that is in comparison.
    pub fn measured(&self, label: &LocationLabel, stored: Option<u64>, logical: Option<u64>) {
        let set = |gauge: &GaugeByLocation, value: Option<u64>| {
            if let Some(value) = value {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                gauge.get_or_create_owned(label).set(value);
            }
            gauge.get(label).map(|gauge| gauge.get())
        };
        let stored = set(&self.repository_bytes, stored);
        let logical = set(&self.repository_logical_bytes, logical);
        if let (Some(stored), Some(logical)) = (stored, logical)
            && stored > 0
        {
            // Beyond 2^53 bytes the ratio is as good as exact.
            #[expect(clippy::cast_precision_loss)]
            let ratio = logical as f64 / stored as f64;
            self.repository_dedup_ratio
                .get_or_create_owned(label)
                .set(ratio);
        }
    }

    /// Shows nothing of the upkeep of a repository that others keep up.
    pub fn leave_to_others(&self, label: &LocationLabel) {
        for gauge in [
            &self.prune_last,
            &self.verify_last,
            &self.verify_oldest,
            &self.verify_damaged,
        ] {
            gauge.remove(label);
        }
    }

    /// All of them, as Prometheus reads them.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if text::encode(&mut text, &self.registry).is_err() {
            // A String takes everything.
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

fn register<M: Metric + Clone>(registry: &mut Registry, metric: M, name: &str, help: &str) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// From a second to a day: small backups take less than one, the largest hours.
fn seconds() -> Histogram {
    Histogram::new([
        1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0,
    ])
}

/// The label of a schedule; none means made by hand.
pub fn of_schedule(schedule: Option<&str>) -> ScheduleLabel {
    ScheduleLabel {
        schedule: schedule.unwrap_or_default().to_owned(),
    }
}

/// The label of hooks.
pub fn of_hooks(operation: &str, result: &str) -> HookLabel {
    HookLabel {
        operation: operation.to_owned(),
        result: result.to_owned(),
    }
}

/// The label of a location.
pub fn of_location(location: &str) -> LocationLabel {
    LocationLabel {
        backup_location_name: location.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_shown() {
        let metrics = Metrics::default();
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        for name in ["here", "gone"] {
            let gauge = &metrics.location_available;
            gauge.get_or_create(&of_location(name)).set(0);
            let gauge = &metrics.backup_last_success;
            gauge.get_or_create(&of_schedule(Some(name))).set(1);
        }
        metrics.keep(&names(&["here", "gone"]), &names(&["here", "gone"]));
        metrics.keep(&names(&["here"]), &names(&["here"]));
        let text = metrics.encode();
        assert!(text.contains("{backup_location_name=\"here\"} 0"), "{text}");
        assert!(text.contains("{schedule=\"here\"} 1"), "{text}");
        assert!(!text.contains("gone"), "{text}");
    }

    #[test]
    fn what_alerts_count_is_there_before_it_happens() {
        let metrics = Metrics::default();
        metrics.expect_schedule(&of_schedule(None));
        metrics.expect_location(&of_location("default"));
        let text = metrics.encode();
        for line in [
            "ark_backup_failure_total{schedule=\"\"} 0",
            "ark_backup_partial_failure_total{schedule=\"\"} 0",
            "ark_backup_lost_total{backup_location_name=\"default\"} 0",
            "ark_repo_maintenance_failure_total{backup_location_name=\"default\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_ratio_is_shown_when_both_sides_are_known() {
        let metrics = Metrics::default();
        let label = of_location("default");
        let ratio = "ark_repository_dedup_ratio{";
        metrics.measured(&label, None, Some(300));
        assert!(!metrics.encode().contains(ratio));
        // An empty repository is no infinite gain.
        metrics.measured(&label, Some(0), None);
        assert!(!metrics.encode().contains(ratio));
        metrics.measured(&label, Some(200), None);
        let line = "ark_repository_dedup_ratio{backup_location_name=\"default\"} 1.5";
        assert!(metrics.encode().contains(line));
        metrics.keep(&["default".to_owned()], &[]);
        metrics.keep(&[], &[]);
        assert!(!metrics.encode().contains(ratio));
    }

    #[test]
    fn names_are_those_of_dashboards() {
        let metrics = Metrics::default();
        let nightly = of_schedule(Some("nightly"));
        metrics.backup_attempts.get_or_create(&nightly).inc();
        metrics.backup_success.get_or_create(&nightly).inc();
        metrics.backup_duration.get_or_create(&nightly).observe(2.0);
        metrics.backup_last_success.get_or_create(&nightly).set(17);
        metrics
            .location_available
            .get_or_create(&of_location("default"))
            .set(1);
        metrics
            .restore_failure
            .get_or_create(&of_schedule(None))
            .inc();
        metrics.backups.set(3);
        let text = metrics.encode();
        for line in [
            "ark_backup_total 3",
            "ark_backup_attempt_total{schedule=\"nightly\"} 1",
            "ark_backup_success_total{schedule=\"nightly\"} 1",
            "ark_backup_duration_seconds_bucket{le=\"5.0\",schedule=\"nightly\"} 1",
            "ark_backup_last_successful_timestamp{schedule=\"nightly\"} 17",
            "ark_backup_location_status_gauge{backup_location_name=\"default\"} 1",
            "ark_restore_failed_total{schedule=\"\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
