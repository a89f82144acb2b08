//! A recipe: the files and the command that make an image, and the key under which the result is kept.
//!
//! The key is a hash of everything that decides what the image contains and how it is run: the recipe's files (the
//! pinned versions are among them), its command, the distribution's release and architecture, the image's environment
//! and entry point. The way to the packages (mirror, proxy, index, certificates) is not part of it: it changes nothing
//! in the image.

use std::borrow::Cow;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::distribution::Distribution;
use super::{ImageConfig, ImageError, sources};
use crate::source::Pythons;

/// Raised when the code beside the recipe changes what an image contains.
const FORMAT: &str = "1";

/// Where the stage of the build lies for the part of the recipe that runs inside the new root.
const CERTIFICATES_INSIDE: &str = "/run/build/host/ca-certificates.crt";

/// A mirror may fail once. The host's own settings come after it.
const RETRIES: &str = "Acquire::Retries \"5\";\n";

/// What makes an image. The command finds `files` in `recipe/` of its stage and `host_files` in `host/`, and leaves
/// the image's layers in `layers/0`, `layers/1`, …, the lowest first.
#[derive(Clone)]
pub struct Recipe {
    /// The recipe's files by name.
    pub files: Vec<(String, Cow<'static, [u8]>)>,
    /// The command; `{stage}` stands for the stage's path.
    pub command: Vec<String>,
    /// Further things that decide what the image contains, by name.
    pub inputs: Vec<(String, String)>,
    /// How the image's notebook server is started, before its own options.
    pub entrypoint: Vec<String>,
    /// What the image's programs find in their environment.
    pub image_environment: Vec<(String, String)>,
    /// What the command finds in its environment. No part of the key.
    pub environment: Vec<(String, String)>,
    /// What the host adds to the stage. No part of the key.
    pub host_files: Vec<(String, Vec<u8>)>,
    /// Programs that the host must have: a program, and the package it is in.
    pub programs: Vec<(&'static str, &'static str)>,
    /// Whether only root can follow it.
    pub needs_root: bool,
}

/// The built-in image's interpreters.
pub(super) fn pythons() -> Pythons {
    Pythons {
        server: "/opt/atelier/server/bin/python".into(),
        kernels: "/home/ma-user/work/.environment/bin/python".into(),
        links: vec![("home/ma-user/work/.environment".into(), "/opt/atelier/environment".into())],
    }
}

macro_rules! recipe_files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/recipe/", $name)).as_slice())),*]
    };
}

/// The built-in image's recipe, as it lies in the folder `recipe` of this crate.
static FILES: [(&str, &[u8]); 15] = recipe_files![
    "build.sh",
    "environments.sh",
    "supervise.sh",
    "packages.txt",
    "requirements-server.txt",
    "requirements-user.txt",
    "files/atelier_provisioner.py",
    "files/dpkg-excludes",
    "files/kernel.json",
    "files/jupyter_server_config.json",
    "files/jupyter_server_config.py",
    "files/overrides.json",
    "files/page_config.json",
    "files/etc/hosts",
    "files/etc/profile.d/atelier.sh",
];

impl Recipe {
    /// The built-in image's, for this host.
    pub fn built_in(of: &Distribution, config: &ImageConfig) -> Result<Self, ImageError> {
        let own = own_sources(of, config)?;
        let files = FILES.iter().map(|(name, content)| ((*name).to_owned(), Cow::Borrowed(*content))).collect();
        let host_files = vec![
            ("sources.list".into(), sources::render(&own, of).into_bytes()),
            ("sources.public".into(), sources::render_public(&own, of).into_bytes()),
            ("apt.conf".into(), format!("{RETRIES}{}", config.settings.apt).into_bytes()),
            ("ca-certificates.crt".into(), certificates(config)?),
        ];
        Ok(Self {
            files,
            command: isolated(&["sh", "{stage}/recipe/build.sh", "{stage}", &of.codename]),
            inputs: vec![
                ("distribution".into(), of.family.id().into()),
                ("release".into(), of.codename.clone()),
                ("architecture".into(), of.architecture.into()),
            ],
            entrypoint: [&pythons().server, "-I", "-m", "jupyterlab"].map(str::to_owned).to_vec(),
            image_environment: image_environment(),
            environment: config.settings.recipe_environment(CERTIFICATES_INSIDE),
            host_files,
            programs: vec![("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux"), ("apt-get", "apt")],
            needs_root: true,
        })
    }

    /// The key: 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(FORMAT.as_bytes());
        for (name, content) in &self.files {
            add(name.as_bytes());
            add(content);
        }
        for list in [&self.command, &self.entrypoint] {
            add(b"list");
            for word in list {
                add(word.as_bytes());
            }
        }
        for (name, value) in self.inputs.iter().chain(&self.image_environment) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        hex::encode(hash.finalize())
    }

    /// The command for a stage.
    pub(super) fn command_for(&self, stage: &Path) -> Vec<String> {
        self.command.iter().map(|word| word.replace("{stage}", &stage.to_string_lossy())).collect()
    }

    /// Refuses when this host cannot follow the recipe at all.
    pub(super) fn check_host(&self) -> Result<(), ImageError> {
        if self.needs_root && !rustix::process::geteuid().is_root() {
            return Err(ImageError::NotRoot);
        }
        match self.programs.iter().find(|(program, _)| !on_path(program)) {
            Some((program, package)) => Err(ImageError::MissingProgram { program, package }),
            None => Ok(()),
        }
    }
}

/// In a mount and a pid namespace of its own, under the supervisor that ends with the builder.
fn isolated(command: &[&str]) -> Vec<String> {
    let around = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let supervisor = ["sh", "{stage}/recipe/supervise.sh"];
    around.iter().chain(&supervisor).chain(command).map(|word| (*word).to_owned()).collect()
}

pub(super) fn own_sources(of: &Distribution, config: &ImageConfig) -> Result<Vec<sources::Source>, ImageError> {
    let all = match &config.sources {
        Some(text) => [sources::parse_one_line(text), sources::parse_deb822(text)].concat(),
        None => sources::of_host(Path::new("/etc/apt")).map_err(|e| ImageError::io("read `/etc/apt`", e))?,
    };
    let own = if config.sources.is_some() { all } else { sources::own(&all, of) };
    if own.iter().any(|source| source.suite == of.codename) { Ok(own) } else { Err(ImageError::NoSources(of.clone())) }
}

fn certificates(config: &ImageConfig) -> Result<Vec<u8>, ImageError> {
    let Some(path) = &config.settings.ca_bundle else { return Ok(Vec::new()) };
    std::fs::read(path).map_err(|e| ImageError::io(format!("read the certificates `{}`", path.display()), e))
}

/// What every program in the built-in image finds. What is installed in the volume comes before what is in the image.
/// Jupyter's own folders lie outside of the volume; the server's kernels come before the user's, whose `python3` would
/// run the server's Python if it were found first.
fn image_environment() -> Vec<(String, String)> {
    [
        ("PATH", "/home/ma-user/work/.environment/bin:/opt/atelier/user/bin:/home/ma-user/.local/bin:/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/home/ma-user"),
        ("USER", "ma-user"),
        ("LOGNAME", "ma-user"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("VIRTUAL_ENV", "/home/ma-user/work/.environment"),
        (
            "JUPYTER_PATH",
            "/opt/atelier/server/share/jupyter:/home/ma-user/work/.environment/share/jupyter:\
             /opt/atelier/user/share/jupyter",
        ),
        ("JUPYTER_CONFIG_DIR", "/home/ma-user/.jupyter"),
        ("JUPYTER_DATA_DIR", "/home/ma-user/.local/share/jupyter"),
        ("JUPYTER_RUNTIME_DIR", "/home/ma-user/.local/share/jupyter/runtime"),
        ("IPYTHONDIR", "/home/ma-user/.ipython"),
        ("MPLCONFIGDIR", "/home/ma-user/.config/matplotlib"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::distribution::Family;
    use crate::image::host::HostSettings;

    fn config() -> ImageConfig {
        let sources = "deb http://deb.example/debian bookworm main\ndeb http://deb.example/debian trixie main";
        ImageConfig { sources: Some(sources.into()), ..ImageConfig::new("/nowhere".into()) }
    }

    fn recipe(codename: &str, architecture: &'static str, config: &ImageConfig) -> Recipe {
        let of = Distribution { family: Family::Debian, codename: codename.into(), architecture };
        Recipe::built_in(&of, config).unwrap()
    }

    #[test]
    fn the_key_changes_with_everything_that_decides_the_image() {
        let base = recipe("bookworm", "amd64", &config());
        let mut keys = vec![
            base.hash(),
            recipe("trixie", "amd64", &config()).hash(),
            recipe("bookworm", "arm64", &config()).hash(),
        ];
        for changed in 0..base.files.len() {
            let mut recipe = base.clone();
            recipe.files[changed].1.to_mut().push(b'\n');
            keys.push(recipe.hash());
        }
        let mut more = base.clone();
        more.entrypoint.push("--debug".into());
        keys.push(more.hash());
        let mut other = base.clone();
        other.image_environment[0].1.push_str(":/x");
        keys.push(other.hash());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert!(keys.iter().all(|key| key.len() == 64));
    }

    #[test]
    fn the_way_to_the_packages_is_no_part_of_the_key() {
        let mut other = config();
        other.sources = Some("deb http://mirror.example/debian bookworm main".into());
        other.settings = HostSettings { apt: "Acquire::Retries \"3\";\n".into(), ..HostSettings::default() };
        assert_eq!(recipe("bookworm", "amd64", &config()).hash(), recipe("bookworm", "amd64", &other).hash());
    }

    #[test]
    fn a_host_without_sources_of_its_release_is_refused() {
        let of = Distribution { family: Family::Debian, codename: "sid".into(), architecture: "amd64" };
        assert!(matches!(Recipe::built_in(&of, &config()), Err(ImageError::NoSources(_))));
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let mut recipe = recipe("bookworm", "amd64", &config());
        recipe.needs_root = false;
        recipe.programs = vec![("no-such-program", "no-such-package")];
        let said = recipe.check_host().unwrap_err().to_string();
        assert!(said.contains("`no-such-program`") && said.contains("`no-such-package`"), "{said}");
    }

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/recipe"));
        let mut there = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    there.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        // What the pinned requirements were computed from does not decide anything any more.
        let sources = ["requirements-server.in", "requirements-user.in", "requirements-overrides.txt"];
        there.retain(|name| !sources.contains(&name.as_str()));
        there.sort();
        let mut compiled_in: Vec<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        compiled_in.sort();
        assert_eq!(compiled_in, there);
    }
}
