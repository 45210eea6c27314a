//! Engine tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adoption;
mod damage;
mod deleted;
mod features;
mod first_error;
mod forgery;
mod gate;
mod holes;
mod lies;
mod locks;
mod matrix;
mod model;
mod privilege;
mod races;
mod reference_model;
mod repair;
mod room;
mod rotation;
mod roundtrip;
mod sim;
mod store;
mod verify_subset;
