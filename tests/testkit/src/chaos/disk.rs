//! A small file system of its own for a `file://` repository, which can be filled and emptied: ext4 in a file, mounted by a loop
//! device. It needs root; where that is not given, the run goes on without and says so.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

/// A mounted file system. Dropping it unmounts it; the file that it is in stays.
pub(super) struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Makes one of `size` bytes in `folder`.
    pub(super) fn mount(folder: &Path, size: u64) -> anyhow::Result<Disk> {
        let (image, mount) = (folder.join("disk.ext4"), folder.join("disk"));
        fs::create_dir_all(&mount).context("making a mount point")?;
        let file = File::create(&image).context("making an image")?;
        file.set_len(size).context("making an image")?;
        // No blocks set aside for root: full means full.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&mount))?;
        Ok(Disk { mount })
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// Fills it, except for about so many bytes.
    pub(super) fn fill(&self, leave: u64) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast()).context("making the ballast")?;
        let block = vec![0x5a; 64 << 10];
        let mut size = 0;
        loop {
            // What is written may turn out not to fit only when it goes to the disk.
            match file.write_all(&block).and_then(|()| file.sync_data()) {
                Ok(()) => size += block.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
        file.set_len(size.saturating_sub(leave))
            .context("leaving some room")?;
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        fs::remove_file(self.ballast()).context("removing the ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that was just killed may hold it for a moment.
        for _ in 0..50 {
            if run(Command::new("umount").arg(&self.mount)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} is still mounted", self.mount.display());
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", text.trim());
    }
    Ok(())
}
