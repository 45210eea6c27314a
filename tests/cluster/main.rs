//! `ark` as its users run it: the program itself, against real apiservers and real stores.
//!
//! Every test starts servers of its own, in folders of its own, and ends them by dropping them; none knows of another.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chaos;
mod chart;
mod client;
mod damage;
mod debug;
mod definitions;
mod downloads;
mod examples;
mod filters;
mod hooks;
mod install;
mod interruption;
mod locations;
mod monitoring;
mod operations;
mod place;
mod quickstart;
mod refusals;
mod restore;
mod round_trip;
mod served;
mod snapshot;
mod storage;
mod together;
