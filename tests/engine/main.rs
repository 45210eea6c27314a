//! Engine tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod model;
mod damage;
mod gate;
mod races;
mod reference_model;
mod store;
mod roundtrip;
