//! Which of the cluster's Backup objects the user means: by name, by the id in the repository, by labels, by cluster.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::line::Line;
use crate::api::Backup;
use crate::cli::error::{Error, Result};
use crate::cli::served::{Found, Served};
use crate::cluster::Selector;

/// A Backup object and the line that shows it.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub found: Found<Backup>,
    pub line: Line,
}

impl Chosen {
    /// Whether its labels are these.
    pub fn is_selected(&self, selector: &Selector) -> bool {
        let labels = self.found.object.labels().iter();
        selector.matches(labels.map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

/// Backup objects.
pub struct Objects(Vec<Chosen>);

impl Objects {
    /// Those of the cluster, newest first; of one cluster, if one is named by name or id.
    pub async fn read(served: &Served, cluster: Option<&str>) -> Result<Objects> {
        // Who may not look there sees the name that the kubeconfig gives it, and no id.
        let _ = served.cluster().identify().await;
        let mut all: Vec<Chosen> = served
            .list::<Backup>()
            .await?
            .into_iter()
            .map(|found| Chosen {
                line: Line::of_object(&found, served),
                found,
            })
            .collect();
        if let Some(wanted) = cluster {
            all.retain(|chosen| {
                let (id, name) = &chosen.line.cluster;
                id == wanted || name == wanted
            });
            if all.is_empty() {
                return Err(Error::NoCluster {
                    name: wanted.to_owned(),
                });
            }
        }
        all.sort_by(|a, b| (b.line.created, &a.line.name).cmp(&(a.line.created, &b.line.name)));
        Ok(Objects(all))
    }

    /// Whether they belong to more than one cluster.
    pub fn several_clusters(&self) -> bool {
        let first = self.0.first().map(|chosen| &chosen.line.cluster);
        self.0
            .iter()
            .any(|chosen| Some(&chosen.line.cluster) != first)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Chosen> {
        self.0.clone()
    }

    /// All of them, if they belong to one cluster: "all" never reaches into a cluster that nobody mentioned.
    pub fn all_of_one_cluster(&self) -> Result<Vec<Chosen>> {
        if !self.several_clusters() {
            return Ok(self.all());
        }
        let names = self.0.iter().map(|chosen| chosen.line.cluster_label());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        Err(Error::SeveralClusters {
            clusters: names.into_iter().collect(),
        })
    }

    /// The one of that name or id.
    pub fn find(&self, name: &str, served: &Served) -> Result<&Chosen> {
        let id = |chosen: &&Chosen| chosen.line.id.as_deref() == Some(name);
        self.0
            .iter()
            .find(|chosen| chosen.line.name == name)
            .or_else(|| self.0.iter().find(id))
            .ok_or_else(|| served.none::<Backup>(name))
    }

    /// Those of these names or ids, each once.
    pub fn named(&self, names: &[String], served: &Served) -> Result<Vec<Chosen>> {
        let mut found: Vec<Chosen> = Vec::new();
        for name in names {
            let chosen = self.find(name, served)?;
            if !found
                .iter()
                .any(|known| known.line.name == chosen.line.name)
            {
                found.push(chosen.clone());
            }
        }
        Ok(found)
    }
}
