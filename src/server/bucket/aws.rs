//! S3: the settings of Velero's plugin for AWS, and its credential: an AWS credentials file with profiles.

use std::collections::BTreeMap;

use ark_engine::store::StoreOptions;

use super::{BucketError, Config, endpoint, identity};

/// How AWS tells a pod who it is: IRSA, EKS pod identity, and the region they come with.
const IDENTITY: [&str; 8] = [
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_REGION",
];

pub(super) fn settle(
    provider: &str,
    config: &mut Config,
    credential: Option<&str>,
    environment: &BTreeMap<String, String>,
    options: &mut StoreOptions,
) -> Result<(), BucketError> {
    options.region = config.take("region");
    options.path_style = config.flag("s3ForcePathStyle")?;
    options.storage_class = config.take("storageClass");
    options.sse_kms_key = config.take("kmsKeyId");
    match config.take("s3Url") {
        Some(url) => endpoint("s3Url", url, options)?,
        None if provider == "s3" => {
            return Err(BucketError::config(
                "s3Url",
                "is missing: the provider s3 needs the address of the server",
            ));
        }
        None => {}
    }
    encryption(config, options)?;
    config.refuse_true(
        "insecureSkipTLSVerify",
        "is true: ark never talks to a server whose certificate it cannot check; put the certificate of its authority into \
         spec.objectStorage.caCert",
    )?;
    config.refuse(
        "credentialsFile",
        "is a path in the server's pod: put the file into a Secret and name it in spec.credential",
    )?;
    config.refuse_true(
        "enableSharedConfig",
        "is true: roles of a shared config file are not assumed; use IRSA, or keys in spec.credential",
    )?;
    config.refuse("tagging", "asks for object tags, and ark writes none")?;
    if let Some(version) = config.take("signatureVersion").filter(|v| v != "4") {
        return Err(BucketError::config(
            "signatureVersion",
            format!("is {version:?}: ark signs with version 4 only"),
        ));
    }
    config.note(
        "publicUrl",
        "ark hands out no signed addresses, downloads go through the apiserver",
    );
    config.note(
        "checksumAlgorithm",
        "every object goes out with a SHA-256 checksum",
    );
    let profile = config.take("profile");
    match credential {
        Some(file) => {
            let profile = profile.as_deref().unwrap_or("default");
            read(file, profile, options)?;
        }
        None if profile.is_some() => {
            return Err(BucketError::config(
                "profile",
                "is set, but spec.credential names no Secret with a credentials file",
            ));
        }
        None => {
            identity(&IDENTITY, environment, options);
        }
    }
    if options.region.is_none()
        && let Some(region) = options.env.remove("AWS_REGION")
    {
        options.region = Some(region);
    }
    if options.region.is_none() && options.endpoint.is_none() {
        return Err(BucketError::config(
            "region",
            "is missing: name the region of the bucket",
        ));
    }
    Ok(())
}

fn encryption(config: &mut Config, options: &mut StoreOptions) -> Result<(), BucketError> {
    for key in ["customerKeyEncryptionFile", "customerKeyEncryptionSecret"] {
        config.refuse(
            key,
            "asks for SSE-C: ark encrypts everything itself before it leaves the server; remove it",
        )?;
    }
    match config.take("serverSideEncryption").as_deref() {
        None => {}
        Some("AES256") if options.sse_kms_key.is_none() => {
            options
                .env
                .insert("AWS_SERVER_SIDE_ENCRYPTION".to_owned(), "AES256".to_owned());
        }
        Some("aws:kms") if options.sse_kms_key.is_some() => {}
        Some("aws:kms") => {
            return Err(BucketError::config(
                "serverSideEncryption",
                "is aws:kms, which needs spec.config.kmsKeyId",
            ));
        }
        Some(other) => {
            return Err(BucketError::config(
                "serverSideEncryption",
                format!("is {other:?}: ark knows AES256, and aws:kms together with kmsKeyId"),
            ));
        }
    }
    Ok(())
}

/// Reads one profile of a credentials file.
fn read(file: &str, profile: &str, options: &mut StoreOptions) -> Result<(), BucketError> {
    let mut profiles: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = None;
    for (index, line) in file.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let name = name.trim();
            let name = name.strip_prefix("profile ").map_or(name, str::trim);
            section = Some(name.to_owned());
            profiles.entry(name.to_owned()).or_default();
            continue;
        }
        let place = index + 1;
        let (Some(section), Some((key, value))) = (&section, line.split_once('=')) else {
            return Err(BucketError::credential(format!(
                "is no AWS credentials file: line {place} is neither [profile] nor key = value inside one"
            )));
        };
        profiles
            .entry(section.clone())
            .or_default()
            .insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let Some(found) = profiles.get(profile) else {
        let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
        return Err(BucketError::credential(format!(
            "has no profile {profile:?}; it has: {}",
            known.join(", ")
        )));
    };
    for key in [
        "role_arn",
        "source_profile",
        "credential_process",
        "sso_session",
    ] {
        if found.contains_key(key) {
            return Err(BucketError::credential(format!(
                "sets {key} in the profile {profile:?}, which ark does not follow; use IRSA, or keys"
            )));
        }
    }
    let mut take = |key: &str, variable: &str, needed: bool| match found
        .get(key)
        .filter(|value| !value.is_empty())
    {
        Some(value) => {
            options.env.insert(variable.to_owned(), value.clone());
            Ok(())
        }
        None if needed => Err(BucketError::credential(format!(
            "has no {key} in the profile {profile:?}"
        ))),
        None => Ok(()),
    };
    take("aws_access_key_id", "AWS_ACCESS_KEY_ID", true)?;
    take("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", true)?;
    take("aws_session_token", "AWS_SESSION_TOKEN", false)?;
    take("region", "AWS_REGION", false)
}
