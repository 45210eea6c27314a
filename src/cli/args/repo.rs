//! `ark repo …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `ark repo …`
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Create a repository
    Init(RepoInitArgs),
    /// Show what the repository consists of
    Info(RepoInfoArgs),
    /// List, add and remove the keys that open the repository
    #[command(subcommand)]
    Keys(KeysCommand),
}

/// `ark repo init`
#[derive(Debug, Args)]
#[command(
    after_help = "The recovery key is printed once, on stdout. Who has it can open the repository: keep it offline.\n\
                        A --key-file that does not exist is made."
)]
pub struct RepoInitArgs {
    /// Do nothing if the repository exists and opens with the given key
    #[arg(long)]
    pub if_needed: bool,
}

/// `ark repo info`
#[derive(Debug, Args)]
pub struct RepoInfoArgs {}

/// `ark repo keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the key slots
    #[command(alias = "get")]
    List,
    /// Add a key or passphrase
    Add(KeysAddArgs),
    /// Remove a key slot
    #[command(alias = "delete")]
    Remove(KeysRemoveArgs),
    /// Make another recovery key and print it
    Recovery,
    /// Make a new data key: backups from now on are encrypted with it
    Rotate(KeysRotateArgs),
}

/// `ark repo keys add`
#[derive(Debug, Args)]
#[command(after_help = "Without one of the --new-… options a passphrase is asked for.")]
pub struct KeysAddArgs {
    /// File with the new raw key; it is made if it does not exist
    #[arg(long, value_name = "FILE", group = "new")]
    pub new_key_file: Option<PathBuf>,
    /// File whose first line is the new passphrase
    #[arg(long, value_name = "FILE", group = "new")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Command (run by sh) whose first line of output is the new passphrase
    #[arg(long, value_name = "COMMAND", group = "new")]
    pub new_passphrase_command: Option<String>,
    /// What the new key may do
    #[arg(long, value_enum, default_value_t)]
    pub role: KeyRole,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyRole {
    /// Everything
    #[default]
    Full,
    /// Back up, restore and verify; not delete, prune or manage keys
    Backup,
}

/// `ark repo keys rotate`
#[derive(Debug, Args)]
#[command(
    after_help = "What is stored already keeps the key that it was encrypted with, and all of it stays readable with the keys\n\
                        and passphrases that there are."
)]
pub struct KeysRotateArgs {
    /// Print what would be done and stop
    #[arg(long)]
    pub dry_run: bool,
}

/// `ark repo keys remove`
#[derive(Debug, Args)]
pub struct KeysRemoveArgs {
    /// The id of the slot, as `ark repo keys list` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Do not ask
    #[arg(long)]
    pub confirm: bool,
}
