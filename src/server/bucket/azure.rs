//! Azure Blob Storage: the settings of Velero's plugin for Azure, and its credential: lines of KEY=value.

use std::collections::BTreeMap;

use ark_engine::store::StoreOptions;

use super::{BucketError, Config, endpoint, identity};

/// How Azure tells a pod who it is: workload identity. A managed identity needs no variable.
const IDENTITY: [&str; 5] = [
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLOUD_NAME",
];

/// The variable of an access key where `storageAccountKeyEnvVar` names no other.
const ACCESS_KEY: &str = "AZURE_STORAGE_ACCOUNT_ACCESS_KEY";

pub(super) fn settle(
    config: &mut Config,
    credential: Option<&str>,
    environment: &BTreeMap<String, String>,
    options: &mut StoreOptions,
) -> Result<(), BucketError> {
    let account = config.take("storageAccount").ok_or_else(|| {
        BucketError::config("storageAccount", "is missing: name the storage account")
    })?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !account.chars().all(plain) {
        return Err(BucketError::config(
            "storageAccount",
            format!("{account:?} is not the name of a storage account"),
        ));
    }
    let key_variable = config.take("storageAccountKeyEnvVar");
    let aad = config.flag("useAAD")?.unwrap_or(false);
    let authority = config.take("activeDirectoryAuthorityURI");
    let uri = config.take("storageAccountURI");
    config.refuse(
        "apiVersion",
        "chooses a version of the protocol, and ark speaks one",
    )?;
    config.refuse(
        "credentialsFile",
        "is a path in the server's pod: put the file into a Secret and name it in spec.credential",
    )?;
    for key in ["resourceGroup", "subscriptionId"] {
        config.note(
            key,
            "ark asks the storage account itself, not the resource manager",
        );
    }
    config.note(
        "blockSizeInBytes",
        "ark's objects are small enough to go out in one piece",
    );

    let mut given = match credential {
        Some(file) => read(file)?,
        None => {
            if let Some(name) = &key_variable {
                return Err(BucketError::config(
                    "storageAccountKeyEnvVar",
                    format!("is {name}, but spec.credential names no Secret that could hold it"),
                ));
            }
            identity(&IDENTITY, environment, options);
            BTreeMap::new()
        }
    };
    let cloud = given
        .remove("AZURE_CLOUD_NAME")
        .or_else(|| options.env.remove("AZURE_CLOUD_NAME"));
    options
        .env
        .insert("AZURE_STORAGE_ACCOUNT_NAME".to_owned(), account.clone());
    let (suffix, login) = sovereign(cloud.as_deref())?;
    match (uri, suffix) {
        (Some(uri), _) => endpoint("storageAccountURI", uri, options)?,
        (None, Some(suffix)) => {
            options.endpoint = Some(format!("https://{account}.blob.{suffix}"));
        }
        (None, None) => {}
    }
    if let Some(authority) = authority.or_else(|| login.map(str::to_owned)) {
        options
            .env
            .insert("AZURE_AUTHORITY_HOST".to_owned(), authority);
    }
    if credential.is_none() {
        return Ok(());
    }
    authenticate(given, key_variable.as_deref(), aad, options)
}

/// The suffix of a cloud's addresses and who logs in there; `None` for the public one.
fn sovereign(
    cloud: Option<&str>,
) -> Result<(Option<&'static str>, Option<&'static str>), BucketError> {
    match cloud.map(str::to_ascii_uppercase).as_deref() {
        None | Some("" | "AZUREPUBLICCLOUD" | "AZURECLOUD") => Ok((None, None)),
        Some("AZURECHINACLOUD") => Ok((
            Some("core.chinacloudapi.cn"),
            Some("https://login.chinacloudapi.cn/"),
        )),
        Some("AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD") => Ok((
            Some("core.usgovcloudapi.net"),
            Some("https://login.microsoftonline.us/"),
        )),
        Some(_) => Err(BucketError::credential(
            "names a cloud in AZURE_CLOUD_NAME that ark does not know; give spec.config.storageAccountURI and \
             activeDirectoryAuthorityURI instead",
        )),
    }
}

fn authenticate(
    mut given: BTreeMap<String, String>,
    key_variable: Option<&str>,
    aad: bool,
    options: &mut StoreOptions,
) -> Result<(), BucketError> {
    let key = given.remove(key_variable.unwrap_or(ACCESS_KEY));
    if let (None, Some(name)) = (&key, key_variable) {
        return Err(BucketError::credential(format!(
            "does not set {name}, which spec.config.storageAccountKeyEnvVar names"
        )));
    }
    for name in [
        "AZURE_CLIENT_CERTIFICATE",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
    ] {
        if given.contains_key(name) {
            return Err(BucketError::credential(format!(
                "sets {name}, which ark cannot use; give an access key, a client secret, or workload identity"
            )));
        }
    }
    let mut put = |name: &str, value: String| options.env.insert(name.to_owned(), value);
    if let Some(key) = key.filter(|_| !aad) {
        put("AZURE_STORAGE_ACCOUNT_KEY", key);
        return Ok(());
    }
    if let Some(token) = given.remove("AZURE_STORAGE_SAS_TOKEN").filter(|_| !aad) {
        put("AZURE_STORAGE_SAS_TOKEN", token);
        return Ok(());
    }
    let identity = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"];
    for name in identity {
        let value = given.remove(name).ok_or_else(|| {
            BucketError::credential(format!(
                "does not set {name}; it needs an access key ({ACCESS_KEY}), or AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                 AZURE_CLIENT_SECRET"
            ))
        })?;
        put(name, value);
    }
    Ok(())
}

/// Reads lines of KEY=value; quotes around a value are taken off.
fn read(file: &str) -> Result<BTreeMap<String, String>, BucketError> {
    let mut given = BTreeMap::new();
    for (index, line) in file.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(BucketError::credential(format!(
                "is no environment file: line {} is not KEY=value",
                index + 1
            )));
        };
        let key = key.trim();
        let key = key.strip_prefix("export ").map_or(key, str::trim);
        let value = value.trim();
        let value = ['"', '\'']
            .iter()
            .find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q))
            .unwrap_or(value);
        if !value.is_empty() {
            given.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(given)
}
