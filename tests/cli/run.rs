//! Runs the binary in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a home, and what runs in it.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A kubeconfig of a cluster that nobody serves.
    pub fn dead_kubeconfig(&self) -> PathBuf {
        let path = self.path().join("kubeconfig");
        let text = r#"{"apiVersion":"v1","kind":"Config","current-context":"c",
            "clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],
            "users":[{"name":"u","user":{"token":"t"}}],
            "contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}"#;
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary in this folder, with nothing of the caller's environment and no terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ark"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path().join("home"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    pub fn ark(&self, arguments: &[&str]) -> Ran {
        self.ark_with(arguments, &[])
    }

    pub fn ark_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = self
            .command(arguments)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Makes the repository `repo` with the key file `key`.
    pub fn with_repository() -> Sandbox {
        let sandbox = Sandbox::new();
        let ran = sandbox.ark(&["--repo", "repo", "--key-file", "key", "repo", "init"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        sandbox
    }
}
