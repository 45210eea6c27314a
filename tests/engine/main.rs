//! Engine tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod model;
mod store;
mod roundtrip;
