//! The configuration: one value that is complete and right, or the list of everything that is wrong.
//!
//! Layers, later ones winning key by key: the defaults, a file, the environment (`ATELIER_SECTION__KEY`), flags. The
//! commented file compiled in ([`DEFAULT_FILE`]) shows every key with its default; a test holds the two together.
//! Nothing is bound, made or written before the configuration as a whole is right.

mod flavors;
mod kinds;
mod layer;
mod network;
mod pools;
mod profiles;
mod reader;
mod roots;
mod sections;
mod seeing;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use atelier_api::Profile;
use atelier_core::flavor::Flavor;
use atelier_core::lease::GrantRange;
use atelier_core::pool::Pool;
use atelier_engine::{ActivityConfig, RestartConfig};
use atelier_runtime::{Root, RuntimeKind};

pub(crate) use self::layer::{Entry, Layer, Raw, Source};
pub(crate) use self::network::Network;
pub(crate) use self::reader::Mistake;
pub(crate) use self::sections::{Iam, Image, Limits, Local, LogFormat, ProxyHeader, Retention, Server, Tls, Volumes};
pub(crate) use self::seeing::Seeing;

use self::reader::Reader;

/// The commented default file.
pub(crate) const DEFAULT_FILE: &str = include_str!("../default.toml");
/// The name of the file that is read from the data folder when no other is given.
pub(crate) const FILE_NAME: &str = "atelier.toml";

/// The configuration, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Where the server lives and listens, and how it logs.
    pub server: Server,
    /// How the door is secured.
    pub(crate) tls: Tls,
    /// The domain under which notebooks have host names.
    pub domain: String,
    /// Which runtime makes instances.
    pub runtime: RuntimeKind,
    /// The local runtime.
    pub local: Local,
    /// The making of the built-in image.
    pub(crate) image: Image,
    /// What volumes are like, and what becomes of those of deleted notebooks.
    pub(crate) volumes: Volumes,
    /// The folders that notebooks can have as dedicated volumes.
    pub(crate) roots: Vec<Root>,
    /// The grants that leases may have.
    pub lease: GrantRange,
    /// How idleness is found out.
    pub(crate) idle: ActivityConfig,
    /// How often notebook servers that ended are started again.
    pub(crate) restart: RestartConfig,
    /// How long a hook of a notebook may run.
    pub(crate) hook_limit: Duration,
    /// Notebooks that a user may have in a project.
    pub notebooks_per_user: u32,
    /// What one caller, or all together, may use of the server.
    pub limits: Limits,
    /// How long history is kept.
    pub retention: Retention,
    /// Region and tokens.
    pub iam: Iam,
    /// What can be seen of the server.
    pub seeing: Seeing,
    /// The flavors on offer outside of pools.
    pub flavors: Vec<Flavor>,
    /// The shares of the machine that are set aside.
    pub pools: Vec<Pool>,
    /// The names that the legacy API has for images.
    pub profiles: Vec<Profile>,
}

/// Where configuration comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The file given by the caller; it must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Keys set by flags.
    pub flags: Layer,
    /// Keys that a command sets unless somebody else does.
    pub base: Layer,
    /// The data folder when no layer names one.
    pub default_data_dir: PathBuf,
    /// The cache folder when no layer names one.
    pub default_cache_dir: PathBuf,
}

impl Places {
    /// Sets a key by a flag, where the flag was given.
    pub(crate) fn set_flag(&mut self, key: &str, flag: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.flags.insert(key.into(), Entry { raw: Raw::Bare(value), source: Source::Flag(flag) });
        }
    }

    /// Sets a key for the case that nobody else does.
    pub(crate) fn set_base(&mut self, key: &str, value: &str) {
        self.base.insert(key.into(), Entry { raw: Raw::Bare(value.into()), source: Source::Flag("this command") });
    }
}

/// Reads and checks the configuration as a whole.
pub(crate) fn load(places: &Places) -> Result<Config, Vec<Mistake>> {
    let environment = layer::from_environment(places.environment.iter().cloned());
    let (file, mut mistakes) = file_layer(places, &environment);
    let mut reader = Reader::over([places.base.clone(), file, environment, places.flags.clone()]);
    let flavors = flavors::read(&mut reader);
    let server = sections::server(&mut reader, &places.default_data_dir);
    let local = sections::local(&mut reader, &places.default_cache_dir);
    let config = Config {
        volumes: sections::volumes(&mut reader),
        roots: roots::read(&mut reader, &[&server.data_dir, &local.cache_dir]),
        server,
        tls: sections::tls(&mut reader),
        domain: reader.read("gateway.domain", "localhost".into(), "a host name in lower case", kinds::host_name),
        runtime: sections::runtime(&mut reader),
        local,
        image: sections::image(&mut reader),
        lease: sections::lease(&mut reader),
        idle: sections::idle(&mut reader),
        hook_limit: sections::hooks(&mut reader),
        restart: sections::restart(&mut reader),
        notebooks_per_user: sections::quota(&mut reader),
        limits: sections::limits(&mut reader),
        retention: sections::retention(&mut reader),
        iam: sections::iam(&mut reader),
        seeing: seeing::read(&mut reader),
        pools: pools::read(&mut reader, &flavors),
        flavors,
        profiles: profiles::read(&mut reader),
    };
    mistakes.extend(reader.into_mistakes());
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

/// The data folder that the flags and the environment name, before any file is read.
fn data_dir_without_file(places: &Places, environment: &Layer) -> PathBuf {
    let named = |layer: &Layer| layer.get("server.data_dir").and_then(|entry| kinds::path(&entry.raw));
    named(&places.flags).or_else(|| named(environment)).unwrap_or_else(|| places.default_data_dir.clone())
}

fn file_layer(places: &Places, environment: &Layer) -> (Layer, Vec<Mistake>) {
    let path = places.file.clone().unwrap_or_else(|| data_dir_without_file(places, environment).join(FILE_NAME));
    match std::fs::read_to_string(&path) {
        Ok(text) => read_file(&path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && places.file.is_none() => Default::default(),
        Err(error) => {
            let message = format!("the configuration file cannot be read: {error}");
            (Layer::new(), vec![Mistake { source: Source::File(path, 1), message, hint: None }])
        }
    }
}

fn read_file(path: &Path, text: &str) -> (Layer, Vec<Mistake>) {
    let (layer, errors) = layer::from_toml(path, text);
    let mistake = |(source, message)| Mistake { source, message: format!("not TOML: {message}"), hint: None };
    (layer, errors.into_iter().map(mistake).collect())
}

#[cfg(test)]
mod tests;
