//! `api` of the main crate, as far as it reads text from elsewhere.

use std::collections::BTreeMap;

#[path = "../../src/api/duration.rs"]
pub mod duration;
#[path = "../../src/api/labels.rs"]
pub mod labels;
#[path = "../../src/api/names.rs"]
pub mod names;
#[path = "../../src/api/resource_entry.rs"]
pub mod resource_entry;

pub use duration::GoDuration;

/// A selector as Kubernetes' API has it.
#[derive(Clone, Debug, Default)]
pub struct LabelSelector {
    pub match_labels: Option<BTreeMap<String, String>>,
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One of its requirements.
#[derive(Clone, Debug, Default)]
pub struct LabelSelectorRequirement {
    pub key: String,
    pub operator: String,
    pub values: Option<Vec<String>>,
}
