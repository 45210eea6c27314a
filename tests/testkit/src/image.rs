//! Container images without a registry and without Docker: an OCI archive that containerd imports, packed from files of this machine.
//!
//! Archives are made in one pass and depend on nothing but their contents: the same files give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 14] = [
    "cat", "date", "echo", "env", "false", "httpd", "ls", "mkdir", "nc", "sh", "sleep", "touch",
    "true", "wget",
];
/// Where programs look for certificate authorities.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    command: Vec<String>,
    user: String,
    layer: Tar,
}

impl Image {
    /// An empty image of this name.
    pub fn new(name: &str) -> Image {
        let mut layer = Tar::default();
        for folder in [
            "bin",
            "etc",
            "etc/ssl",
            "etc/ssl/certs",
            "tmp",
            "var",
            "var/cache",
        ] {
            layer.folder(folder);
        }
        Image {
            name: name.to_owned(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            user: String::new(),
            layer,
        }
    }

    /// Debian's static busybox with a few of its applets, `/bin/sh` by default.
    pub fn busybox(name: &str, command: &[&str]) -> anyhow::Result<Image> {
        let mut image = Image::new(name);
        let program = fs::read(BUSYBOX)
            .with_context(|| format!("reading {BUSYBOX}: is busybox-static installed?"))?;
        image.layer.file("bin/busybox", 0o755, &program);
        for applet in APPLETS {
            image.layer.link(&format!("bin/{applet}"), "busybox");
        }
        image.command = command.iter().map(|word| (*word).to_owned()).collect();
        Ok(image)
    }

    /// `program` with what it loads at its start, the certificate authorities of this machine, and nobody as its user.
    pub fn of_program(name: &str, program: &Path) -> anyhow::Result<Image> {
        let mut image = Image::new(name);
        let file = program.file_name().context("a program has a name")?;
        let inside = format!("bin/{}", file.to_string_lossy());
        let bytes =
            |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        image.layer.file(&inside, 0o755, &bytes(program)?);
        for library in libraries(program)? {
            let inside = library.to_string_lossy().trim_start_matches('/').to_owned();
            let mut folder = String::new();
            for part in Path::new(&inside).parent().into_iter().flatten() {
                folder.push_str(&part.to_string_lossy());
                image.layer.folder(&folder);
                folder.push('/');
            }
            image.layer.file(&inside, 0o755, &bytes(&library)?);
        }
        let authorities = bytes(Path::new(AUTHORITIES))?;
        image
            .layer
            .file(AUTHORITIES.trim_start_matches('/'), 0o644, &authorities);
        image.entrypoint = vec![format!("/{inside}")];
        image.user = "65532:65532".to_owned();
        Ok(image)
    }

    /// The name that pods ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The image as an archive for `ctr images import`.
    pub fn archive(self) -> anyhow::Result<Vec<u8>> {
        let layer = self.layer.finish();
        let config = serde_json::to_vec(&json!({
            "architecture": match std::env::consts::ARCH { "aarch64" => "arm64", _ => "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "User": self.user,
                "Env": ["PATH=/bin"],
            },
            "rootfs": { "type": "layers", "diff_ids": [name_of(&layer)] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &config),
            "layers": [described("layer.v1.tar", &layer)],
        }))?;
        let mut described = described("manifest.v1+json", &manifest);
        described["annotations"] = json!({ "io.containerd.image.name": self.name });
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [described] }))?;
        let mut archive = Tar::default();
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        archive.file("index.json", 0o644, &index);
        for folder in ["blobs", "blobs/sha256"] {
            archive.folder(folder);
        }
        for blob in [config, manifest, layer] {
            let path = format!("blobs/{}", name_of(&blob).replace(':', "/"));
            archive.file(&path, 0o644, &blob);
        }
        Ok(archive.finish())
    }

    /// Writes the archive.
    pub fn write(self, path: &Path) -> anyhow::Result<()> {
        let archive = self.archive()?;
        fs::write(path, archive).with_context(|| format!("writing {}", path.display()))
    }
}

/// The shared libraries of a program, and their loader; none if it is static.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("running ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    if said.contains("statically linked") || why.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() || said.contains("not found") {
        bail!("ldd {}: {said}{why}", program.display());
    }
    let paths = said
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    Ok(paths.collect())
}

fn name_of(blob: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, blob);
    format!("sha256:{}", hex::encode(hash.as_ref()))
}

fn described(kind: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": name_of(blob),
        "size": blob.len(),
    })
}

/// A tar archive (ustar): what images consist of.
#[derive(Clone, Debug, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn folder(&mut self, path: &str) {
        self.entry(path, b'5', 0o755, "", &[]);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.entry(path, b'2', 0o777, target, &[]);
    }

    fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.entry(path, b'0', mode, "", data);
    }

    fn entry(&mut self, path: &str, kind: u8, mode: u32, link: &str, data: &[u8]) {
        debug_assert!(path.len() < 100 && link.len() < 100);
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", data.len()));
        put(136, "00000000000");
        // The checksum counts its own field as spaces.
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `tar` reads it, and so does who follows the digests.
    #[test]
    fn an_archive_is_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let program = std::env::current_exe().unwrap();
        let image = Image::of_program("localhost/kit:dev", &program).unwrap();
        image.clone().write(&path).unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let unpack = |archive: &Path, into: &Path| {
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(archive).arg("-C").arg(into);
            assert!(tar.status().unwrap().success());
        };
        unpack(&path, &inside);
        let read =
            |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let blob = |of: &Value| {
            let name = of["digest"].as_str().unwrap();
            let path = inside.join("blobs").join(name.replace(':', "/"));
            let bytes = fs::read(&path).unwrap();
            assert_eq!(name_of(&bytes), name);
            assert_eq!(of["size"], bytes.len());
            path
        };
        let manifest = read(&blob(&read(&inside.join("index.json"))["manifests"][0]));
        let config = read(&blob(&manifest["config"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        let layer = folder.path().join("layer");
        fs::create_dir(&layer).unwrap();
        unpack(&blob(&manifest["layers"][0]), &layer);
        let entrypoint = config["config"]["Entrypoint"][0].as_str().unwrap();
        let packed = fs::read(layer.join(entrypoint.trim_start_matches('/'))).unwrap();
        assert!(packed == fs::read(&program).unwrap());
        assert!(layer.join("lib64").is_dir() || libraries(&program).unwrap().is_empty());
        assert_eq!(image.clone().archive().unwrap(), image.archive().unwrap());
    }
}
