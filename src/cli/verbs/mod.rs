//! The verbs: one file each. A verb gets its arguments and a [`Context`], and returns how it ended.

mod backup;
mod client;
mod completion;
mod debug;
mod forget;
mod install;
mod location;
mod man;
mod prune;
mod remove;
mod repair;
mod repo;
mod restore;
mod schedule;
mod server;
mod text;
mod verify;
mod version;
mod wait;
mod work;

use super::args::Verb;
use super::args::repo::KeysCommand;
use super::context::Context;
use super::error::Result;
use super::exit::Exit;

/// The requests to the store that a verb made, as its JSON has them.
fn store_requests(counts: &ark_engine::store::RequestCounts) -> serde_json::Value {
    serde_json::json!({
        "get": counts.get,
        "head": counts.head,
        "put": counts.put,
        "list": counts.list,
        "delete": counts.delete,
        "bytesRead": counts.bytes_read,
        "bytesWritten": counts.bytes_written,
    })
}

/// Runs a verb to its end.
pub async fn run(verb: Verb, context: &mut Context) -> Result<Exit> {
    match verb {
        Verb::RepoInit(args) => repo::init::run(args, context).await,
        Verb::RepoInfo(args) => repo::info::run(args, context).await,
        Verb::Keys(KeysCommand::List) => repo::keys::list(context).await,
        Verb::Keys(KeysCommand::Add(args)) => repo::keys::add(args, context).await,
        Verb::Keys(KeysCommand::Remove(args)) => repo::keys::remove(args, context).await,
        Verb::Keys(KeysCommand::Recovery) => repo::keys::recovery(context).await,
        Verb::Keys(KeysCommand::Rotate(args)) => repo::keys::rotate(args, context).await,
        Verb::BackupCreate(args) => backup::create::run(args, context).await,
        Verb::BackupGet(args) => backup::get::run(args, context).await,
        Verb::BackupDescribe(args) => backup::describe::run(args, context).await,
        Verb::BackupLogs(args) => backup::logs::run(args, context).await,
        Verb::Ls(args) => backup::ls::run(args, context).await,
        Verb::Cat(args) => backup::cat::run(args, context).await,
        Verb::Diff(args) => backup::diff::run(args, context).await,
        Verb::BackupDownload(args) => backup::download::run(args, context).await,
        Verb::BackupCancel(args) => backup::cancel::run(args, context).await,
        Verb::BackupDelete(args) => backup::delete::run(args, context).await,
        Verb::Undelete(args) => backup::undelete::run(args, context).await,
        Verb::RestoreCreate(args) => restore::create::run(args, context).await,
        Verb::RestoreGet(args) => restore::get::run(args, context).await,
        Verb::RestoreDescribe(args) => restore::describe::run(args, context).await,
        Verb::RestoreLogs(args) => restore::logs::run(args, context).await,
        Verb::RestoreCancel(args) => restore::cancel::run(args, context).await,
        Verb::RestoreDelete(args) => restore::delete::run(args, context).await,
        Verb::ScheduleCreate(args) => schedule::create::run(*args, context).await,
        Verb::ScheduleGet(args) => schedule::get::run(args, context).await,
        Verb::ScheduleDescribe(args) => schedule::describe::run(args, context).await,
        Verb::SchedulePause(args) => schedule::pause::pause(args, context).await,
        Verb::ScheduleUnpause(args) => schedule::pause::unpause(args, context).await,
        Verb::ScheduleDelete(args) => schedule::delete::run(args, context).await,
        Verb::LocationCreate(args) => location::create::run(*args, context).await,
        Verb::LocationGet(args) => location::get::run(args, context).await,
        Verb::LocationDescribe(args) => location::describe::run(args, context).await,
        Verb::LocationSet(args) => location::set::run(args, context).await,
        Verb::LocationDelete(args) => location::delete::run(args, context).await,
        Verb::Forget(args) => forget::run(args, context).await,
        Verb::Verify(args) => verify::run(args, context).await,
        Verb::Prune(args) => prune::run(args, context).await,
        Verb::Repair(args) => repair::run(args, context).await,
        Verb::Install(args) => install::install(*args, context).await,
        Verb::Upgrade(args) => install::upgrade(args, context).await,
        Verb::Uninstall(args) => install::uninstall(args, context).await,
        Verb::Server(args) => server::run(args, context).await,
        Verb::Debug(args) => debug::run(args, context).await,
        Verb::ConfigGet(args) => client::get(args, context),
        Verb::ConfigSet(args) => client::set(args, context),
        Verb::ConfigUnset(args) => client::unset(args, context),
        Verb::Completion(args) => completion::run(args, context),
        Verb::Man(args) => man::run(args, context),
        Verb::Version => version::run(context),
    }
}
