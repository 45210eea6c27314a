//! `ark backup cat`
//!
//! One object is printed as `kubectl get -o yaml` prints it. All objects of a resource or of the whole backup are streamed: as
//! YAML documents, or with `-o json` as a list whose objects are the very bytes that the API server gave, one to a line.

use ark_engine::objects::{object_key, parse_key};
use ark_engine::{Reader, Value};

use super::{objects, rows};
use crate::cli::args::backup::CatArgs;
use crate::cli::args::global::Output;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::interrupt::Interrupt;
use crate::cli::objects::{BackedUpResource, object_name, resolve, resources};
use crate::cli::printer::Printer;
use crate::restore::backup::length;

/// Objects that are read at once.
const BATCH_OBJECTS: usize = 256;
/// Bytes that are read at once, except for an object that is larger by itself.
const BATCH_BYTES: u64 = 4 << 20;

pub async fn run(args: CatArgs, context: &mut Context) -> Result<Exit> {
    if args.object.is_none() {
        return all(&args, context).await;
    }
    let interrupt = context.interrupt.clone();
    let object = interrupt.unless(find(&args, context)).await??;
    match context.printer.format() {
        Output::Json | Output::Yaml => context.printer.value(&object)?,
        Output::Name => {
            let (resource, object) = (args.resource.as_deref(), args.object.as_deref());
            let (resource, object) = (resource.unwrap_or_default(), object.unwrap_or_default());
            context.printer.text(&format!("{resource}/{object}\n"))?;
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
    let wanted = args.resource.as_deref().unwrap_or_default();
    let object = args.object.as_deref().unwrap_or_default();
    let resource = resolve(&all, wanted, &row.name)?;
    let (namespace, name) = object.split_once('/').unwrap_or(("", object));
    let missing = || Error::NoObject {
        backup: row.name.clone(),
        resource: resource.to_string(),
        object: object.to_owned(),
    };
    if name.is_empty() {
        return Err(missing());
    }
    let doing = || format!("cannot read {resource} {object} from {}", row.name);
    let key = object_key(&resource.group, &resource.resource, namespace, name);
    let value = map.get(&key).await.doing(doing())?.ok_or_else(missing)?;
    let bytes = reader.read(&value).await.doing(doing())?;
    resource.complete(&bytes).map_err(|source| Error::Document {
        of: format!("{resource} {object}"),
        source,
    })
}

/// Every object of a resource, or of the backup.
async fn all(args: &CatArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let opened = async {
        let repository = context.open().await?;
        let rows = rows(&repository, &args.cluster).await?;
        let row = rows.find(&args.backup)?.clone();
        let (reader, map) = objects(&repository, &row).await?;
        let mut chosen = resources(&reader, &map, &row.name).await?;
        if let Some(text) = &args.resource {
            chosen = vec![resolve(&chosen, text, &row.name)?.clone()];
        }
        Ok::<_, Error>((row, reader, map, chosen))
    };
    let (row, reader, map, chosen) = interrupt.unless(opened).await??;
    let mut sink = Sink {
        interrupt: &interrupt,
        reader: &reader,
        printer: &mut context.printer,
        backup: &row.name,
        printed: false,
    };
    sink.begin()?;
    for resource in &chosen {
        let (first, to) = resource.key_range();
        let mut range = map.range(&first, Some(&to));
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let next = interrupt.unless(range.next()).await?;
            let next = next.doing(format!("cannot read the objects of {}", row.name))?;
            let Some((key, value)) = next else { break };
            let Some(parsed) = parse_key(&key).filter(|_| key != first) else {
                continue;
            };
            bytes += length(&value);
            batch.push((object_name(&parsed), value));
            if batch.len() == BATCH_OBJECTS || bytes >= BATCH_BYTES {
                sink.print(resource, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        sink.print(resource, batch).await?;
    }
    sink.end()?;
    Ok(Exit::Ok)
}

/// Where streamed objects go.
struct Sink<'a> {
    interrupt: &'a Interrupt,
    reader: &'a Reader,
    printer: &'a mut Printer,
    backup: &'a str,
    printed: bool,
}

impl Sink<'_> {
    fn begin(&mut self) -> Result<()> {
        if self.printer.format() == Output::Json {
            let head = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[";
            self.printer.text(head)?;
        }
        Ok(())
    }

    async fn print(
        &mut self,
        resource: &BackedUpResource,
        batch: Vec<(String, Value)>,
    ) -> Result<()> {
        let format = self.printer.format();
        let (names, values): (Vec<String>, Vec<Value>) = batch.into_iter().unzip();
        if format == Output::Name {
            for name in names {
                self.printer.text(&format!("{resource}/{name}\n"))?;
            }
            return Ok(());
        }
        let objects = self.reader.read_many(values);
        let objects = self.interrupt.unless(objects).await?;
        for (name, bytes) in names.iter().zip(objects) {
            let bytes = bytes.doing(format!(
                "cannot read {resource} {name} from {}",
                self.backup
            ))?;
            let document = |source| Error::Document {
                of: format!("{resource} {name}"),
                source,
            };
            if format == Output::Json {
                let separator = if self.printed { ",\n" } else { "\n" };
                self.printer.text(separator)?;
                let whole = resource.complete_bytes(&bytes).map_err(document)?;
                self.printer.bytes(&whole)?;
            } else {
                let object = resource.complete(&bytes).map_err(document)?;
                let text = serde_yaml_ng::to_string(&object).map_err(std::io::Error::other)?;
                self.printer.text(&format!("---\n{text}"))?;
            }
            self.printed = true;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.printer.format() == Output::Json {
            self.printer.text("\n]}\n")?;
        }
        Ok(())
    }
}
