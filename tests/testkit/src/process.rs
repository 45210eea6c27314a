//! Child processes with a log and a pid file, ended by their own id only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// A server that runs in a kit's folder. Dropping it ends the process, unless it was detached.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Option<Child>,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `folder/log/name.log` and its id in `folder/name.pid`. A detached server gets a process
    /// group of its own, so that Ctrl-C in the terminal that started it does not reach it.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        mut command: Command,
        detached: bool,
    ) -> anyhow::Result<Server> {
        let logs = folder.join("log");
        fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let log = logs.join(format!("{name}.log"));
        let out = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let err = out.try_clone().context("duplicating a log file")?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        if detached {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let pid_file = folder.join(format!("{name}.pid"));
        fs::write(&pid_file, child.id().to_string())
            .with_context(|| format!("writing {}", pid_file.display()))?;
        Ok(Server {
            name: name.to_owned(),
            child: Some(child),
            log,
            pid_file,
        })
    }

    /// An error with the end of the log if the process has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))?
        {
            anyhow::bail!(
                "{} ended ({status}); the end of its log:\n{}",
                self.name,
                self.log_tail()
            );
        }
        Ok(())
    }

    /// The last lines of the log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Leaves the process running when this value goes away: its pid file is all that remains.
    pub(crate) fn detach(mut self) {
        self.child = None;
    }

    /// Ends the process and waits until it has ended: politely first, by force after two seconds.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        signal(child.id(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.finish(child);
    }

    /// Ends the process at once, for servers whose data is thrown away.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            self.finish(child);
        }
    }

    fn finish(&self, mut child: Child) {
        // Both fail only if the process has ended already, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
        let _ = fs::remove_file(&self.pid_file);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends every detached server whose pid file is in `folder`, then removes the folder.
///
/// A process is ended only if its command line or working folder lies in `folder`: an id that the kernel has given to somebody else
/// since is left alone. A folder without a kit's mark is not touched.
pub fn stop_folder(folder: &Path) -> anyhow::Result<()> {
    let Ok(folder) = folder.canonicalize() else {
        return Ok(());
    };
    if !folder.join(MARK).is_file() {
        anyhow::bail!(
            "{} was not made by ark-testkit: left as it is",
            folder.display()
        );
    }
    let mut ending = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading a folder")?.path();
        if path.extension().is_none_or(|e| e != "pid") {
            continue;
        }
        let Some(pid) = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
        else {
            continue;
        };
        if works_in(pid, &folder) {
            signal(pid, Signal::TERM);
            ending.push(pid);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline && ending.iter().any(|pid| works_in(*pid, &folder)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in ending.into_iter().filter(|pid| works_in(*pid, &folder)) {
        signal(pid, Signal::KILL);
    }
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

/// The file that says that a folder is a kit's and may be removed.
pub(crate) const MARK: &str = ".ark-testkit";

fn works_in(pid: u32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
}

/// Makes `folder` a kit's folder: new, or empty, or a kit's already.
pub(crate) fn claim(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("resolving {}", folder.display()))?;
    let used = fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .next()
        .is_some();
    if used && !folder.join(MARK).is_file() {
        anyhow::bail!(
            "{} holds other files: name an empty folder",
            folder.display()
        );
    }
    fs::write(folder.join(MARK), "made by ark-testkit\n")
        .with_context(|| format!("writing in {}", folder.display()))?;
    Ok(folder)
}
