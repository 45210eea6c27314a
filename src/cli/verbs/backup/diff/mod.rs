//! `ark backup diff`

mod live;
mod two;

use serde_json::{Value, json};

use crate::cli::args::backup::DiffArgs;
use crate::cli::args::global::Output;
use crate::cli::context::Context;
use crate::cli::difference::{Shown, Tally};
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::Printer;
use crate::server::reading::Difference;

pub async fn run(args: DiffArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let (tally, exit) = interrupt
        .unless(async {
            match &args.after {
                Some(after) => two::run(&args, after, context).await,
                None => live::run(&args, context).await,
            }
        })
        .await??;
    context.talk.note(&tally.to_string());
    Ok(exit)
}

/// Prints differences as they are found; JSON and YAML at the end, in one piece.
struct Sink<'a> {
    printer: &'a mut Printer,
    show_secrets: bool,
    patch: bool,
    tally: Tally,
    kept: Vec<Value>,
}

impl<'a> Sink<'a> {
    fn new(printer: &'a mut Printer, args: &DiffArgs) -> Sink<'a> {
        Sink {
            printer,
            show_secrets: args.show_secrets,
            patch: args.patch,
            tally: Tally::default(),
            kept: Vec::new(),
        }
    }

    fn put(&mut self, difference: &Difference) -> Result<()> {
        self.tally.add(difference.change);
        match self.printer.format() {
            Output::Json | Output::Yaml => {
                let mut difference = difference.clone();
                if difference.resource == "secrets" && !self.show_secrets {
                    (difference.before, difference.after) = (None, None);
                }
                self.kept.push(json!(difference));
            }
            Output::Name => {
                let name = match difference.namespace.as_str() {
                    "" => format!("{}/{}\n", difference.resource, difference.name),
                    namespace => {
                        format!("{}/{namespace}/{}\n", difference.resource, difference.name)
                    }
                };
                self.printer.text(&name)?;
            }
            Output::Table | Output::Wide => {
                let mut text = difference.line();
                if self.patch && (difference.before.is_some() || difference.after.is_some()) {
                    let patch = difference
                        .patch(self.show_secrets)
                        .map_err(std::io::Error::other)?;
                    text.push_str(&patch);
                }
                self.printer.text(&text)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Tally> {
        if matches!(self.printer.format(), Output::Json | Output::Yaml) {
            self.printer
                .value(&json!({ "differences": self.kept, "summary": self.tally }))?;
        }
        Ok(self.tally)
    }
}

fn unreadable(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Error {
    let of = what.into();
    move |source| Error::Document { of, source }
}
