//! Google Cloud Storage: the settings of Velero's plugin for GCP, and its credential: a service account key in JSON.

use std::collections::BTreeMap;

use ark_engine::store::StoreOptions;
use serde_json::Value;

use super::{BucketError, Config, endpoint};

pub(super) fn settle(
    config: &mut Config,
    credential: Option<&str>,
    _environment: &BTreeMap<String, String>,
    options: &mut StoreOptions,
) -> Result<(), BucketError> {
    config.refuse(
        "kmsKeyName",
        "names a key for each object, which ark cannot send; set it as the default key of the bucket",
    )?;
    config.refuse(
        "credentialsFile",
        "is a path in the server's pod: put the file into a Secret and name it in spec.credential",
    )?;
    config.note(
        "serviceAccount",
        "it is for signed addresses, and ark hands out none",
    );
    if let Some(url) = config.take("storeEndpoint") {
        endpoint("storeEndpoint", url, options)?;
    }
    options.storage_class = config.take("storageClass");
    // Without a credential the metadata server of GKE says who the pod is; no variable is needed for that.
    let Some(json) = credential else {
        return Ok(());
    };
    let parsed: Value = serde_json::from_str(json).map_err(|_| {
        BucketError::credential("is no JSON: give the key file of a service account")
    })?;
    match parsed["type"].as_str() {
        Some("service_account") => {}
        // What the emulators hand out.
        None if parsed["gcs_base_url"].is_string() => {}
        found => {
            return Err(BucketError::credential(format!(
                "is of type {:?}: give the key file of a service account, or none for workload identity",
                found.unwrap_or("unknown")
            )));
        }
    }
    options
        .env
        .insert("GOOGLE_SERVICE_ACCOUNT_KEY".to_owned(), json.to_owned());
    Ok(())
}
