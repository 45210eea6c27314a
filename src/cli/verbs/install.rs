//! `ark install`, `ark upgrade`, `ark uninstall`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ark_engine::Unlock;
use clap::Parser;
use jiff::SignedDuration;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::api::{AccessMode, Provider};
use crate::cli::args::Cli;
use crate::cli::args::global::Output;
use crate::cli::args::install::{InstallArgs, Rbac, UninstallArgs, UpgradeArgs, WaitArgs};
use crate::cli::args::values::Labels;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::unlock;
use crate::cluster::Cluster;
use crate::install::apply::{self, apply_definitions};
use crate::install::options::Resources;
use crate::install::secrets::{Given, Recovery, Secrets};
use crate::install::{self, Claim, Options, Place, Profile, remove, version};
use crate::server::bucket;

/// Applying definitions takes moments; this is for an apiserver under load.
const DEFINITIONS: Duration = Duration::from_secs(60);

pub async fn install(args: InstallArgs, context: &mut Context) -> Result<Exit> {
    for line in args.velero.explained() {
        context.talk.note(&line);
    }
    if args.crds_only {
        return definitions_only(&args, context).await;
    }
    let (place, options) = (place(&args)?, options(&args, context)?);
    let mut secrets = Secrets {
        credential: given("credential", args.secret_file.as_deref()).await?,
        ..Secrets::default()
    };
    check(&place, secrets.credential.as_ref(), context)?;
    if let Some(path) = &args.repository_key_file {
        secrets.repository_key = given("key file", Some(path)).await?;
    }
    if let Some(key) = &secrets.repository_key {
        Unlock::from_key_file(&key.bytes).map_err(|source| Error::Engine {
            doing: format!("cannot use the key file {}", key.file.display()),
            source,
        })?;
    }
    if let Some(path) = &args.recovery_passphrase_file {
        secrets.recovery = given("passphrase file", Some(path))
            .await?
            .map(|given| first_line(given).map(Recovery::Passphrase))
            .transpose()?;
    }
    let location = place.object(&options);
    let mut objects = install::objects(&options);
    if args.dry_run {
        let mut all = install::definitions();
        all.append(&mut objects);
        all.push(location);
        let mut commands = secrets.commands(&options.namespace);
        if let Some(path) = &args.recovery_key_out {
            commands.push(format!(
                "openssl rand -hex -out {0} 32 && kubectl -n {1} create secret generic ark-recovery-default --from-file=key={0}",
                path.display(),
                options.namespace
            ));
        }
        return print(&all, &commands, context);
    }
    let interrupt = context.interrupt.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    let installed = apply::get(&cluster, &deployment_path(&options.namespace)).await?;
    version::check(installed.as_ref().and_then(version::of), version::OWN)?;
    if let Some(path) = &args.recovery_key_out {
        secrets.recovery = Some(Recovery::Key(new_recovery_key(path, context).await?));
    }
    let waited = interrupt.unless(async {
        apply_definitions(&cluster, DEFINITIONS).await?;
        remove::surplus(&cluster, &options).await?;
        let (namespace, rest) = objects.split_at(1);
        let path = format!("/api/v1/namespaces/{}", options.namespace);
        let there = apply::get(&cluster, &path).await?;
        if install::is_own(there.as_ref()) {
            apply_all(&cluster, namespace, context).await?;
        }
        // Before the location: the server's first look at it finds them.
        secrets.apply(&cluster, &options.namespace).await?;
        apply_all(&cluster, rest, context).await?;
        apply_all(&cluster, std::slice::from_ref(&location), context).await?;
        if args.waiting.wait {
            let within = within(&args.waiting)?;
            context.talk.note("waiting for the server");
            apply::running(&cluster, &options, within).await?;
            context.talk.note("waiting for the location");
            apply::available(&cluster, &options, within).await?;
            if secrets.recovery.is_some() {
                apply::recovered(&cluster, &options, within).await?;
            }
        }
        Ok::<(), Error>(())
    });
    waited.await??;
    if let Some(path) = &args.recovery_key_out {
        context.talk.note(&format!(
            "{} opens the repository without this cluster: keep it elsewhere",
            path.display()
        ));
    }
    if args.no_recovery {
        context.talk.note(
            "only the Secret ark-repository-key opens the repository: who loses it loses the backups. `ark repo keys recovery` makes a second key",
        );
    }
    report(&options, "installed", context)
}

async fn definitions_only(args: &InstallArgs, context: &mut Context) -> Result<Exit> {
    if args.dry_run {
        return print(&install::definitions(), &[], context);
    }
    let interrupt = context.interrupt.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    interrupt
        .unless(apply_definitions(&cluster, DEFINITIONS))
        .await??;
    context
        .talk
        .note("the definitions of ark's kinds are there");
    Ok(Exit::Ok)
}

pub async fn upgrade(args: UpgradeArgs, context: &mut Context) -> Result<Exit> {
    let namespace = context.settings.kube.namespace.clone();
    let interrupt = context.interrupt.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    let installed = apply::get(&cluster, &deployment_path(&namespace)).await?;
    let Some(installed) = installed else {
        return Err(install::Error::NotInstalled { namespace }.into());
    };
    let before = version::of(&installed).map(str::to_owned);
    version::check(before.as_deref(), version::OWN)?;
    let mut options =
        Options::of(&installed).ok_or_else(|| install::Error::Unknown { namespace })?;
    options.image = args.image;
    let objects = install::objects(&options);
    if args.dry_run {
        let mut all = install::definitions();
        all.extend(objects);
        return print(&all, &[], context);
    }
    let waited = interrupt.unless(async {
        apply_definitions(&cluster, DEFINITIONS).await?;
        // The namespace is as it is.
        apply_all(&cluster, &objects[1..], context).await?;
        if args.waiting.wait {
            context.talk.note("waiting for the server");
            apply::running(&cluster, &options, within(&args.waiting)?).await?;
        }
        Ok::<(), Error>(())
    });
    waited.await??;
    if let Some(before) = before {
        context.talk.note(&format!(
            "ark {before} was here, now it is {}",
            version::OWN
        ));
    }
    report(&options, "upgraded", context)
}

pub async fn uninstall(args: UninstallArgs, context: &mut Context) -> Result<Exit> {
    let namespace = context.settings.kube.namespace.clone();
    let interrupt = context.interrupt.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    let installed = interrupt
        .unless(remove::look(&cluster, &namespace))
        .await??;
    if args.keys_out.is_none() && !args.lose_keys {
        installed.check_keys()?;
    }
    let what = match installed.own_namespace {
        true => format!("the namespace {namespace} with everything in it"),
        false => format!("its objects in the namespace {namespace}"),
    };
    let definitions = match installed.others.is_empty() {
        true => ", the definitions of its kinds",
        false => "",
    };
    context.talk.note(&format!(
        "{} Backup objects go; the backups stay in the bucket",
        installed.backups
    ));
    unlock::confirm(args.confirm, format!("remove ark{definitions} and {what}")).await?;
    if let Some(folder) = &args.keys_out {
        for key in &installed.keys {
            let path = folder.join(format!("{}.{}", key.secret, key.key));
            unlock::write_secret(&path, &key.bytes).await?;
            context.talk.note(&format!(
                "{} opens the repository of {}",
                path.display(),
                key.locations.join(", ")
            ));
        }
    }
    let talk = context.talk.clone();
    interrupt
        .unless(installed.remove(&cluster, positive(args.timeout)?, |text| talk.note(text)))
        .await??;
    context.talk.note("ark is gone");
    Ok(Exit::Ok)
}

fn deployment_path(namespace: &str) -> String {
    format!(
        "/apis/apps/v1/namespaces/{namespace}/deployments/{}",
        install::NAME
    )
}

async fn apply_all(cluster: &Cluster, objects: &[Value], context: &Context) -> Result<()> {
    for object in objects {
        apply::apply(cluster, object).await?;
        context
            .talk
            .note(&format!("applied the {}", apply::called(object)));
    }
    Ok(())
}

fn report(options: &Options, done: &str, context: &mut Context) -> Result<Exit> {
    let value = json!({
        "namespace": options.namespace,
        "version": version::OWN,
        "image": options.image,
    });
    let name = format!("deployment.apps/{}", install::NAME);
    context.printer.one(&value, &name, || {
        format!(
            "ark {} is {done} in the namespace {}\n",
            version::OWN,
            options.namespace
        )
    })?;
    Ok(Exit::Ok)
}

/// Manifests for kubectl. What they need and must not hold stands above them as the commands that make it.
fn print(objects: &[Value], commands: &[String], context: &mut Context) -> Result<Exit> {
    if context.printer.format() == Output::Json {
        for command in commands {
            context.talk.note(&format!("first: {command}"));
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        context.printer.value(&list)?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    if !commands.is_empty() {
        text.push_str("# Secrets are not printed. Make them in the namespace before the location is applied:\n");
    }
    for command in commands {
        text.push_str(&format!("#   {command}\n"));
    }
    let yaml =
        install::yaml(objects).map_err(|error| Error::Output(std::io::Error::other(error)))?;
    context.printer.text(&(text + &yaml))?;
    Ok(Exit::Ok)
}

fn place(args: &InstallArgs) -> Result<Place> {
    let needed = |what: &str| Error::Usage {
        what: format!("{what} is missing"),
        hint: None,
    };
    let provider = args.provider.ok_or_else(|| needed("--provider"))?;
    if (provider == Provider::Local) != args.claim.is_some() {
        return Err(Error::Usage {
            what: "--provider local and --claim belong together".to_owned(),
            hint: Some(
                "the claim is mounted at --bucket, and backups are written there".to_owned(),
            ),
        });
    }
    let ca_cert = match &args.cacert {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|source| Error::Read {
            what: "certificates",
            path: path.clone(),
            source,
        })?),
    };
    Ok(Place {
        provider,
        bucket: args.bucket.clone().ok_or_else(|| needed("--bucket"))?,
        prefix: args.prefix.clone(),
        config: merged(&args.backup_location_config),
        ca_cert,
        credential: args.secret_file.is_some(),
        access_mode: match args.read_only {
            true => AccessMode::ReadOnly,
            false => AccessMode::ReadWrite,
        },
    })
}

/// What the server would say about the location, said before anything is applied.
fn check(place: &Place, credential: Option<&Given>, context: &Context) -> Result<()> {
    let spec = place.spec();
    let said = bucket::bucket(
        &bucket::Place {
            provider: spec.provider.name(),
            bucket: &place.bucket,
            prefix: place.prefix.as_deref(),
            ca_cert: place.ca_cert.as_deref(),
            config: place.config.clone(),
        },
        credential.map(|given| given.bytes.as_slice()),
        // The pod's identity is the cloud's to give: it may bring the region.
        &BTreeMap::from([("AWS_REGION".to_owned(), "of-the-pod".to_owned())]),
    );
    match said {
        Ok(said) => {
            for note in said.notes {
                context.talk.note(&note);
            }
            Ok(())
        }
        Err(error) => Err(Error::Usage {
            what: format!("the location is not valid: {error}"),
            hint: Some("give its settings with --backup-location-config".to_owned()),
        }),
    }
}

fn options(args: &InstallArgs, context: &Context) -> Result<Options> {
    let namespace = &context.settings.kube.namespace;
    let usual = Resources::default();
    let options = Options {
        image_pull_secrets: args.image_pull_secret.clone(),
        replicas: args.replicas,
        profile: match args.rbac {
            Rbac::Full => Profile::Full,
            Rbac::BackupOnly => Profile::BackupOnly,
        },
        server_arguments: args.server_arg.clone(),
        service_account_annotations: merged(&args.sa_annotations),
        pod_annotations: merged(&args.pod_annotations),
        pod_labels: merged(&args.pod_labels),
        resources: Resources {
            cpu_request: args.cpu_request.clone().unwrap_or(usual.cpu_request),
            memory_request: args.memory_request.clone().unwrap_or(usual.memory_request),
            memory_limit: args.memory_limit.clone().unwrap_or(usual.memory_limit),
        },
        claim: args.claim.clone().map(|name| Claim {
            name,
            path: args.bucket.clone().unwrap_or_default(),
        }),
        ..Options::new(namespace, args.image.as_deref().unwrap_or_default())
    };
    let words = std::iter::once("ark".to_owned()).chain(install::workload::arguments(&options));
    if let Err(error) = Cli::try_parse_from(words) {
        return Err(Error::Usage {
            what: format!(
                "`ark server` does not take these --server-arg: {}",
                error.kind()
            ),
            hint: Some(
                "`ark server --help` lists its arguments; write --server-arg=--flag=value"
                    .to_owned(),
            ),
        });
    }
    Ok(options)
}

fn merged(given: &[Labels]) -> BTreeMap<String, String> {
    given.iter().flat_map(|pairs| pairs.0.clone()).collect()
}

fn within(args: &WaitArgs) -> Result<Duration> {
    positive(args.timeout)
}

fn positive(given: SignedDuration) -> Result<Duration> {
    Duration::try_from(given).map_err(|_| Error::Usage {
        what: "--timeout is no time at all".to_owned(),
        hint: Some("give a duration like 5m".to_owned()),
    })
}

async fn given(what: &'static str, path: Option<&Path>) -> Result<Option<Given>> {
    let Some(path) = path else {
        return Ok(None);
    };
    Ok(Some(Given {
        bytes: unlock::read_secret(what, path).await?,
        file: path.to_owned(),
    }))
}

/// A passphrase without the line break that an editor leaves behind it.
fn first_line(given: Given) -> Result<Given> {
    let name = || format!("the file {}", given.file.display());
    let line = unlock::first_line(&given.bytes, name)?;
    Ok(Given {
        bytes: Zeroizing::new(
            secrecy::ExposeSecret::expose_secret(&line)
                .as_bytes()
                .to_vec(),
        ),
        file: given.file,
    })
}

/// The file comes first: a key that somebody holds, or none at all.
async fn new_recovery_key(path: &Path, context: &Context) -> Result<Given> {
    let key = Zeroizing::new(context.env.bytes::<32>());
    let text = Zeroizing::new(format!("{}\n", ark_format::recovery::encode(&key)));
    unlock::write_secret(path, text.as_bytes()).await?;
    Ok(Given {
        file: path.to_owned(),
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
    })
}

impl From<install::Error> for Error {
    fn from(source: install::Error) -> Error {
        Error::Install(Box::new(source))
    }
}
