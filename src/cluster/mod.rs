//! What ark needs of Kubernetes: a connection, discovery, streaming lists, selectors.
//!
//! Capture and restore stand on this row and not on typed objects: objects pass through as the bytes that the apiserver
//! sent, and only the few fields that a decision needs are looked at, borrowed. Every request goes through
//! [`Cluster::call`], so that all are counted, retried and reported in one way.

mod call;
mod connect;
pub mod discovery;
mod error;
#[cfg(test)]
pub(crate) mod fake;
pub mod glob;
pub mod kinds;
pub mod list;
pub mod object;
pub mod page;
mod resolve;
mod resource;
pub mod select;

pub use call::{Call, Patience, RequestCounts, Verb};
pub use connect::{Cluster, ClusterOptions};
pub use discovery::Discovery;
pub use error::{ApiError, Error, Result, describe};
pub use glob::Glob;
pub use kinds::GroupResource;
pub use list::{ListOptions, Lister};
pub use object::{ObjectMetaView, OwnerView};
pub use page::{Item, Page};
pub use resolve::{ResolveError, Resolved};
pub use resource::{Resource, Verbs, encoded};
pub use select::{Selector, SelectorError};
