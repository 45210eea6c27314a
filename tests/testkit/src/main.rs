//! The test kit on the command line: servers to try things against, a data set to fill a cluster with, and the floors.
//! stdout is data, stderr is talk.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ark_testkit::{
    Api, ChaosOptions, Churn, ControlPlane, Dataset, DatasetSpec, Image, Minio, MinioOptions,
    Options,
};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a Kubernetes control plane in DIR; DIR/kubeconfig is written
    Up {
        /// An empty folder, or one that does not exist
        dir: PathBuf,
        /// Return when it is ready, and leave it running
        #[arg(long)]
        background: bool,
        /// No controller-manager: nothing moves by itself
        #[arg(long)]
        quiet: bool,
    },
    /// Start MinIO in DIR and print the environment that reaches it
    Minio {
        /// An empty folder, or one that does not exist
        dir: PathBuf,
        /// Return when it is ready, and leave it running
        #[arg(long)]
        background: bool,
        /// Serve HTTPS; DIR/certs/ca.crt is the authority
        #[arg(long)]
        tls: bool,
        /// Buckets to create
        #[arg(long = "bucket")]
        buckets: Vec<String>,
    },
    /// Pack a program into an OCI archive, with the libraries that it loads and the certificate authorities of this machine
    Image {
        /// The archive
        out: PathBuf,
        /// The name that pods ask for
        #[arg(long)]
        name: String,
        /// The program
        #[arg(long)]
        program: PathBuf,
    },
    /// End what runs in DIR, and remove DIR
    Down {
        /// The folder that `up` or `minio` was given
        dir: PathBuf,
    },
    /// Fill a cluster with a data set
    Load {
        #[command(flatten)]
        cluster: Cluster,
        /// How many objects
        #[arg(long, default_value_t = 1000)]
        objects: usize,
        /// Which data set
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Start of every name
        #[arg(long, default_value = "ark-demo")]
        prefix: String,
    },
    /// Remove a data set from a cluster
    Unload {
        #[command(flatten)]
        cluster: Cluster,
        /// Start of every name
        #[arg(long, default_value = "ark-demo")]
        prefix: String,
        /// Seconds to wait for the namespaces to go
        #[arg(long, default_value_t = 300)]
        within: u64,
    },
    /// Change or delete a share of a data set, picked at random
    Churn {
        #[command(flatten)]
        cluster: Cluster,
        /// Share of all objects
        #[arg(long, default_value_t = 1.0)]
        percent: f64,
        /// Which of them
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Edit them
        #[arg(long, required_unless_present = "delete", conflicts_with = "delete")]
        change: bool,
        /// Delete them
        #[arg(long)]
        delete: bool,
        /// Start of every name
        #[arg(long, default_value = "ark-demo")]
        prefix: String,
        /// Write the changed objects to this file, one to a line
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Read everything with plain paged LISTs and say what that took
    Floor {
        #[command(flatten)]
        cluster: Cluster,
        /// Resources (plural.group) to leave out
        #[arg(long)]
        exclude: Vec<String>,
    },
    /// Write every object to a file, one to a line
    Dump {
        #[command(flatten)]
        cluster: Cluster,
        /// The file
        #[arg(long)]
        out: PathBuf,
        /// Resources (plural.group) to leave out
        #[arg(long)]
        exclude: Vec<String>,
    },
    /// Run ark processes on a folder and on MinIO, kill and disturb them at random, and check that nothing is lost
    Chaos {
        /// The ark program
        #[arg(long)]
        ark: PathBuf,
        /// How long to disturb them
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// Simulated machines for each store
        #[arg(long, default_value_t = 4)]
        workers: usize,
        /// Cores that the ark processes may use on average
        #[arg(long, default_value_t = 0.8)]
        cores: f64,
        /// What the random choices come from [default: a new one]
        #[arg(long)]
        seed: Option<u64>,
        /// Only one of the stores
        #[arg(long, value_parser = ["file", "minio"])]
        only: Option<String>,
    },
    /// Create the objects of a dump with plain POSTs and say what that took
    PostFloor {
        #[command(flatten)]
        cluster: Cluster,
        /// A file that `dump` wrote
        #[arg(long)]
        from: PathBuf,
    },
}

#[derive(Args)]
struct Cluster {
    /// How to reach the cluster
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
}

impl Cluster {
    async fn api(&self) -> anyhow::Result<Api> {
        Api::connect(&self.kubeconfig).await
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up {
            dir,
            background,
            quiet,
        } => up(&dir, background, quiet).await,
        Command::Minio {
            dir,
            background,
            tls,
            buckets,
        } => minio(&dir, background, tls, &buckets).await,
        Command::Image { out, name, program } => {
            Image::of_program(&name, &program)?.write(&out)?;
            println!("{}", out.display());
            Ok(())
        }
        Command::Down { dir } => ark_testkit::stop_folder(&dir),
        Command::Load {
            cluster,
            objects,
            seed,
            prefix,
        } => {
            let data = Dataset::new(&DatasetSpec {
                objects,
                seed,
                prefix,
            });
            print(&ark_testkit::load(&cluster.api().await?, &data).await?)
        }
        Command::Unload {
            cluster,
            prefix,
            within,
        } => {
            let deleted =
                ark_testkit::unload(&cluster.api().await?, &prefix, Duration::from_secs(within))
                    .await?;
            print(&serde_json::json!({"deleted": deleted}))
        }
        Command::Churn {
            cluster,
            percent,
            seed,
            change: _,
            delete,
            prefix,
            out,
        } => {
            let report = ark_testkit::churn(
                &cluster.api().await?,
                &Churn {
                    prefix,
                    percent,
                    seed,
                    delete,
                },
            )
            .await?;
            if let Some(out) = out {
                let text: String = report
                    .changed
                    .iter()
                    .map(|object| format!("{object}\n"))
                    .collect();
                std::fs::write(&out, text).with_context(|| format!("writing {}", out.display()))?;
            }
            print(&report)
        }
        Command::Floor { cluster, exclude } => {
            print(&ark_testkit::floor(&cluster.api().await?, &exclude).await?)
        }
        Command::Dump {
            cluster,
            out,
            exclude,
        } => {
            let file = std::fs::File::create(&out)
                .with_context(|| format!("creating {}", out.display()))?;
            let objects =
                ark_testkit::dump(&cluster.api().await?, &exclude, &mut BufWriter::new(file))
                    .await?;
            print(&serde_json::json!({"objects": objects}))
        }
        Command::Chaos {
            ark,
            minutes,
            workers,
            cores,
            seed,
            only,
        } => {
            let options = ChaosOptions {
                ark,
                time: Duration::from_secs_f64(minutes * 60.0),
                phase: Duration::from_secs(60),
                workers,
                cores,
                seed,
                only,
            };
            let Some(summary) = unless_asked_to_end(ark_testkit::chaos(&options)).await? else {
                anyhow::bail!("asked to end");
            };
            println!("{}", serde_json::to_string_pretty(&summary)?);
            anyhow::ensure!(
                summary.unexpected.is_empty(),
                "{} things should not have happened, {} of them losses",
                summary.unexpected.len(),
                summary.losses
            );
            Ok(())
        }
        Command::PostFloor { cluster, from } => {
            let dump = std::fs::read_to_string(&from)
                .with_context(|| format!("reading {}", from.display()))?;
            print(&ark_testkit::post_floor(&cluster.api().await?, &dump).await?)
        }
    }
}

async fn up(dir: &Path, background: bool, quiet: bool) -> anyhow::Result<()> {
    let controllers = !quiet;
    let starting = ControlPlane::start_in(dir, Options { controllers }, background);
    let Some(plane) = unless_asked_to_end(starting).await? else {
        return ark_testkit::stop_folder(dir);
    };
    println!("{}", plane.kubeconfig().display());
    if background {
        plane.detach();
        return Ok(());
    }
    eprintln!("running; Ctrl-C ends it");
    unless_asked_to_end(std::future::pending::<anyhow::Result<()>>()).await?;
    plane.stop();
    ark_testkit::stop_folder(dir)
}

async fn minio(dir: &Path, background: bool, tls: bool, buckets: &[String]) -> anyhow::Result<()> {
    let starting = Minio::start_in(
        dir,
        MinioOptions {
            tls,
            ..MinioOptions::default()
        },
        background,
    );
    let Some(minio) = unless_asked_to_end(starting).await? else {
        return ark_testkit::stop_folder(dir);
    };
    for bucket in buckets {
        minio.create_bucket(bucket)?;
    }
    for (name, value) in minio.environment() {
        println!("export {name}={value}");
    }
    if background {
        minio.detach();
        return Ok(());
    }
    eprintln!("running; Ctrl-C ends it");
    unless_asked_to_end(std::future::pending::<anyhow::Result<()>>()).await?;
    drop(minio);
    ark_testkit::stop_folder(dir)
}

/// The result of some work, or nothing if Ctrl-C or SIGTERM came first: work that is dropped ends the servers it has started.
async fn unless_asked_to_end<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    let kind = tokio::signal::unix::SignalKind::terminate();
    let mut terminate = tokio::signal::unix::signal(kind).context("listening for SIGTERM")?;
    tokio::select! {
        result = work => result.map(Some),
        result = tokio::signal::ctrl_c() => result.context("listening for Ctrl-C").map(|()| None),
        _ = terminate.recv() => Ok(None),
    }
}

fn print(report: &impl serde::Serialize) -> anyhow::Result<()> {
    println!(
        "{}",
        serde_json::to_string(report).context("writing a report")?
    );
    Ok(())
}
