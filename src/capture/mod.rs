//! Cluster → repository.
//!
//! A backup's spec and what the cluster serves make a [`Plan`], a value that can be printed; [`capture`] carries it out.
//! The plan says what is listed; every object of a listing goes as the apiserver sent it into the repository, and its key
//! into the `objects` map. What could not be read completely is recorded as such, in the map and in the report: nobody can
//! take a hole for a deletion. Memory does not grow with the cluster, except for about a hundred bytes an object when
//! filters make it necessary to look for related objects afterwards.

mod batch;
pub mod count;
pub mod document;
mod error;
pub mod filter;
mod gather;
pub mod hooked;
mod pipeline;
pub mod plan;
mod read;
mod related;
pub mod report;
pub mod request;
#[cfg(test)]
mod tests;

pub use count::{Count, count};
pub use error::{Error, Result};
pub use filter::Filter;
pub use pipeline::{CaptureOutcome, capture};
pub use plan::{Listing, Plan, prepare};
pub use report::{CaptureReport, Level, LogLine, Monitor, ResourceReport, Silent};
pub use request::{RequestError, RequestErrors};
