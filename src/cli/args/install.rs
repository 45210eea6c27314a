//! `ark install`, `ark upgrade`, `ark uninstall`

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::SignedDuration;

use super::location::ProviderName;
use super::values::Labels;
use crate::api::Provider;
use crate::cli::time::parse_duration;

/// `ark install`
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("recovery").required(true)),
    group(ArgGroup::new("credential").required(true)),
    override_usage = "ark install --provider PROVIDER --bucket BUCKET --image IMAGE (--secret-file FILE|--no-secret) \
                      (--recovery-passphrase-file FILE|--recovery-key-out FILE|--no-recovery) [OPTIONS]",
    after_help = "The server makes the repository and its key, which stays in the Secret ark-repository-key. Who loses the cluster\n\
                        loses that key; so a second one is asked for, which you keep. It goes to the server in a Secret that the server\n\
                        deletes when the repository has a slot for it: this machine needs no access to the bucket.\n\
                        For example: ark install --provider aws --bucket backups --image registry.example/ark:0.1.0\n\
                                       --backup-location-config region=eu-central-1 --secret-file credentials\n\
                                       --recovery-key-out recovery-key --wait"
)]
pub struct InstallArgs {
    /// Who stores the backups: aws, gcp, azure, s3 (with s3Url in --backup-location-config) or local
    #[arg(long, value_name = "PROVIDER", value_parser = parse_provider, required_unless_present = "crds_only")]
    pub provider: Option<Provider>,
    /// The bucket or container; for local, the path where the volume of --claim is mounted
    #[arg(long, value_name = "BUCKET", required_unless_present = "crds_only")]
    pub bucket: Option<String>,
    /// The image of the server: what `make image` packs, in a registry of yours
    #[arg(long, value_name = "IMAGE", required_unless_present = "crds_only")]
    pub image: Option<String>,
    /// Where in the bucket
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// File with the credential of the bucket: an AWS credentials file, the JSON key of GCP, an environment file of Azure
    #[arg(long, value_name = "FILE", group = "credential")]
    pub secret_file: Option<PathBuf>,
    /// The pod has an identity of the cloud, or needs none
    #[arg(long, group = "credential")]
    pub no_secret: bool,
    /// Settings of the provider, like region=eu-central-1,s3Url=https://minio.example
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub backup_location_config: Vec<Labels>,
    /// PEM file of certificates to trust when talking to the storage
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The location is only read: another cluster writes to it
    #[arg(long)]
    pub read_only: bool,
    /// PersistentVolumeClaim with the backups of the provider local
    #[arg(long, value_name = "CLAIM")]
    pub claim: Option<String>,

    /// File with a passphrase that opens the repository too
    #[arg(
        long,
        value_name = "FILE",
        group = "recovery",
        help_heading = "Recovery"
    )]
    pub recovery_passphrase_file: Option<PathBuf>,
    /// File for a new key that opens the repository too; it must not exist
    #[arg(
        long,
        value_name = "FILE",
        group = "recovery",
        help_heading = "Recovery"
    )]
    pub recovery_key_out: Option<PathBuf>,
    /// Only the key in the cluster opens the repository
    #[arg(long, group = "recovery", help_heading = "Recovery")]
    pub no_recovery: bool,
    /// The key of a repository that is there already: that of another cluster, or a recovery key
    #[arg(
        long,
        value_name = "FILE",
        group = "recovery",
        help_heading = "Recovery"
    )]
    pub repository_key_file: Option<PathBuf>,

    /// What the server may do
    #[arg(long, value_enum, default_value_t, help_heading = "Server")]
    pub rbac: Rbac,
    /// Servers; one works, the others are ready
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9), help_heading = "Server")]
    pub replicas: u16,
    /// An argument of `ark server`, like --server-arg=--default-backup-ttl=720h; may be repeated
    #[arg(
        long,
        value_name = "ARG",
        allow_hyphen_values = true,
        help_heading = "Server"
    )]
    pub server_arg: Vec<String>,
    /// Secret to pull the image with; may be repeated
    #[arg(long, value_name = "SECRET", help_heading = "Server")]
    pub image_pull_secret: Vec<String>,
    /// Annotations of the ServiceAccount: the identity that a cloud gives it
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Server")]
    pub sa_annotations: Vec<Labels>,
    /// Annotations of the pod
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Server")]
    pub pod_annotations: Vec<Labels>,
    /// Labels of the pod
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Server")]
    pub pod_labels: Vec<Labels>,
    /// CPU that the pod asks for [default: 100m]
    #[arg(
        long,
        value_name = "QUANTITY",
        alias = "velero-pod-cpu-request",
        help_heading = "Server"
    )]
    pub cpu_request: Option<String>,
    /// Memory that the pod asks for [default: 128Mi]
    #[arg(
        long,
        value_name = "QUANTITY",
        alias = "velero-pod-mem-request",
        help_heading = "Server"
    )]
    pub memory_request: Option<String>,
    /// The most memory that the pod gets [default: 512Mi]
    #[arg(
        long,
        value_name = "QUANTITY",
        alias = "velero-pod-mem-limit",
        help_heading = "Server"
    )]
    pub memory_limit: Option<String>,

    /// Apply the definitions of ark's kinds and nothing else
    #[arg(
        long,
        groups = ["recovery", "credential"]
    )]
    pub crds_only: bool,
    /// Print the manifests (-o yaml or json), Secrets as the commands that make them, and apply nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to wait.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// What `velero install` takes and ark has no use for.
    #[command(flatten)]
    pub velero: VeleroArgs,
}

/// How to wait.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Return when the server runs and its location can be used
    #[arg(long)]
    pub wait: bool,
    /// How long that may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: SignedDuration,
}

/// What the server may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Rbac {
    /// Back up and restore anything (cluster-admin)
    #[default]
    Full,
    /// List everything, write ark's own objects only; restores are refused by the cluster
    BackupOnly,
}

/// What `velero install` takes and ark has no use for.
#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "they are explained when they are used")]
pub struct VeleroArgs {
    #[arg(long, hide = true)]
    pub plugins: Option<String>,
    #[arg(long, hide = true)]
    pub features: Option<String>,
    #[arg(long, hide = true)]
    pub uploader_type: Option<String>,
    #[arg(long, hide = true)]
    pub snapshot_location_config: Option<String>,
    #[arg(long, hide = true)]
    pub velero_pod_cpu_limit: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_volume_snapshots: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_node_agent: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub privileged_node_agent: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub default_volumes_to_fs_backup: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub apply: Option<bool>,
}

impl VeleroArgs {
    /// What was given, and why it changes nothing.
    pub fn explained(&self) -> Vec<String> {
        let volumes = "ark backs up API objects; the data of volumes is not part of a backup";
        let mut lines = Vec::new();
        for (given, flag, why) in [
            (
                self.plugins.is_some(),
                "plugins",
                "all providers are built in",
            ),
            (
                self.features.is_some(),
                "features",
                "there is nothing that would have to be switched on",
            ),
            (self.uploader_type.is_some(), "uploader-type", volumes),
            (
                self.snapshot_location_config.is_some(),
                "snapshot-location-config",
                volumes,
            ),
            (
                self.velero_pod_cpu_limit.is_some(),
                "velero-pod-cpu-limit",
                "a backup that is throttled only takes longer",
            ),
            (
                self.use_volume_snapshots == Some(true),
                "use-volume-snapshots",
                volumes,
            ),
            (self.use_node_agent == Some(true), "use-node-agent", volumes),
            (
                self.privileged_node_agent == Some(true),
                "privileged-node-agent",
                volumes,
            ),
            (
                self.default_volumes_to_fs_backup == Some(true),
                "default-volumes-to-fs-backup",
                volumes,
            ),
            (self.apply.is_some(), "apply", "ark always applies"),
        ] {
            if given {
                lines.push(format!("--{flag} has no effect: {why}"));
            }
        }
        lines
    }
}

fn parse_provider(text: &str) -> Result<Provider, String> {
    let name = text.strip_prefix("velero.io/").unwrap_or(text);
    ProviderName::from_str(name, false)
        .map(Provider::from)
        .map_err(|_| "ark has aws, gcp, azure, s3 and local built in".to_owned())
}

/// `ark upgrade`
#[derive(Debug, Args)]
#[command(
    after_help = "The definitions of ark's kinds come first, then roles and the server, with the options of the installation. Locations\n\
                        and Secrets stay as they are. An older ark than the installed one is refused."
)]
pub struct UpgradeArgs {
    /// The image of the new server
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// Print the manifests (-o yaml or json) and apply nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to wait.
    #[command(flatten)]
    pub waiting: WaitArgs,
}

/// `ark uninstall`
#[derive(Debug, Args)]
#[command(
    after_help = "Backups stay in the bucket. What is removed: the server, its roles, the definitions of ark's kinds with all objects\n\
                        of them, and the namespace with everything in it if ark made it. Install again with the key of the repository\n\
                        (--repository-key-file), and the backups are seen again."
)]
pub struct UninstallArgs {
    /// Folder for the keys of the repositories, which go with their Secrets
    #[arg(long, value_name = "FOLDER", conflicts_with = "lose_keys")]
    pub keys_out: Option<PathBuf>,
    /// Remove keys even if nothing else opens the repositories
    #[arg(long)]
    pub lose_keys: bool,
    /// Do not ask
    #[arg(long, visible_alias = "force")]
    pub confirm: bool,
    /// How long each part may take to go
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    pub timeout: SignedDuration,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn install(line: &str) -> Result<InstallArgs, String> {
        let words = ["ark", "install"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Install(args)) => Ok(*args),
            Ok(_) => Err("another verb".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_choice_about_recovery_and_credentials_is_demanded() {
        let place = "--provider aws --bucket b --image i";
        for missing in [
            "--no-secret",
            "--no-recovery",
            "--no-secret --no-recovery --recovery-key-out f",
            "--no-secret --secret-file f --no-recovery",
        ] {
            assert!(install(&format!("{place} {missing}")).is_err(), "{missing}");
        }
        for (enough, given) in [
            ("--no-secret --no-recovery", "no recovery"),
            ("--secret-file f --recovery-key-out k", "key"),
            ("--no-secret --repository-key-file k", "other"),
        ] {
            let args = install(&format!("{place} {enough}")).unwrap();
            assert_eq!(args.no_recovery, given == "no recovery");
            assert_eq!(args.recovery_key_out.is_some(), given == "key");
        }
        assert!(install("--crds-only").unwrap().crds_only);
        assert!(install("--no-secret --no-recovery").is_err());
    }

    #[test]
    fn what_velero_takes_is_taken_and_explained() {
        let line = "--provider velero.io/aws --bucket b --image i --no-secret --no-recovery \
                    --plugins velero/velero-plugin-for-aws:v1.14.3 --use-node-agent --use-volume-snapshots=false \
                    --features=EnableCSI --velero-pod-mem-limit 1Gi --backup-location-config region=x,s3ForcePathStyle=true";
        let words: Vec<&str> = line.split_whitespace().collect();
        let args = install(&words.join(" ")).unwrap();
        assert_eq!(args.provider, Some(Provider::Aws));
        assert_eq!(args.memory_limit.as_deref(), Some("1Gi"));
        let said = args.velero.explained().join("\n");
        for flag in ["--plugins", "--use-node-agent", "--features"] {
            assert!(said.contains(flag), "{said}");
        }
        assert!(!said.contains("--use-volume-snapshots"), "{said}");
        assert!(parse_provider("ftp").is_err());
    }
}
