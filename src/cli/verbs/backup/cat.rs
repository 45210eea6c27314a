//! `ark backup cat`
//!
//! One object is printed as `kubectl get -o yaml` prints it. All objects of a resource or of the whole backup are streamed: as
//! YAML documents, or with `-o json` as a list whose objects are the very bytes that the API server gave, one to a line.

use bytes::Bytes;

use super::{Part, ask};
use crate::cli::args::backup::CatArgs;
use crate::cli::args::global::Output;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::Printer;
use crate::server::reading::objects::{BackedUpResource, qualified};
use crate::server::reading::{Head, Pieces, Wanted};

pub async fn run(args: CatArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let wanted = Wanted {
        resource: args.resource.clone(),
        object: args.object.clone(),
        prefix: None,
        contents: args.object.is_some() || context.printer.format() != Output::Name,
    };
    let asked = ask(&args.backup, &args.cluster, Part::Objects(wanted), context);
    let (_, mut pieces) = interrupt.unless(asked).await??;
    if args.object.is_none() {
        return all(pieces, context).await;
    }
    let object = interrupt.unless(one(&mut pieces)).await??;
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

async fn one(pieces: &mut Pieces) -> Result<serde_json::Value> {
    let (mut of, mut found) = (None, serde_json::Value::Null);
    while let Some(piece) = pieces.next().await? {
        match (piece.head, &of) {
            (Head::Resource(resource), _) => of = Some(resource),
            (
                Head::Object {
                    namespace, name, ..
                },
                Some(resource),
            ) => {
                let object = resource.complete(&piece.body);
                found = object.map_err(document(resource, &qualified(&namespace, &name)))?;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Every object of a resource, or of the backup.
async fn all(mut pieces: Pieces, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let mut sink = Sink {
        printer: &mut context.printer,
        printed: false,
    };
    let mut of = None;
    // What was asked for is there before anything is printed.
    let mut next = interrupt.unless(pieces.next()).await??;
    sink.begin()?;
    while let Some(piece) = next {
        match (piece.head, &of) {
            (Head::Resource(resource), _) => of = Some(resource),
            (
                Head::Object {
                    namespace, name, ..
                },
                Some(resource),
            ) => sink.print(resource, &qualified(&namespace, &name), &piece.body)?,
            _ => {}
        }
        next = interrupt.unless(pieces.next()).await??;
    }
    sink.end()?;
    Ok(Exit::Ok)
}

fn document(
    resource: &BackedUpResource,
    name: &str,
) -> impl FnOnce(serde_json::Error) -> Error + use<> {
    let of = format!("{resource} {name}");
    move |source| Error::Document { of, source }
}

/// Where streamed objects go.
struct Sink<'a> {
    printer: &'a mut Printer,
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

    fn print(&mut self, resource: &BackedUpResource, name: &str, bytes: &Bytes) -> Result<()> {
        match self.printer.format() {
            Output::Name => self.printer.text(&format!("{resource}/{name}\n"))?,
            Output::Json => {
                let separator = if self.printed { ",\n" } else { "\n" };
                self.printer.text(separator)?;
                let whole = resource.complete_bytes(bytes);
                let whole = whole.map_err(document(resource, name))?;
                self.printer.bytes(&whole)?;
            }
            Output::Table | Output::Wide | Output::Yaml => {
                let object = resource.complete(bytes).map_err(document(resource, name))?;
                let text = serde_yaml_ng::to_string(&object).map_err(std::io::Error::other)?;
                self.printer.text(&format!("---\n{text}"))?;
            }
        }
        self.printed = true;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.printer.format() == Output::Json {
            self.printer.text("\n]}\n")?;
        }
        Ok(())
    }
}
