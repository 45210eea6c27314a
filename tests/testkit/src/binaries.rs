//! Where the real servers are: a cache folder that `tests/cluster/build.sh` fills, shared by all checkouts.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// The folder with the built servers: `$ARK_TEST_BIN`, else `ark-test/bin` in the user's cache folder.
pub fn folder() -> anyhow::Result<PathBuf> {
    if let Some(bin) = std::env::var_os("ARK_TEST_BIN") {
        return Ok(bin.into());
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => {
            PathBuf::from(std::env::var_os("HOME").context("neither ARK_TEST_BIN nor HOME is set")?)
                .join(".cache")
        }
    };
    Ok(cache.join("ark-test/bin"))
}

/// The path of one server.
pub(crate) fn path(program: &str) -> anyhow::Result<PathBuf> {
    let path = folder()?.join(program);
    if !path.is_file() {
        bail!(
            "{} is not built: run tests/cluster/build.sh",
            path.display()
        );
    }
    Ok(path)
}
