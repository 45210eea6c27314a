//! `ark backup-location …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::values::{Labels, Named, Settings};
use crate::api::Provider;
use crate::cli::time::parse_duration;

/// `ark backup-location …`
#[derive(Debug, Subcommand)]
pub enum LocationCommand {
    /// Name a place for backups
    Create(Box<LocationCreateArgs>),
    /// List locations
    Get(LocationGetArgs),
    /// Show a location
    Describe(LocationDescribeArgs),
    /// Change a location
    Set(LocationSetArgs),
    /// Delete locations; what is stored there stays
    Delete(LocationDeleteArgs),
}

/// `ark backup-location create`
#[derive(Debug, Args)]
#[command(
    after_help = "ark backup-location create default --default --provider aws --bucket backups --prefix prod \\\n\
                  \u{20}   --credential cloud-credentials=cloud --config region=eu-central-1"
)]
pub struct LocationCreateArgs {
    /// Name of the location
    pub name: String,
    /// Who stores it
    #[arg(long, value_enum, value_name = "PROVIDER")]
    pub provider: ProviderName,
    /// The bucket (azure: the container; local: the absolute path of a directory that the server sees)
    #[arg(long, value_name = "BUCKET")]
    pub bucket: String,
    /// Where in the bucket
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Settings of the provider, under Velero's names
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub config: Option<Settings>,
    /// The Secret with the credentials, and the key in it [default: the server's own identity]
    #[arg(long, value_name = "SECRET=KEY")]
    pub credential: Option<Named>,
    /// PEM file of certificates to trust
    #[arg(long, value_name = "FILE", alias = "ca-cert")]
    pub cacert: Option<PathBuf>,
    /// The Secret with the key of the repository, and the key in it [default: ark-repository-key=key]
    #[arg(long, value_name = "SECRET=KEY")]
    pub repository_key: Option<Named>,
    /// Whether the server may write to it
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value_t,
        ignore_case = true
    )]
    pub access_mode: AccessModeName,
    /// How often the Backup objects are matched with it [default: what the server was told]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub backup_sync_period: Option<SignedDuration>,
    /// How often it is checked [default: what the server was told]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub validation_frequency: Option<SignedDuration>,
    /// Use it for backups that name no location
    #[arg(long)]
    pub default: bool,
    /// Labels of the location
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Option<Labels>,
    /// Return when the server has checked it; the exit code says whether it can be used
    #[arg(long)]
    pub wait: bool,
}

/// Who stores a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderName {
    /// Amazon S3, or what speaks its protocol
    Aws,
    /// Google Cloud Storage
    Gcp,
    /// Azure Blob Storage
    Azure,
    /// What speaks the S3 protocol at an address of its own
    S3,
    /// A directory that the server sees
    Local,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Provider {
        match name {
            ProviderName::Aws => Provider::Aws,
            ProviderName::Gcp => Provider::Gcp,
            ProviderName::Azure => Provider::Azure,
            ProviderName::S3 => Provider::S3,
            ProviderName::Local => Provider::Local,
        }
    }
}

/// Whether the server may write to a location.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AccessModeName {
    /// Backups are made in it
    #[default]
    #[value(name = "ReadWrite")]
    ReadWrite,
    /// Backups in it can be restored, nothing else
    #[value(name = "ReadOnly")]
    ReadOnly,
}

/// `ark backup-location get`
#[derive(Debug, Args)]
pub struct LocationGetArgs {
    /// Only these locations
    pub names: Vec<String>,
}

/// `ark backup-location describe`
#[derive(Debug, Args)]
pub struct LocationDescribeArgs {
    /// The locations
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `ark backup-location set`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").multiple(true).required(true)))]
pub struct LocationSetArgs {
    /// The location
    pub name: String,
    /// Use it for backups that name no location, in the place of any other
    #[arg(long, group = "change")]
    pub default: bool,
    /// Whether the server may write to it
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        ignore_case = true,
        group = "change"
    )]
    pub access_mode: Option<AccessModeName>,
    /// The Secret with the credentials, and the key in it
    #[arg(long, value_name = "SECRET=KEY", group = "change")]
    pub credential: Option<Named>,
    /// PEM file of certificates to trust
    #[arg(long, value_name = "FILE", alias = "ca-cert", group = "change")]
    pub cacert: Option<PathBuf>,
}

/// `ark backup-location delete`
#[derive(Debug, Args)]
pub struct LocationDeleteArgs {
    /// The locations
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub confirm: bool,
}
