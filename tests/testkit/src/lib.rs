//! Real counterparts for ark's tests, demo and figures: a Kubernetes control plane and MinIO on loopback, a data set to
//! fill a cluster with, and the floors that ark's own times are compared with.
//!
//! Nothing here is a mock. Every server is the one that users run, started on free ports of 127.0.0.1 in a folder of its own, so
//! that any number of them can run at once, and ended by the handle that started it and by nothing else. The programs come from
//! `tests/cluster/build.sh`.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = ark_testkit::ControlPlane::start().await?;
//! let api = ark_testkit::Api::connect(&cluster.kubeconfig()).await?;
//! let data = ark_testkit::Dataset::new(&ark_testkit::DatasetSpec { objects: 500, ..Default::default() });
//! let loaded = ark_testkit::load(&api, &data).await?;
//! assert_eq!(loaded.created, 500);
//! # Ok(())
//! # }
//! ```

mod api;
mod ark;
mod azurite;
mod binaries;
mod chaos;
mod churn;
mod control_plane;
pub mod dataset;
mod fake_gcs;
mod floor;
mod image;
mod load;
mod minio;
mod node;
mod ports;
mod process;
mod s3;
mod terminal;

pub use api::{Api, ApiError, Listed, Resource};
pub use ark::{Ark, Ran, Running};
pub use azurite::Azurite;
pub use binaries::folder as binaries_folder;
pub use chaos::{ChaosOptions, Summary as ChaosSummary, chaos};
pub use churn::{Churn, ChurnReport, churn};
pub use control_plane::{ControlPlane, Options};
pub use dataset::{Dataset, DatasetSpec};
pub use fake_gcs::FakeGcs;
pub use floor::{FloorReport, PostReport, dump, floor, post_floor};
pub use image::Image;
pub use load::{LoadReport, load, unload};
pub use minio::{Minio, MinioOptions};
pub use node::{BUSYBOX, Node};
pub use process::stop_folder;
pub use s3::{Answer, S3, Version};
pub use terminal::Terminal;
