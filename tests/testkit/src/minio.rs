//! A throwaway MinIO: an S3 store on loopback with credentials of its own, on request over TLS with an authority of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::control_plane::openssl;
use crate::process::{self, Server};
use crate::s3::{self, S3};
use crate::{binaries, ports};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// How to start MinIO.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinioOptions {
    /// Serve HTTPS with a certificate of an authority made for this server: [`Minio::ca_file`].
    pub tls: bool,
    /// Ask a plugin on this port of 127.0.0.1 about every request, in the place of MinIO's own policies.
    pub policy_port: Option<u16>,
}

/// A running MinIO. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub struct Minio {
    server: Server,
    folder: PathBuf,
    port: u16,
    tls: bool,
    access_key: String,
    secret_key: String,
    _temporary: Option<TempDir>,
}

impl Minio {
    /// Starts MinIO without TLS in a temporary folder and waits until it answers.
    pub async fn start() -> anyhow::Result<Minio> {
        Minio::start_with(MinioOptions::default()).await
    }

    /// Starts MinIO in a temporary folder.
    pub async fn start_with(options: MinioOptions) -> anyhow::Result<Minio> {
        let temporary = tempfile::Builder::new()
            .prefix("ark-minio-")
            .tempdir()
            .context("making a temporary folder")?;
        let mut minio = Minio::start_in(temporary.path(), options, false).await?;
        minio._temporary = Some(temporary);
        Ok(minio)
    }

    /// Starts MinIO in `folder`, which stays when the value is dropped.
    pub async fn start_in(
        folder: &Path,
        options: MinioOptions,
        detached: bool,
    ) -> anyhow::Result<Minio> {
        let folder = process::claim(folder)?;
        let certificates = folder.join("certs");
        for sub in ["data", "certs"] {
            fs::create_dir_all(folder.join(sub)).context("making MinIO's folders")?;
        }
        if options.tls {
            write_certificate(&certificates)?;
        }
        let (port, access_key, secret_key) = (ports::free()?, random_hex(10)?, random_hex(20)?);
        let mut command = Command::new(binaries::path("minio")?);
        command
            .args([
                "server",
                "data",
                "--quiet",
                "--certs-dir",
                "certs",
                "--address",
                &format!("127.0.0.1:{port}"),
            ])
            .args([
                "--console-address",
                &format!("127.0.0.1:{}", ports::free()?),
            ])
            .env("MINIO_ROOT_USER", &access_key)
            .env("MINIO_ROOT_PASSWORD", &secret_key)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .env("HOME", &folder);
        if let Some(port) = options.policy_port {
            command.env(
                "MINIO_POLICY_PLUGIN_URL",
                format!("http://127.0.0.1:{port}/"),
            );
        }
        let server = Server::start(&folder, "minio", command, detached)?;
        let mut minio = Minio {
            server,
            folder,
            port,
            tls: options.tls,
            access_key,
            secret_key,
            _temporary: None,
        };
        minio.wait_ready().await?;
        Ok(minio)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.answers().await {
            self.server.check()?;
            if Instant::now() > deadline {
                bail!(
                    "MinIO is not ready after {READY_WITHIN:?}:\n{}",
                    self.server.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Only this of its health checks waits for the objects, the buckets and the users; `ready` says 200
    /// before requests are served. `curl` speaks TLS too, and the certificate is the caller's to test.
    async fn answers(&self) -> bool {
        let url = format!("{}/minio/health/cluster", self.endpoint());
        tokio::task::spawn_blocking(move || {
            Command::new("curl")
                .args(["-fsk", "--max-time", "2", "-o", "/dev/null", &url])
                .status()
                .is_ok_and(|status| status.success())
        })
        .await
        .unwrap_or_default()
    }

    /// The URL of the server, without a bucket.
    pub fn endpoint(&self) -> String {
        format!(
            "{}://127.0.0.1:{}",
            if self.tls { "https" } else { "http" },
            self.port
        )
    }

    /// The access key of the root user.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key of the root user.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The environment that S3 clients read: endpoint, keys, region.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// The authority that signed the server's certificate, if it serves TLS.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.tls.then(|| self.folder.join("certs/ca.crt"))
    }

    /// The folder with the data, certificates and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a bucket. MinIO on one drive takes every folder of its data for a bucket.
    pub fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        fs::create_dir_all(self.folder.join("data").join(name))
            .with_context(|| format!("creating bucket {name}"))
    }

    /// A client with the root user's keys.
    pub fn s3(&self) -> S3 {
        S3::new(self.port, &self.access_key, &self.secret_key)
    }

    /// Creates a bucket that keeps versions.
    pub async fn create_versioned_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.create_bucket(name)?;
        let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.s3()
            .call(
                "PUT",
                &format!("/{name}"),
                &[("versioning", "")],
                &[],
                body.as_bytes(),
            )
            .await?
            .done()?;
        Ok(())
    }

    /// Creates a bucket that keeps versions and locks each for so many days.
    pub async fn create_locked_bucket(&self, name: &str, days: u32) -> anyhow::Result<()> {
        let s3 = self.s3();
        let lock = [("x-amz-bucket-object-lock-enabled", "true")];
        let path = format!("/{name}");
        s3.call("PUT", &path, &[], &lock, b"").await?.done()?;
        let body = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        s3.call("PUT", &path, &[("object-lock", "")], &[], body.as_bytes())
            .await?
            .done()?;
        Ok(())
    }

    /// Makes a user of this name whose requests the policy decides on, and returns its keys.
    pub async fn create_user(&self, name: &str, policy: &str) -> anyhow::Result<(String, String)> {
        let s3 = self.s3();
        let admin = |what: &str| format!("/minio/admin/v3/{what}");
        s3.call(
            "PUT",
            &admin("add-canned-policy"),
            &[("name", name)],
            &[],
            policy.as_bytes(),
        )
        .await?
        .done()?;
        let secret = random_hex(20)?;
        let user = serde_json::json!({"secretKey": secret, "status": "enabled"});
        let sealed = s3::seal_for_admin(&self.secret_key, user.to_string().as_bytes())?;
        s3.call(
            "PUT",
            &admin("add-user"),
            &[("accessKey", name)],
            &[],
            &sealed,
        )
        .await?
        .done()?;
        let attached = [
            ("isGroup", "false"),
            ("policyName", name),
            ("userOrGroup", name),
        ];
        s3.call(
            "PUT",
            &admin("set-user-or-group-policy"),
            &attached,
            &[],
            b"",
        )
        .await?
        .done()?;
        Ok((name.to_owned(), secret))
    }

    /// Leaves the process running, for [`crate::stop_folder`] to end.
    pub fn detach(self) {
        self.server.detach();
    }
}

fn random_hex(bytes: usize) -> anyhow::Result<String> {
    use std::io::Read;
    let mut buffer = vec![0; bytes];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .context("reading /dev/urandom")?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An authority and a certificate for 127.0.0.1 that it signed, under the names that MinIO looks for.
fn write_certificate(folder: &Path) -> anyhow::Result<()> {
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let mut authority = vec![
        "req",
        "-x509",
        "-days",
        "30",
        "-subj",
        "/CN=ark-testkit authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ];
    authority.extend(key);
    openssl(folder, &authority)?;
    fs::write(
        folder.join("extensions"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
    )
    .context("writing certificate extensions")?;
    let mut request = vec![
        "req",
        "-subj",
        "/CN=127.0.0.1",
        "-keyout",
        "private.key",
        "-out",
        "request.csr",
    ];
    request.extend(key);
    openssl(folder, &request)?;
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            "request.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
        ]
        .into_iter()
        .chain(["-extfile", "extensions", "-out", "public.crt"])
        .collect::<Vec<_>>(),
    )?;
    // MinIO reads every *.crt and *.key pair by name; only the authority's certificate is of use to clients.
    fs::remove_file(folder.join("ca.key")).context("removing the authority's key")
}
