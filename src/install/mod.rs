//! What ark is made of in a cluster, and how it gets there, is renewed and goes.
//!
//! The manifests are values made from [`Options`] and nothing else, so that what `ark install` applies, what it prints with `--dry-run`
//! and what the tests look at is the same. Everything is applied with server-side apply: doing it twice is doing it once, and a
//! field that somebody else set and ark does not name stays. None of the manifests holds a secret; Secrets go their own way
//! ([`secrets`]). Nothing that ark makes has a finalizer, so whatever deletes it, it goes even when no server runs.

pub mod apply;
mod error;
pub mod location;
pub mod options;
pub mod rbac;
pub mod remove;
pub mod secrets;
pub mod version;
pub mod workload;

pub use error::Error;
pub use location::Place;
pub use options::{Claim, Options, Profile};

use serde_json::{Value, json};

/// The name of the ServiceAccount, the Deployment, the Service and the Role.
pub const NAME: &str = "ark";
/// The label that all of ark's objects carry, with the value [`NAME`].
pub const COMPONENT: &str = "component";
/// The label that says which version of ark made an object.
pub const VERSION: &str = "app.kubernetes.io/version";

/// The labels of everything that is installed.
fn labels() -> Value {
    json!({ COMPONENT: NAME, "app.kubernetes.io/name": NAME })
}

/// The definitions of ark's kinds.
pub fn definitions() -> Vec<Value> {
    crate::api::definitions()
        .into_iter()
        .map(|definition| json!(definition))
        .collect()
}

/// Everything that the server needs apart from definitions, Secrets and locations, in the order in which it is applied.
pub fn objects(options: &Options) -> Vec<Value> {
    let mut objects = vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": options.namespace, "labels": labels() },
        }),
        rbac::service_account(options),
    ];
    objects.extend(rbac::objects(options));
    objects.push(workload::service(options));
    objects.push(workload::deployment(options));
    objects
}

/// Whether ark may apply its Namespace over this one: what it did not make it does not take, or it would go with ark.
pub fn is_own(namespace: Option<&Value>) -> bool {
    namespace.is_none_or(|found| found["metadata"]["labels"][COMPONENT] == NAME)
}

/// Objects as a stream of YAML documents.
///
/// # Errors
/// None that a value of JSON could cause.
pub fn yaml(objects: &[Value]) -> Result<String, serde_yaml_ng::Error> {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&serde_yaml_ng::to_string(object)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    /// What a user who says as much as he can gets.
    fn everything() -> Options {
        Options {
            replicas: 2,
            profile: Profile::BackupOnly,
            server_arguments: vec!["--default-backup-ttl=720h".to_owned()],
            service_account_annotations: BTreeMap::from([(
                "eks.amazonaws.com/role-arn".to_owned(),
                "arn:aws:iam::1:role/ark".to_owned(),
            )]),
            pod_annotations: BTreeMap::from([("team".to_owned(), "platform".to_owned())]),
            pod_labels: BTreeMap::from([(
                "azure.workload.identity/use".to_owned(),
                "true".to_owned(),
            )]),
            image_pull_secrets: vec!["registry".to_owned()],
            claim: Some(Claim {
                name: "backups".to_owned(),
                path: "/backups".to_owned(),
            }),
            ..Options::new("ark-prod", "registry.example/ark:1")
        }
    }

    fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
        objects.iter().filter(|o| o["kind"] == kind).collect()
    }

    #[test]
    fn the_manifests_are_these() {
        let options = Options::new("heptio-ark", "registry.example/ark:1");
        insta::assert_snapshot!("usual", yaml(&objects(&options)).unwrap());
        insta::assert_snapshot!("everything", yaml(&objects(&everything())).unwrap());
    }

    #[test]
    fn nothing_has_a_finalizer_and_everything_has_the_label_and_a_path() {
        let mut all = definitions();
        all.extend(objects(&everything()));
        for object in all {
            assert_eq!(object["metadata"]["labels"][COMPONENT], NAME, "{object}");
            assert_eq!(object["metadata"]["finalizers"], Value::Null);
            assert!(apply::path(&object).is_some(), "{object}");
        }
    }

    #[test]
    fn a_pod_that_writes_to_a_claim_is_alone() {
        let of = |options: &Options| of_kind(&objects(options), "Deployment")[0].clone();
        let alone = of(&everything());
        assert_eq!(alone["spec"]["strategy"]["type"], "Recreate");
        let usual = of(&Options::new("n", "i"));
        assert_eq!(usual["spec"]["strategy"]["type"], "RollingUpdate");
    }

    #[test]
    fn an_installed_deployment_says_how_it_was_installed() {
        let options = everything();
        let objects = objects(&options);
        let deployment = of_kind(&objects, "Deployment")[0];
        assert_eq!(Options::of(deployment), Some(options));
        assert_eq!(Options::of(&json!({"metadata": {}})), None);
    }
}
