//! `ark backup cat`

use ark_engine::objects::object_key;

use super::{objects, rows};
use crate::cli::args::backup::CatArgs;
use crate::cli::args::global::Output;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{resolve, resources};

pub async fn run(args: CatArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let object = interrupt.unless(find(&args, context)).await??;
    match context.printer.format() {
        Output::Json | Output::Yaml => context.printer.value(&object)?,
        Output::Name => {
            let text = format!("{}/{}\n", args.resource, args.object);
            context.printer.text(&text)?;
        }
        // What kubectl users pipe into kubectl.
        Output::Table | Output::Wide => {
            let text = serde_yaml_ng::to_string(&object).map_err(std::io::Error::other)?;
            context.printer.text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

async fn find(args: &CatArgs, context: &Context) -> Result<serde_json::Value> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let row = rows.find(&args.backup)?;
    let (reader, map) = objects(&repository, row).await?;
    let all = resources(&reader, &map, &row.name).await?;
    let resource = resolve(&all, &args.resource, &row.name)?;
    let (namespace, name) = args.object.split_once('/').unwrap_or(("", &args.object));
    let missing = || Error::NoObject {
        backup: row.name.clone(),
        resource: resource.to_string(),
        object: args.object.clone(),
    };
    if name.is_empty() {
        return Err(missing());
    }
    let doing = || format!("cannot read {resource} {} from {}", args.object, row.name);
    let key = object_key(&resource.group, &resource.resource, namespace, name);
    let value = map.get(&key).await.doing(doing())?.ok_or_else(missing)?;
    let bytes = reader.read(&value).await.doing(doing())?;
    resource.complete(&bytes).map_err(|source| Error::Document {
        of: format!("{resource} {}", args.object),
        source,
    })
}
