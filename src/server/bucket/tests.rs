#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const KEYS: &[u8] = b"[default]\naws_access_key_id = AKID\naws_secret_access_key=shh=\n\n# other\n[other]\naws_access_key_id=OTHER\naws_secret_access_key=x\naws_session_token=tok\nregion=eu-west-9\n";

/// Provider, settings, credential, and what the refusal says.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a [u8]>, &'a str);

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn place<'a>(provider: &'a str, config: &[(&str, &str)]) -> Place<'a> {
    Place {
        provider,
        bucket: "backups",
        prefix: Some("/prod/"),
        ca_cert: None,
        config: map(config),
    }
}

/// What a pod may find in its environment, all of it somebody's.
fn surroundings() -> BTreeMap<String, String> {
    map(&[
        ("AWS_ACCESS_KEY_ID", "POD"),
        ("AWS_SECRET_ACCESS_KEY", "POD"),
        ("AWS_SESSION_TOKEN", "POD"),
        ("AWS_ENDPOINT_URL", "https://elsewhere"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "pod-1"),
        ("AWS_ROLE_ARN", "arn:role"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AZURE_CLIENT_ID", "pod"),
        ("AZURE_TENANT_ID", "pod"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "POD"),
        ("AZURE_STORAGE_ENDPOINT", "https://elsewhere"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "POD"),
        ("GOOGLE_BASE_URL", "https://elsewhere"),
    ])
}

fn settle(
    provider: &str,
    config: &[(&str, &str)],
    secret: Option<&[u8]>,
) -> Result<Bucket, BucketError> {
    bucket(&place(provider, config), secret, &surroundings())
}

#[test]
fn a_profile_of_the_credential_file_is_used_and_nothing_else() {
    let minio = [
        ("region", "minio"),
        ("s3ForcePathStyle", "true"),
        ("s3Url", "http://minio.velero.svc:9000"),
    ];
    let got = settle("velero.io/aws", &minio, Some(KEYS)).unwrap();
    assert_eq!(got.url, "s3://backups/prod");
    assert_eq!(
        got.options.env,
        map(&[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "shh=")
        ])
    );
    assert_eq!(
        got.options.endpoint.as_deref(),
        Some("http://minio.velero.svc:9000")
    );
    assert_eq!(got.options.path_style, Some(true));
    assert!(got.options.allow_http);
    assert_eq!(got.notes, Vec::<String>::new());

    let got = settle(
        "aws",
        &[("profile", "other"), ("kmsKeyId", "alias/k")],
        Some(KEYS),
    )
    .unwrap();
    assert_eq!(got.options.region.as_deref(), Some("eu-west-9"));
    assert_eq!(got.options.sse_kms_key.as_deref(), Some("alias/k"));
    assert!(!got.options.allow_http);
    assert_eq!(
        got.options.env,
        map(&[
            ("AWS_ACCESS_KEY_ID", "OTHER"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_SESSION_TOKEN", "tok")
        ])
    );
    // What the location says wins over the file.
    let got = settle(
        "aws",
        &[("profile", "other"), ("region", "us-west-2")],
        Some(KEYS),
    )
    .unwrap();
    assert_eq!(got.options.region.as_deref(), Some("us-west-2"));
}

#[test]
fn without_a_credential_the_pods_identity_counts_and_no_key_of_its_environment() {
    let got = settle("aws", &[], None).unwrap();
    assert_eq!(got.options.region.as_deref(), Some("pod-1"));
    assert_eq!(
        got.options.env,
        map(&[
            ("AWS_ROLE_ARN", "arn:role"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")
        ])
    );
    assert_eq!(got.options.endpoint, None);
    let got = settle("azure", &[("storageAccount", "acc")], None).unwrap();
    assert_eq!(
        got.options.env,
        map(&[
            ("AZURE_CLIENT_ID", "pod"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acc"),
            ("AZURE_TENANT_ID", "pod"),
        ])
    );
    let got = settle("gcp", &[], None).unwrap();
    assert_eq!(got.options.env, map(&[]));
    assert_eq!(got.options.endpoint, None);
}

#[test]
fn azure_takes_an_access_key_a_token_or_a_principal() {
    let file: &[u8] = b"# made by hand\nAZURE_SUBSCRIPTION_ID=s\nexport AZURE_TENANT_ID=\"t\"\nAZURE_CLIENT_ID=c\nAZURE_CLIENT_SECRET='p=q'\nAZURE_RESOURCE_GROUP=g\nAZURE_CLOUD_NAME=AzureUSGovernmentCloud\nMY_KEY=a2V5\n";
    let principal = settle(
        "azure",
        &[("storageAccount", "acc"), ("resourceGroup", "g")],
        Some(file),
    )
    .unwrap();
    assert_eq!(principal.url, "az://backups/prod");
    assert_eq!(
        principal.options.env,
        map(&[
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "p=q"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acc"),
            ("AZURE_TENANT_ID", "t"),
        ])
    );
    assert_eq!(
        principal.options.endpoint.as_deref(),
        Some("https://acc.blob.core.usgovcloudapi.net")
    );
    assert_eq!(principal.notes.len(), 1);
    let key = [
        ("storageAccount", "acc"),
        ("storageAccountKeyEnvVar", "MY_KEY"),
        ("storageAccountURI", "https://acc.example"),
    ];
    let key = settle("velero.io/azure", &key, Some(file)).unwrap();
    assert_eq!(
        key.options
            .env
            .get("AZURE_STORAGE_ACCOUNT_KEY")
            .map(String::as_str),
        Some("a2V5")
    );
    assert_eq!(key.options.env.get("AZURE_CLIENT_SECRET"), None);
    assert_eq!(key.options.endpoint.as_deref(), Some("https://acc.example"));
    let plain = settle(
        "azure",
        &[("storageAccount", "acc")],
        Some(b"AZURE_STORAGE_ACCOUNT_ACCESS_KEY=k"),
    )
    .unwrap();
    assert_eq!(
        plain
            .options
            .env
            .get("AZURE_STORAGE_ACCOUNT_KEY")
            .map(String::as_str),
        Some("k")
    );
    let token = settle(
        "azure",
        &[("storageAccount", "acc")],
        Some(b"AZURE_STORAGE_SAS_TOKEN=sv"),
    )
    .unwrap();
    assert_eq!(
        token
            .options
            .env
            .get("AZURE_STORAGE_SAS_TOKEN")
            .map(String::as_str),
        Some("sv")
    );
}

#[test]
fn gcp_takes_the_key_of_a_service_account() {
    let json: &[u8] = br#"{"type":"service_account","private_key":"k"}"#;
    let got = settle("gcp", &[("serviceAccount", "me@x")], Some(json)).unwrap();
    assert_eq!(got.url, "gs://backups/prod");
    assert_eq!(
        got.options.env.keys().collect::<Vec<_>>(),
        ["GOOGLE_SERVICE_ACCOUNT_KEY"]
    );
    assert_eq!(got.notes.len(), 1);
}

#[test]
fn a_folder_is_a_location_too() {
    let local = Place {
        provider: "local",
        bucket: "/backups/",
        ..Place::default()
    };
    let got = bucket(&local, None, &surroundings()).unwrap();
    assert_eq!(got.url, "file:///backups");
    assert_eq!(got.options.env, map(&[]));
    for folder in ["", "backups", "/", "/a/../b", "/a//b"] {
        let place = Place {
            bucket: folder,
            ..local.clone()
        };
        assert!(bucket(&place, None, &surroundings()).is_err(), "{folder:?}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_field() {
    let region = ("region", "r");
    let account = ("storageAccount", "acc");
    let azure_key: &[u8] = b"AZURE_STORAGE_ACCOUNT_ACCESS_KEY=hidden";
    let cases: &[Case] = &[
        ("minio", &[], None, "spec.provider \"minio\" is not known"),
        (
            "aws",
            &[region, ("insecureSkipTLSVerify", "true")],
            None,
            "spec.config.insecureSkipTLSVerify is true",
        ),
        (
            "aws",
            &[region, ("s3ForcePathStyle", "maybe")],
            None,
            "neither true nor false",
        ),
        (
            "aws",
            &[region, ("signatureVersion", "1")],
            None,
            "version 4 only",
        ),
        (
            "aws",
            &[region, ("customerKeyEncryptionFile", "/k")],
            None,
            "SSE-C",
        ),
        (
            "aws",
            &[region, ("customerKeyEncryptionSecret", "s/k")],
            None,
            "SSE-C",
        ),
        (
            "aws",
            &[region, ("serverSideEncryption", "aws:kms")],
            None,
            "kmsKeyId",
        ),
        (
            "aws",
            &[region, ("credentialsFile", "/credentials")],
            None,
            "spec.credential",
        ),
        (
            "aws",
            &[region, ("enableSharedConfig", "true")],
            None,
            "IRSA",
        ),
        (
            "aws",
            &[region, ("tagging", "a=b")],
            None,
            "ark writes none",
        ),
        (
            "aws",
            &[region, ("profile", "other")],
            None,
            "names no Secret",
        ),
        (
            "aws",
            &[region, ("regionn", "x")],
            None,
            "spec.config.regionn is not a setting of the provider aws",
        ),
        (
            "aws",
            &[region, ("s3Url", "minio:9000")],
            None,
            "spec.config.s3Url",
        ),
        (
            "aws",
            &[region, ("s3Url", "https://me:hidden@minio")],
            None,
            "holds credentials",
        ),
        ("s3", &[region], None, "spec.config.s3Url is missing"),
        (
            "aws",
            &[region, ("profile", "none")],
            Some(KEYS),
            "it has: default, other",
        ),
        (
            "aws",
            &[region],
            Some(b"aws_access_key_id=hidden"),
            "line 1",
        ),
        (
            "aws",
            &[region],
            Some(b"[default]\naws_access_key_id=hidden"),
            "has no aws_secret_access_key",
        ),
        (
            "aws",
            &[region],
            Some(b"[default]\nrole_arn=hidden"),
            "does not follow",
        ),
        ("aws", &[region], Some(&[0xff, 0xfe]), "is not text"),
        (
            "gcp",
            &[("kmsKeyName", "k")],
            None,
            "default key of the bucket",
        ),
        ("gcp", &[], Some(b"hidden"), "is no JSON"),
        (
            "gcp",
            &[],
            Some(br#"{"type":"authorized_user","refresh_token":"hidden"}"#),
            "\"authorized_user\"",
        ),
        (
            "azure",
            &[],
            Some(azure_key),
            "spec.config.storageAccount is missing",
        ),
        (
            "azure",
            &[("storageAccount", "a/b")],
            Some(azure_key),
            "is not the name",
        ),
        (
            "azure",
            &[account, ("apiVersion", "x")],
            Some(azure_key),
            "apiVersion",
        ),
        (
            "azure",
            &[account, ("useAAD", "true")],
            Some(azure_key),
            "does not set AZURE_TENANT_ID",
        ),
        (
            "azure",
            &[account, ("storageAccountKeyEnvVar", "K")],
            Some(azure_key),
            "does not set K",
        ),
        (
            "azure",
            &[account, ("storageAccountKeyEnvVar", "K")],
            None,
            "names no Secret",
        ),
        (
            "azure",
            &[account],
            Some(b"hidden"),
            "line 1 is not KEY=value",
        ),
        (
            "azure",
            &[account],
            Some(b"AZURE_CLOUD_NAME=hidden"),
            "AZURE_CLOUD_NAME",
        ),
        (
            "azure",
            &[account],
            Some(b"AZURE_USERNAME=hidden"),
            "AZURE_USERNAME",
        ),
        ("local", &[], Some(b"hidden"), "means nothing"),
    ];
    for (provider, config, secret, expected) in cases {
        let error = settle(provider, config, *secret).unwrap_err().to_string();
        assert!(error.contains(expected), "{provider} {config:?}: {error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    let nowhere = bucket(&place("aws", &[]), Some(KEYS), &surroundings()).unwrap_err();
    assert!(
        nowhere
            .to_string()
            .contains("spec.config.region is missing"),
        "{nowhere}"
    );
}

#[test]
fn addresses_are_plain() {
    for (bucket_name, prefix) in [
        ("", ""),
        ("a/b", ""),
        ("a@b", ""),
        ("a?b", ""),
        ("a", "x/../y"),
        ("a", "x//y"),
        ("a", "x#y"),
    ] {
        let place = Place {
            provider: "gcp",
            bucket: bucket_name,
            prefix: Some(prefix),
            ..Place::default()
        };
        assert!(
            bucket(&place, None, &map(&[])).is_err(),
            "{bucket_name} {prefix}"
        );
    }
}

#[test]
fn harmless_settings_are_noted_and_the_debug_output_holds_no_secret() {
    let config = [
        ("region", "r"),
        ("publicUrl", "https://x"),
        ("checksumAlgorithm", "CRC32"),
        ("insecureSkipTLSVerify", "false"),
        ("signatureVersion", "4"),
        ("serverSideEncryption", "AES256"),
    ];
    let got = settle("aws", &config, Some(KEYS)).unwrap();
    assert_eq!(got.notes.len(), 2, "{:?}", got.notes);
    assert_eq!(
        got.options
            .env
            .get("AWS_SERVER_SIDE_ENCRYPTION")
            .map(String::as_str),
        Some("AES256")
    );
    assert!(!format!("{got:?}").contains("shh"));
}
