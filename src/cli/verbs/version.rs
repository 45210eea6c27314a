//! `ark version`

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;

pub fn run(context: &mut Context) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let format = ark_format::limits::FORMAT_VERSION;
    let value = json!({ "version": version, "formatVersion": format });
    context.printer.one(&value, version, || {
        format!("ark {version}, repository format {format}\n")
    })?;
    Ok(Exit::Ok)
}
