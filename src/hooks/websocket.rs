//! Commands in containers as kubectl runs them: over a WebSocket through the apiserver.

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::exec::{ExecError, Executor, Target};
use super::output::Output;
use crate::cluster::{Cluster, describe};

/// Runs commands through the apiserver.
#[derive(Clone)]
pub struct WebSocket(Cluster);

impl WebSocket {
    /// Commands in the pods of that cluster.
    pub fn new(cluster: &Cluster) -> WebSocket {
        WebSocket(cluster.clone())
    }

    async fn run(
        &self,
        target: &Target,
        command: &[String],
        output: &Output,
    ) -> Result<(), ExecError> {
        let client = self.0.patient_client();
        let client = client.map_err(|error| ExecError::Unreachable(describe(&error)))?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &target.pod.namespace);
        let attach = AttachParams::default()
            .container(target.container.as_str())
            .stdin(false)
            .stdout(true)
            .stderr(true);
        let begun = pods.exec(&target.pod.name, command, &attach).await;
        let mut process = begun.map_err(refusal)?;
        let status = process.take_status();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let (status, (), ()) = tokio::join!(
            status,
            pump(stdout, |bytes| output.stdout(bytes)),
            pump(stderr, |bytes| output.stderr(bytes)),
        );
        match status {
            Some(status) => judged(&status),
            None => Err(ExecError::Lost(match process.join().await {
                Err(error) => describe(&error),
                Ok(()) => "it was closed".to_owned(),
            })),
        }
    }
}

impl Executor for WebSocket {
    fn exec<'a>(
        &'a self,
        target: &'a Target,
        command: &'a [String],
        output: &'a Output,
    ) -> BoxFuture<'a, Result<(), ExecError>> {
        self.run(target, command, output).boxed()
    }
}

async fn pump(stream: Option<impl AsyncRead + Unpin>, keep: impl Fn(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    // How a stream ends says nothing: the status does.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        keep(&buffer[..read]);
    }
}

/// Why a command was not begun.
fn refusal(error: kube::Error) -> ExecError {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => ExecError::Forbidden(status.message.clone()),
            429 | 502..=504 => ExecError::Unreachable(status.message.clone()),
            500 => ExecError::Faltered(status.message.clone()),
            _ => ExecError::Refused(status.message.clone()),
        },
        kube::Error::Auth(_) => ExecError::Refused(describe(&error)),
        error => ExecError::Unreachable(describe(&error)),
    }
}

/// What the kubelet says about how a command ended.
fn judged(status: &Status) -> Result<(), ExecError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let code = causes
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => Err(ExecError::Exit(code)),
        None => Err(ExecError::NotStarted(
            status.message.clone().unwrap_or_default(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(json: serde_json::Value) -> Result<(), ExecError> {
        judged(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn how_a_command_ended_is_read() {
        assert_eq!(status(serde_json::json!({"status": "Success"})), Ok(()));
        let exit = serde_json::json!({"status": "Failure", "reason": "NonZeroExitCode",
            "message": "command terminated with exit code 7",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        assert_eq!(status(exit), Err(ExecError::Exit(7)));
        let not = serde_json::json!({"status": "Failure", "reason": "InternalError",
            "message": "executable file not found"});
        assert_eq!(
            status(not),
            Err(ExecError::NotStarted(
                "executable file not found".to_owned()
            ))
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let code = |code: u16| {
            let status = kube::core::Status::failure("no", "Reason").with_code(code);
            refusal(kube::Error::Api(Box::new(status)))
        };
        assert!(
            code(403)
                .to_string()
                .contains("get and create on pods/exec")
        );
        assert!(code(503).may_pass() && !code(404).may_pass() && !code(500).may_pass());
        assert!(code(503).was_not_begun() && code(500).was_not_begun());
        assert!(!code(404).was_not_begun() && !code(403).was_not_begun());
    }
}
