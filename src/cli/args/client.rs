//! `ark client …` and `ark debug`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `ark client …`
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// What is used where no flag and no variable says otherwise
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `ark client config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings, or some of them
    Get(ConfigGetArgs),
    /// Set some
    Set(ConfigSetArgs),
    /// Remove some
    Unset(ConfigUnsetArgs),
}

const KEYS: &str = "Keys: namespace, kubeconfig, kubecontext, output.\n\
                    They stand in $XDG_CONFIG_HOME/ark/config.json (~/.config/ark/config.json). Flags and variables win.";

/// `ark client config get`
#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub struct ConfigGetArgs {
    /// Only these keys
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
}

/// `ark client config set`
#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub struct ConfigSetArgs {
    /// What to set
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub pairs: Vec<String>,
}

/// `ark client config unset`
#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub struct ConfigUnsetArgs {
    /// What to remove
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
}

/// `ark debug`
#[derive(Debug, Args)]
#[command(
    after_help = "Secrets are not read at all. Out of everything else goes what may be one: values of environment\n\
                        variables, commands, tokens, keys, what follows a word like password. Look at it before you\n\
                        give it away all the same: names of objects stay."
)]
pub struct DebugArgs {
    /// Where to write it [default: ark-debug-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// With the logs of these backups
    #[arg(long = "backup", value_name = "BACKUP")]
    pub backups: Vec<String>,
    /// With the logs of these restores
    #[arg(long = "restore", value_name = "RESTORE")]
    pub restores: Vec<String>,
}
