//! `cli` of the main crate: what people type.

#[path = "../../src/cli/size.rs"]
pub mod size;
#[path = "../../src/cli/time.rs"]
pub mod time;
#[path = "../../src/cli/args/values.rs"]
pub mod values;
