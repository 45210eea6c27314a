//! What every verb takes.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::cli::size::parse_size;

/// All global arguments.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Which repository, and how it opens.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// How its object store is reached.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which cluster.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// How much of the machine to use.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which repository, and how it opens.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Repository")]
pub struct RepositoryArgs {
    /// URL of the repository: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, global = true, value_name = "URL")]
    pub repo: Option<String>,
    /// File that holds the repository's raw key (32 bytes, 64 hex digits or a recovery key)
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File whose first line is the passphrase
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Command (run by sh) whose first line of output is the passphrase
    #[arg(long, global = true, value_name = "COMMAND")]
    pub passphrase_command: Option<String>,
}

/// How the object store is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Object store")]
pub struct StoreArgs {
    /// URL of an S3-compatible server
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub s3_endpoint: Option<String>,
    /// Region of the S3 bucket
    #[arg(long, global = true, value_name = "REGION", hide_short_help = true)]
    pub s3_region: Option<String>,
    /// Put the bucket into the path, not into the host name
    #[arg(long, global = true, hide_short_help = true)]
    pub s3_path_style: bool,
    /// PEM file of certificates to trust
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub ca_file: Option<PathBuf>,
    /// Proxy for the object store
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub proxy: Option<String>,
    /// Storage class of new objects
    #[arg(long, global = true, value_name = "CLASS", hide_short_help = true)]
    pub storage_class: Option<String>,
    /// KMS key that S3 encrypts new objects with, besides ark's own encryption
    #[arg(long, global = true, value_name = "KEY", hide_short_help = true)]
    pub sse_kms_key: Option<String>,
}

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct KubeArgs {
    /// Namespace of ark's own resources [default: heptio-ark]
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAMESPACE",
        hide_short_help = true
    )]
    pub namespace: Option<String>,
    /// Kubeconfig file
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "CONTEXT", hide_short_help = true)]
    pub kubecontext: Option<String>,
}

/// How much of the machine to use.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Resources")]
pub struct TuningArgs {
    /// Most bytes to send to the object store in a second, like 10M
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pub limit_upload: Option<u64>,
    /// Most bytes to receive from the object store in a second
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pub limit_download: Option<u64>,
    /// Memory budget [default: 64Mi]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pub memory: Option<u64>,
    /// Keep no local cache
    #[arg(
        long,
        global = true,
        conflicts_with = "cache_dir",
        hide_short_help = true
    )]
    pub no_cache: bool,
    /// Folder of the local cache [default: ~/.cache/ark]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub cache_dir: Option<PathBuf>,
}

/// What to print.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to print the result
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Say more on stderr (-v, -vv, -vvv)
    #[arg(short, long, global = true, action = ArgAction::Count, hide_short_help = true)]
    pub verbose: u8,
    /// What to log to stderr: error, warn, info, debug, trace, or a filter
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        conflicts_with = "verbose",
        hide_short_help = true
    )]
    pub log_level: Option<String>,
    /// What is logged when nothing is said; a verb may log more than the others.
    #[arg(skip)]
    pub usual_log: Option<&'static str>,
    /// No progress and no remarks on stderr; errors still
    #[arg(short, long, global = true, hide_short_help = true)]
    pub quiet: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table or a text
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Only the names
    Name,
}
