//! The command line: what was said, and nothing of what it means.
//!
//! Only clap types live here and below; `settings` resolves them together with the environment. Each verb has one
//! argument struct, used by both orders (`ark backup create X` and `ark create backup X`), so the two cannot drift
//! apart: [`Command::verb`] folds them into one [`Verb`].

pub mod backup;
pub mod client;
pub mod filters;
pub mod global;
pub mod install;
pub mod location;
pub mod maintenance;
pub mod repo;
pub mod restore;
pub mod schedule;
pub mod server;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{env, exit};
use backup::{
    BackupCancelArgs, BackupCommand, BackupCreateArgs, BackupDeleteArgs, BackupDescribeArgs,
    BackupDownloadArgs, BackupGetArgs, CatArgs, DiffArgs, LogsArgs, LsArgs, UndeleteArgs,
};
use client::{
    ClientCommand, ConfigCommand, ConfigGetArgs, ConfigSetArgs, ConfigUnsetArgs, DebugArgs,
};
use global::GlobalArgs;
use install::{InstallArgs, UninstallArgs, UpgradeArgs};
use location::{
    LocationCommand, LocationCreateArgs, LocationDeleteArgs, LocationDescribeArgs, LocationGetArgs,
    LocationSetArgs,
};
use maintenance::{ForgetArgs, PruneArgs, RepairArgs, VerifyArgs};
use repo::{KeysCommand, RepoCommand, RepoInfoArgs, RepoInitArgs};
use restore::{
    RestoreCancelArgs, RestoreCommand, RestoreCreateArgs, RestoreDeleteArgs, RestoreDescribeArgs,
    RestoreGetArgs, RestoreLogsArgs,
};
use schedule::{
    ScheduleCommand, ScheduleCreateArgs, ScheduleDeleteArgs, ScheduleDescribeArgs, ScheduleGetArgs,
    SchedulePauseArgs, ScheduleUnpauseArgs,
};
use server::{LogFormat, ServerArgs};

/// Back up and restore Kubernetes clusters
///
/// ark keeps backups of a cluster's API objects in a content-addressed, deduplicating, encrypted repository in object
/// storage. `ark backup create X` and `ark create backup X` are the same: every verb works in both orders.
#[derive(Debug, Parser)]
#[command(
    name = "ark",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = exit::help(),
    after_long_help = format!("{}\n\n{}", exit::help(), env::help())
)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The first word after `ark`.
#[derive(Debug, Subcommand)]
#[command(
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Commands"
)]
pub enum Command {
    /// Create a repository, look at it, manage its keys
    #[command(subcommand)]
    Repo(RepoCommand),
    /// Make, list, read, compare and delete backups
    #[command(subcommand, alias = "backups")]
    Backup(BackupCommand),
    /// Restore from a backup; list and read past restores
    #[command(subcommand, alias = "restores")]
    Restore(RestoreCommand),
    /// Let the server make backups at set times
    #[command(subcommand, alias = "schedules")]
    Schedule(ScheduleCommand),
    /// Name the places where the server keeps backups
    #[command(subcommand, alias = "backup-locations")]
    BackupLocation(LocationCommand),
    /// Delete the backups that the keep rules do not keep
    Forget(ForgetArgs),
    /// Check that every backup can be read
    Verify(VerifyArgs),
    /// Free the space of deleted backups
    Prune(PruneArgs),
    /// Save what can be saved of a damaged repository
    Repair(RepairArgs),

    /// Same as `ark backup create`, `ark restore create` and so on
    #[command(subcommand)]
    Create(CreateCommand),
    /// Same as `ark backup get`, `ark restore get` and so on
    #[command(subcommand)]
    Get(GetCommand),
    /// Same as `ark backup describe`, `ark restore describe` and so on
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Same as `ark backup logs`, `ark restore logs`
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Same as `ark backup ls`
    #[command(subcommand, hide = true)]
    Ls(OfBackup<LsArgs>),
    /// Same as `ark backup cat`
    #[command(subcommand, hide = true)]
    Cat(OfBackup<CatArgs>),
    /// Same as `ark backup diff`
    #[command(subcommand, hide = true)]
    Diff(OfBackup<DiffArgs>),
    /// Same as `ark backup download`
    #[command(subcommand, hide = true)]
    Download(OfBackup<BackupDownloadArgs>),
    /// Same as `ark backup cancel`, `ark restore cancel`
    #[command(subcommand, hide = true)]
    Cancel(CancelCommand),
    /// Same as `ark backup delete`, `ark restore delete` and so on
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Same as `ark schedule pause`
    #[command(subcommand, hide = true)]
    Pause(OfSchedule<SchedulePauseArgs>),
    /// Same as `ark schedule unpause`
    #[command(subcommand, hide = true)]
    Unpause(OfSchedule<ScheduleUnpauseArgs>),
    /// Same as `ark backup-location set`
    #[command(subcommand, hide = true)]
    Set(OfLocation<LocationSetArgs>),
    /// Same as `ark backup undelete`
    #[command(subcommand, hide = true)]
    Undelete(OfBackup<UndeleteArgs>),
    /// Same as `ark repo init`
    #[command(subcommand, hide = true)]
    Init(OfRepo<RepoInitArgs>),
    /// Same as `ark repo info`
    #[command(subcommand, hide = true)]
    Info(OfRepo<RepoInfoArgs>),

    /// Install the server into the cluster
    Install(Box<InstallArgs>),
    /// Renew the server and the definitions of its kinds
    Upgrade(UpgradeArgs),
    /// Remove ark from the cluster; backups stay in the bucket
    Uninstall(UninstallArgs),
    /// Run the server for ark's custom resources
    Server(ServerArgs),
    /// Collect what helps to find out what is wrong with a server, without secrets
    Debug(DebugArgs),
    /// Settings that are used where no flag says otherwise
    #[command(subcommand)]
    Client(ClientCommand),

    /// Print the completion script of a shell
    Completion(CompletionArgs),
    /// Write the manual pages into a folder
    Man(ManArgs),
    /// Print the version of ark and of the repository format
    Version,
}

/// `ark create …`
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Back up the cluster
    #[command(alias = "backups")]
    Backup(BackupCreateArgs),
    /// Restore from a backup
    #[command(alias = "restores")]
    Restore(RestoreCreateArgs),
    /// Let the server make backups at set times
    #[command(alias = "schedules")]
    Schedule(Box<ScheduleCreateArgs>),
    /// Name a place for backups
    #[command(alias = "backup-locations")]
    BackupLocation(Box<LocationCreateArgs>),
}

/// `ark get …`
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// List backups
    #[command(alias = "backup")]
    Backups(BackupGetArgs),
    /// List restores
    #[command(alias = "restore")]
    Restores(RestoreGetArgs),
    /// List schedules
    #[command(alias = "schedule")]
    Schedules(ScheduleGetArgs),
    /// List locations
    #[command(alias = "backup-location")]
    BackupLocations(LocationGetArgs),
}

/// `ark describe …`
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// Show a backup
    #[command(alias = "backups")]
    Backup(BackupDescribeArgs),
    /// Show a restore
    #[command(alias = "restores")]
    Restore(RestoreDescribeArgs),
    /// Show a schedule
    #[command(alias = "schedules")]
    Schedule(ScheduleDescribeArgs),
    /// Show a location
    #[command(alias = "backup-locations")]
    BackupLocation(LocationDescribeArgs),
}

/// `ark logs …`
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Print the log of a backup
    #[command(alias = "backups")]
    Backup(LogsArgs),
    /// Print the log of a restore
    #[command(alias = "restores")]
    Restore(RestoreLogsArgs),
}

/// `ark cancel …`
#[derive(Debug, Subcommand)]
pub enum CancelCommand {
    /// Stop backups that the server is making
    #[command(alias = "backups")]
    Backup(BackupCancelArgs),
    /// Stop restores that the server is making
    #[command(alias = "restores")]
    Restore(RestoreCancelArgs),
}

/// `ark delete …`
#[derive(Debug, Subcommand)]
pub enum DeleteCommand {
    /// Delete backups
    #[command(alias = "backups")]
    Backup(BackupDeleteArgs),
    /// Delete the objects of restores that have ended
    #[command(alias = "restores")]
    Restore(RestoreDeleteArgs),
    /// Delete schedules; the backups stay
    #[command(alias = "schedules")]
    Schedule(ScheduleDeleteArgs),
    /// Delete locations; what is stored there stays
    #[command(alias = "backup-locations")]
    BackupLocation(LocationDeleteArgs),
}

/// Verbs that only backups have.
#[derive(Debug, Subcommand)]
pub enum OfBackup<T: Args> {
    /// … of a backup
    #[command(alias = "backups")]
    Backup(T),
}

/// Verbs that only schedules have.
#[derive(Debug, Subcommand)]
pub enum OfSchedule<T: Args> {
    /// … of a schedule
    #[command(alias = "schedules")]
    Schedule(T),
}

/// Verbs that only locations have.
#[derive(Debug, Subcommand)]
pub enum OfLocation<T: Args> {
    /// … of a location
    #[command(alias = "backup-locations")]
    BackupLocation(T),
}

/// Verbs that only repositories have.
#[derive(Debug, Subcommand)]
pub enum OfRepo<T: Args> {
    /// … of a repository
    #[command(alias = "repository")]
    Repo(T),
}

/// `ark completion`
#[derive(Debug, Args)]
#[command(after_help = "For example: source <(ark completion bash)")]
pub struct CompletionArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `ark man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; it is made if it does not exist
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// What to do, whichever order it was said in.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is the verb of its argument struct")]
pub enum Verb {
    RepoInit(RepoInitArgs),
    RepoInfo(RepoInfoArgs),
    Keys(KeysCommand),
    BackupCreate(BackupCreateArgs),
    BackupGet(BackupGetArgs),
    BackupDescribe(BackupDescribeArgs),
    BackupLogs(LogsArgs),
    Ls(LsArgs),
    Cat(CatArgs),
    Diff(DiffArgs),
    BackupDownload(BackupDownloadArgs),
    BackupCancel(BackupCancelArgs),
    BackupDelete(BackupDeleteArgs),
    Undelete(UndeleteArgs),
    RestoreCreate(RestoreCreateArgs),
    RestoreGet(RestoreGetArgs),
    RestoreDescribe(RestoreDescribeArgs),
    RestoreLogs(RestoreLogsArgs),
    RestoreCancel(RestoreCancelArgs),
    RestoreDelete(RestoreDeleteArgs),
    ScheduleCreate(Box<ScheduleCreateArgs>),
    ScheduleGet(ScheduleGetArgs),
    ScheduleDescribe(ScheduleDescribeArgs),
    SchedulePause(SchedulePauseArgs),
    ScheduleUnpause(ScheduleUnpauseArgs),
    ScheduleDelete(ScheduleDeleteArgs),
    LocationCreate(Box<LocationCreateArgs>),
    LocationGet(LocationGetArgs),
    LocationDescribe(LocationDescribeArgs),
    LocationSet(LocationSetArgs),
    LocationDelete(LocationDeleteArgs),
    Forget(ForgetArgs),
    Verify(VerifyArgs),
    Prune(PruneArgs),
    Repair(RepairArgs),
    Install(Box<InstallArgs>),
    Upgrade(UpgradeArgs),
    Uninstall(UninstallArgs),
    Server(ServerArgs),
    Debug(DebugArgs),
    ConfigGet(ConfigGetArgs),
    ConfigSet(ConfigSetArgs),
    ConfigUnset(ConfigUnsetArgs),
    Completion(CompletionArgs),
    Man(ManArgs),
    Version,
}

impl Verb {
    /// How its log lines look.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Verb::Server(args) => args.log_format,
            _ => LogFormat::Text,
        }
    }
}

impl Command {
    /// Whether the user's own settings count for it. A server has no user, and who mends a file of settings must not need it.
    pub fn heeds_config(&self) -> bool {
        !matches!(
            self,
            Command::Server(_)
                | Command::Client(_)
                | Command::Completion(_)
                | Command::Man(_)
                | Command::Version
        )
    }

    /// What this command logs when nothing is said.
    pub fn usual_log(&self) -> Option<&'static str> {
        match self {
            Command::Server(_) => Some("warn,ark=info,ark_engine=info"),
            _ => None,
        }
    }

    /// Folds NOUN VERB and VERB NOUN into one.
    pub fn verb(self) -> Verb {
        match self {
            Command::Repo(RepoCommand::Init(args)) | Command::Init(OfRepo::Repo(args)) => {
                Verb::RepoInit(args)
            }
            Command::Repo(RepoCommand::Info(args)) | Command::Info(OfRepo::Repo(args)) => {
                Verb::RepoInfo(args)
            }
            Command::Repo(RepoCommand::Keys(command)) => Verb::Keys(command),
            Command::Backup(BackupCommand::Create(args))
            | Command::Create(CreateCommand::Backup(args)) => Verb::BackupCreate(args),
            Command::Backup(BackupCommand::Get(args)) | Command::Get(GetCommand::Backups(args)) => {
                Verb::BackupGet(args)
            }
            Command::Backup(BackupCommand::Describe(args))
            | Command::Describe(DescribeCommand::Backup(args)) => Verb::BackupDescribe(args),
            Command::Backup(BackupCommand::Logs(args))
            | Command::Logs(LogsCommand::Backup(args)) => Verb::BackupLogs(args),
            Command::Backup(BackupCommand::Ls(args)) | Command::Ls(OfBackup::Backup(args)) => {
                Verb::Ls(args)
            }
            Command::Backup(BackupCommand::Cat(args)) | Command::Cat(OfBackup::Backup(args)) => {
                Verb::Cat(args)
            }
            Command::Backup(BackupCommand::Diff(args)) | Command::Diff(OfBackup::Backup(args)) => {
                Verb::Diff(args)
            }
            Command::Backup(BackupCommand::Download(args))
            | Command::Download(OfBackup::Backup(args)) => Verb::BackupDownload(args),
            Command::Backup(BackupCommand::Cancel(args))
            | Command::Cancel(CancelCommand::Backup(args)) => Verb::BackupCancel(args),
            Command::Backup(BackupCommand::Delete(args))
            | Command::Delete(DeleteCommand::Backup(args)) => Verb::BackupDelete(args),
            Command::Backup(BackupCommand::Undelete(args))
            | Command::Undelete(OfBackup::Backup(args)) => Verb::Undelete(args),
            Command::Restore(RestoreCommand::Create(args))
            | Command::Create(CreateCommand::Restore(args)) => Verb::RestoreCreate(args),
            Command::Restore(RestoreCommand::Get(args))
            | Command::Get(GetCommand::Restores(args)) => Verb::RestoreGet(args),
            Command::Restore(RestoreCommand::Describe(args))
            | Command::Describe(DescribeCommand::Restore(args)) => Verb::RestoreDescribe(args),
            Command::Restore(RestoreCommand::Logs(args))
            | Command::Logs(LogsCommand::Restore(args)) => Verb::RestoreLogs(args),
            Command::Restore(RestoreCommand::Cancel(args))
            | Command::Cancel(CancelCommand::Restore(args)) => Verb::RestoreCancel(args),
            Command::Restore(RestoreCommand::Delete(args))
            | Command::Delete(DeleteCommand::Restore(args)) => Verb::RestoreDelete(args),
            Command::Schedule(ScheduleCommand::Create(args))
            | Command::Create(CreateCommand::Schedule(args)) => Verb::ScheduleCreate(args),
            Command::Schedule(ScheduleCommand::Get(args))
            | Command::Get(GetCommand::Schedules(args)) => Verb::ScheduleGet(args),
            Command::Schedule(ScheduleCommand::Describe(args))
            | Command::Describe(DescribeCommand::Schedule(args)) => Verb::ScheduleDescribe(args),
            Command::Schedule(ScheduleCommand::Pause(args))
            | Command::Pause(OfSchedule::Schedule(args)) => Verb::SchedulePause(args),
            Command::Schedule(ScheduleCommand::Unpause(args))
            | Command::Unpause(OfSchedule::Schedule(args)) => Verb::ScheduleUnpause(args),
            Command::Schedule(ScheduleCommand::Delete(args))
            | Command::Delete(DeleteCommand::Schedule(args)) => Verb::ScheduleDelete(args),
            Command::BackupLocation(LocationCommand::Create(args))
            | Command::Create(CreateCommand::BackupLocation(args)) => Verb::LocationCreate(args),
            Command::BackupLocation(LocationCommand::Get(args))
            | Command::Get(GetCommand::BackupLocations(args)) => Verb::LocationGet(args),
            Command::BackupLocation(LocationCommand::Describe(args))
            | Command::Describe(DescribeCommand::BackupLocation(args)) => {
                Verb::LocationDescribe(args)
            }
            Command::BackupLocation(LocationCommand::Set(args))
            | Command::Set(OfLocation::BackupLocation(args)) => Verb::LocationSet(args),
            Command::BackupLocation(LocationCommand::Delete(args))
            | Command::Delete(DeleteCommand::BackupLocation(args)) => Verb::LocationDelete(args),
            Command::Forget(args) => Verb::Forget(args),
            Command::Verify(args) => Verb::Verify(args),
            Command::Prune(args) => Verb::Prune(args),
            Command::Repair(args) => Verb::Repair(args),
            Command::Install(args) => Verb::Install(args),
            Command::Upgrade(args) => Verb::Upgrade(args),
            Command::Uninstall(args) => Verb::Uninstall(args),
            Command::Server(args) => Verb::Server(args),
            Command::Debug(args) => Verb::Debug(args),
            Command::Client(ClientCommand::Config(command)) => match command {
                ConfigCommand::Get(args) => Verb::ConfigGet(args),
                ConfigCommand::Set(args) => Verb::ConfigSet(args),
                ConfigCommand::Unset(args) => Verb::ConfigUnset(args),
            },
            Command::Completion(args) => Verb::Completion(args),
            Command::Man(args) => Verb::Man(args),
            Command::Version => Verb::Version,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn clap_finds_no_contradiction() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn both_orders_say_the_same() {
        for (noun_verb, verb_noun) in [
            ("repo init --if-needed", "init repo --if-needed"),
            ("repo info", "info repo"),
            ("backup create x --ttl 1h", "create backup x --ttl 1h"),
            ("backup get -l a=b", "get backups -l a=b"),
            ("backup get x", "get backup x"),
            ("backup describe x --details", "describe backup x --details"),
            ("backup logs x", "logs backup x"),
            ("backup ls x pods", "ls backup x pods"),
            ("backup cat x pods a/b", "cat backup x pods a/b"),
            ("backup diff a b", "diff backups a b"),
            ("backup cancel x --wait", "cancel backup x --wait"),
            ("backup delete x --confirm", "delete backup x --confirm"),
            ("backup undelete x", "undelete backup x"),
            ("restore create x", "create restore x"),
            ("restore get", "get restores"),
            ("restore describe x", "describe restore x"),
            ("restore logs x", "logs restore x"),
            ("restore cancel x", "cancel restore x"),
            ("restore delete x", "delete restores x"),
            (
                "schedule create x --schedule @daily --keep-last 3",
                "create schedule x --schedule @daily --keep-last 3",
            ),
            ("schedule get", "get schedules"),
            ("schedule describe x", "describe schedule x"),
            ("schedule pause x", "pause schedule x"),
            ("schedule unpause x", "unpause schedule x"),
            ("schedule delete x", "delete schedule x"),
            (
                "backup-location create x --provider aws --bucket b",
                "create backup-location x --provider aws --bucket b",
            ),
            ("backup-location get", "get backup-locations"),
            ("backup-location describe x", "describe backup-location x"),
            (
                "backup-location set x --default",
                "set backup-location x --default",
            ),
            ("backup-location delete x", "delete backup-location x"),
        ] {
            let noun_verb = parse(&format!("ark {noun_verb}")).command.verb();
            let verb_noun = parse(&format!("ark {verb_noun}")).command.verb();
            assert_eq!(format!("{noun_verb:?}"), format!("{verb_noun:?}"));
        }
    }

    #[test]
    fn globals_stand_anywhere() {
        for line in [
            "ark --repo file:///r backup get -o json",
            "ark backup --repo file:///r -o json get",
            "ark -o json backup get --repo file:///r",
        ] {
            let global = parse(line).global;
            assert_eq!(global.repository.repo.as_deref(), Some("file:///r"));
            assert_eq!(global.output.output, Some(global::Output::Json));
        }
    }
}
