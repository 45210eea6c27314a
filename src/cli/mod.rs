//! The command line: args say, settings mean, verbs do, the printer prints.
//!
//! [`run`] is all of it: it never panics on input, writes data to stdout and talk to stderr, and returns a documented
//! exit code ([`exit::Exit`]).

pub mod archive;
pub mod args;
pub mod catalog;
pub mod config;
pub mod context;
pub mod difference;
pub mod download;
pub mod env;
pub mod error;
pub mod exit;
pub mod interrupt;
pub mod printer;
pub mod progress;
pub mod prompt;
pub mod redact;
pub mod select;
pub mod served;
pub mod settings;
pub mod size;
pub mod spec;
pub mod time;
pub mod unlock;
mod verbs;

use std::ffi::OsString;

use clap::Parser;
use jiff::tz::TimeZone;
use tracing_subscriber::EnvFilter;

use args::global::GlobalArgs;
use args::server::LogFormat;
use args::{Cli, Command, Verb};
use config::ClientConfig;
use context::Context;
use env::Environment;
use error::{Error, Result};
use exit::Exit;
use interrupt::Interrupt;
use printer::Printer;
use progress::Talk;
use settings::Settings;

/// Runs the command line and says how it ended. Everything there is to say has been said.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. A closed pipe is no trouble.
            let _ = error.print();
            return match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Ok,
            };
        }
    };
    cli.global.output.usual_log = cli.command.usual_log();
    let talk = Talk::stderr(cli.global.output.quiet);
    let exit = settings(cli.global, &cli.command)
        .and_then(|settings| execute(cli.command.verb(), settings, &talk));
    prompt::restore_terminal();
    exit.unwrap_or_else(|error| {
        let exit = error.exit();
        if exit != Exit::Ok {
            talk.line(&error.report());
        }
        exit
    })
}

fn settings(args: GlobalArgs, command: &Command) -> Result<Settings> {
    let environment = Environment::of_process();
    let config = match command.heeds_config() {
        true => ClientConfig::read(settings::config_file(&environment).as_deref())?,
        false => ClientConfig::default(),
    };
    Ok(Settings::resolve(args, &environment, &config)?)
}

fn execute(verb: Verb, settings: Settings, talk: &Talk) -> Result<Exit> {
    log_to(talk, &settings.log_filter, verb.log_format())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let setup = |what| {
        move |source: std::io::Error| Error::Setup {
            what,
            source: Box::new(source),
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.clamp(2, 8))
        .enable_all()
        .build()
        .map_err(setup("the asynchronous runtime"))?;
    let result = runtime.block_on(async {
        let mut context = Context {
            printer: Printer::stdout(settings.output),
            settings,
            talk: talk.clone(),
            interrupt: Interrupt::listen(talk.clone()).map_err(setup("the signal handlers"))?,
            zone: TimeZone::system(),
            env: ark_engine::Env::system(threads).map_err(|source| Error::Setup {
                what: "the threads",
                source: Box::new(source),
            })?,
        };
        verbs::run(verb, &mut context).await
    });
    // A thread may be waiting for a line from the terminal for ever.
    runtime.shutdown_background();
    result
}

fn log_to(talk: &Talk, filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| Error::Usage {
            what: format!("the log level {filter:?} does not parse: {error}"),
            hint: Some("give error, warn, info, debug or trace".to_owned()),
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(talk.clone())
        .with_ansi(false)
        .with_target(false);
    // A program that embeds this one may have its own subscriber; then that one counts.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
