//! Which backups of the repository the user means.
//!
//! A backup is named by its name, which is unique within one cluster, or by its id, which is unique. A name that several
//! clusters use is never guessed: the error lists them. Everything here is pure and works on the rows of the
//! repository.

use std::collections::BTreeMap;

use ark_engine::BackupRow;

use super::error::{Error, Result};

/// The rows that a set of arguments may choose from.
#[derive(Debug, Clone)]
pub struct Rows {
    live: Vec<BackupRow>,
    deleted: Vec<BackupRow>,
}

impl Rows {
    /// The rows of the repository, limited to one cluster if one is named (by name or id).
    pub fn new(rows: Vec<BackupRow>, cluster: Option<&str>) -> Result<Rows> {
        let mut rows = rows;
        if let Some(cluster) = cluster {
            let id = cluster_id(&rows, cluster)?;
            rows.retain(|row| row.cluster.id == id);
        }
        let (deleted, live) = rows.into_iter().partition(|row| row.forgotten.is_some());
        Ok(Rows { live, deleted })
    }

    /// The backups that are not deleted, newest first.
    pub fn live(&self) -> &[BackupRow] {
        &self.live
    }

    /// The deleted ones that no prune has removed yet.
    pub fn deleted(&self) -> &[BackupRow] {
        &self.deleted
    }

    /// Whether they belong to more than one cluster.
    pub fn several_clusters(&self) -> bool {
        clusters(self.live.iter().chain(&self.deleted)).len() > 1
    }

    /// The one backup of that name or id.
    pub fn find(&self, name: &str) -> Result<&BackupRow> {
        find(&self.live, name)?.ok_or_else(|| Error::NoBackup {
            name: name.to_owned(),
            deleted: matches!(find(&self.deleted, name), Ok(Some(_)) | Err(_)),
        })
    }

    /// The one deleted backup of that name or id.
    pub fn find_deleted(&self, name: &str) -> Result<&BackupRow> {
        find(&self.deleted, name)?.ok_or_else(|| Error::NoBackup {
            name: name.to_owned(),
            deleted: false,
        })
    }

    /// All of them, if they belong to one cluster: "all" never reaches into a cluster that nobody mentioned.
    pub fn all_of_one_cluster(&self) -> Result<&[BackupRow]> {
        let clusters = clusters(&self.live);
        match clusters.len() {
            0 | 1 => Ok(&self.live),
            _ => Err(Error::SeveralClusters {
                clusters: clusters.into_values().collect(),
            }),
        }
    }
}

fn find<'a>(rows: &'a [BackupRow], name: &str) -> Result<Option<&'a BackupRow>> {
    // An id is 32 hex digits, which is a valid name too; the name wins, as the user typed a name more likely.
    let named: Vec<&BackupRow> = rows.iter().filter(|row| row.name == name).collect();
    match named.as_slice() {
        [] => Ok(rows.iter().find(|row| row.id.to_string() == name)),
        [row] => Ok(Some(row)),
        [first, rest @ ..] => {
            if rest.iter().all(|row| row.cluster.id == first.cluster.id) {
                // A deleted backup and its successor of the same name: the newest is meant.
                return Ok(named.iter().copied().max_by_key(|row| row.created));
            }
            Err(Error::SeveralBackups {
                name: name.to_owned(),
                clusters: clusters(named.iter().copied()).into_values().collect(),
            })
        }
    }
}

/// The id of the cluster with this name or id.
pub fn cluster_id(rows: &[BackupRow], cluster: &str) -> Result<String> {
    if rows.iter().any(|row| row.cluster.id == cluster) {
        return Ok(cluster.to_owned());
    }
    let mut named = clusters(rows.iter().filter(|row| row.cluster.name == cluster));
    match (named.pop_first(), named.is_empty()) {
        (Some((id, _)), true) => Ok(id),
        (Some((id, label)), false) => Err(Error::SeveralClusters {
            clusters: std::iter::once((id, label))
                .chain(named)
                .map(|(id, name)| format!("{name} ({id})"))
                .collect(),
        }),
        (None, _) => Err(Error::NoCluster {
            name: cluster.to_owned(),
        }),
    }
}

/// Id to name of the clusters of these rows.
fn clusters<'a>(rows: impl IntoIterator<Item = &'a BackupRow>) -> BTreeMap<String, String> {
    rows.into_iter()
        .map(|row| (row.cluster.id.clone(), label(row)))
        .collect()
}

/// What to call the cluster of a row.
pub fn label(row: &BackupRow) -> String {
    match row.cluster.name.is_empty() {
        true => row.cluster.id.clone(),
        false => row.cluster.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use ark_engine::{BackupStatus, ClusterRef, Counts, SessionId, WriteStats};

    fn row(name: &str, cluster: &str, created: i64, deleted: bool) -> BackupRow {
        let mut id = [0; 16];
        id[0] = u8::try_from(created).unwrap();
        BackupRow {
            row: ark_format::documents::BackupRow {
                id: SessionId(id),
                epoch: 0,
                name: name.to_owned(),
                cluster: ClusterRef {
                    id: format!("uid-{cluster}"),
                    name: cluster.trim_end_matches('\'').to_owned(),
                },
                created,
                status: BackupStatus::Completed,
                counts: Counts::default(),
                stats: WriteStats::default(),
                expires: None,
                datasets: Vec::new(),
                segments: Vec::new(),
                previous: None,
                manifest_size: 0,
            },
            forgotten: deleted.then_some(1),
            lost: false,
        }
    }

    #[test]
    fn names_and_ids_find_one_backup() {
        let rows = Rows::new(vec![row("a", "x", 1, false), row("b", "x", 2, false)], None).unwrap();
        assert_eq!(rows.find("a").unwrap().created, 1);
        let id = rows.find("b").unwrap().id.to_string();
        assert_eq!(rows.find(&id).unwrap().name, "b");
        assert!(matches!(
            rows.find("c"),
            Err(Error::NoBackup { deleted: false, .. })
        ));
        assert!(!rows.several_clusters());
        assert_eq!(rows.all_of_one_cluster().unwrap().len(), 2);
    }

    #[test]
    fn a_name_of_several_clusters_is_never_guessed() {
        let all = vec![row("a", "x", 1, false), row("a", "y", 2, false)];
        let rows = Rows::new(all.clone(), None).unwrap();
        assert!(matches!(rows.find("a"), Err(Error::SeveralBackups { .. })));
        assert!(rows.all_of_one_cluster().is_err());
        let rows = Rows::new(all.clone(), Some("y")).unwrap();
        assert_eq!(rows.find("a").unwrap().created, 2);
        assert_eq!(
            Rows::new(all.clone(), Some("uid-x")).unwrap().live().len(),
            1
        );
        assert!(matches!(
            Rows::new(all, Some("z")),
            Err(Error::NoCluster { .. })
        ));
    }

    #[test]
    fn two_clusters_of_one_name_are_told_apart_by_id() {
        let all = vec![row("a", "x", 1, false), row("a", "x'", 2, false)];
        let error = Rows::new(all.clone(), Some("x")).unwrap_err().to_string();
        assert!(error.contains("uid-x'"), "{error}");
        assert_eq!(Rows::new(all, Some("uid-x'")).unwrap().live().len(), 1);
    }

    #[test]
    fn deleted_backups_are_apart_and_the_newest_is_meant() {
        let all = vec![
            row("a", "x", 1, true),
            row("a", "x", 2, true),
            row("b", "x", 3, false),
        ];
        let rows = Rows::new(all, None).unwrap();
        assert!(matches!(
            rows.find("a"),
            Err(Error::NoBackup { deleted: true, .. })
        ));
        assert_eq!(rows.find_deleted("a").unwrap().created, 2);
        assert!(rows.find_deleted("b").is_err());
    }
}
