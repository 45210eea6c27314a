//! `ark client config …`

use serde_json::{Map, Value};

use crate::cli::args::client::{ConfigGetArgs, ConfigSetArgs, ConfigUnsetArgs};
use crate::cli::config::{ClientConfig, KEYS, known};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;

pub fn get(args: ConfigGetArgs, context: &mut Context) -> Result<Exit> {
    let config = ClientConfig::read(context.settings.config_file.as_deref())?;
    let keys: Vec<&str> = match args.keys.as_slice() {
        [] => KEYS.to_vec(),
        keys => keys
            .iter()
            .map(|key| known(key))
            .collect::<Result<_, _>>()?,
    };
    let set: Vec<(&str, Option<String>)> =
        keys.into_iter().map(|key| (key, config.get(key))).collect();
    let value: Map<String, Value> = set
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?.into())))
        .collect();
    context.printer.one(&Value::Object(value), "", || {
        set.iter()
            .map(|(key, value)| format!("{key}: {}\n", value.as_deref().unwrap_or("<NOT SET>")))
            .collect()
    })?;
    Ok(Exit::Ok)
}

pub fn set(args: ConfigSetArgs, context: &Context) -> Result<Exit> {
    change(context, |config| {
        for pair in &args.pairs {
            let (key, value) = pair.split_once('=').ok_or_else(|| Error::Usage {
                what: format!("{pair:?} is not KEY=VALUE"),
                hint: None,
            })?;
            config.set(key, Some(value))?;
        }
        Ok(())
    })
}

pub fn unset(args: ConfigUnsetArgs, context: &Context) -> Result<Exit> {
    change(context, |config| {
        for key in &args.keys {
            config.set(key, None)?;
        }
        Ok(())
    })
}

/// All of the changes, or none.
fn change(context: &Context, with: impl FnOnce(&mut ClientConfig) -> Result<()>) -> Result<Exit> {
    let file = context.settings.config_file.as_deref();
    let mut config = ClientConfig::read(file)?;
    with(&mut config)?;
    config.write(file)?;
    Ok(Exit::Ok)
}
