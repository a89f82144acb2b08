//! Images: complete root file systems, made by a recipe and kept in a cache of the whole host.
//!
//! The built-in image is not downloaded: the recipe makes a minimal root of the host's own distribution from the
//! host's own package sources and fills two Python environments in it, the server's and the user's, from pinned
//! requirements. That takes about a minute, once per host and version of the recipe; whoever needs the image meanwhile
//! waits for that one build, in this process or in another, and reads how far it is.
//!
//! What holds always:
//! - An entry of the cache is whole, or it is not there; see [`cache`] for the names.
//! - One build at a time for each key, by a lock that dies with its holder.
//! - A build goes on when the caller that started it no longer waits, and ends with the process.
//! - A failure is kept, and refuses at once whoever comes later, until [`ImageStore::rebuild`] is asked for: a broken
//!   mirror must not be asked again by each of a hundred notebooks.
//! - Layers below are read-only for good. Ids in them are not shifted (0 is root, 1000 is ma-user), so the cache is
//!   closed to everybody but its owner.

mod archives;
mod build;
mod cache;
mod distribution;
mod host;
mod manifest;
mod pip_conf;
mod progress;
mod recipe;
mod redact;
mod settings_layer;
mod sources;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use atelier_runtime::Reporter;

pub use self::archives::ask_package_sources;
pub use self::distribution::{Distribution, Family};
pub use self::host::{HostSettings, NotebookFile, Proxy};
pub use self::pip_conf::PackageIndex;
pub use self::recipe::Recipe;

use self::cache::{BuildLock, Entry};
use self::manifest::Manifest;
use crate::source::Pythons;

/// How often who waits for a build looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// Where images are kept, and how the outside is reached when one is made.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    /// The cache of the host.
    pub cache_dir: PathBuf,
    /// Package index, proxies and certificates.
    pub settings: HostSettings,
    /// Package sources to use instead of the host's own entries, in either of apt's formats. They must be signed by
    /// the distribution's keyring or name their own.
    pub sources: Option<String>,
}

impl ImageConfig {
    /// A cache and nothing else.
    pub fn new(cache_dir: PathBuf) -> Self {
        Self { cache_dir, settings: HostSettings::default(), sources: None }
    }

    /// The host's cache and the host's settings.
    pub fn detect() -> Self {
        Self { settings: HostSettings::detect(), ..Self::new(default_cache_dir()) }
    }
}

/// `/var/cache/atelier` for root, else `atelier` in the user's own cache.
pub fn default_cache_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/cache/atelier");
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("atelier")
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The recipe failed, now or the last time it was followed.
    #[error("building the image failed: {reason}; try again with `atelier image build`")]
    Failed {
        /// The step, and what it said.
        reason: String,
    },
    /// There is no recipe for this host.
    #[error("{0}")]
    Host(String),
    /// The recipe needs a program that is not here.
    #[error("the program `{program}` is missing; install the package `{package}`")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// The package it is in.
        package: &'static str,
    },
    /// Only root can build.
    #[error("building the image needs root")]
    NotRoot,
    /// The host's package sources do not name its own release.
    #[error("no package source of {} `{}` was found in `/etc/apt`; name some in `image.sources`", .0.family.id(), .0.codename)]
    NoSources(Distribution),
    /// The cache could not be read or written.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ImageError {
    fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}

/// An image that notebooks can start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootImage {
    /// The lower layers of an overlay, the topmost first. The host's settings are the topmost, when there are any.
    pub layers: Vec<PathBuf>,
    /// What the image takes on disk.
    pub size_bytes: u64,
    /// How its notebook server is started, before the options.
    pub server_argv_prefix: Vec<String>,
    /// What its programs find in their environment, the host's settings for notebooks included.
    pub environment: Vec<(String, String)>,
    /// The interpreters of its notebook server and of its kernels.
    pub pythons: Pythons,
    /// The key of its recipe.
    pub recipe_hash: String,
}

/// The cache of images.
pub struct ImageStore {
    config: ImageConfig,
    recipe: Result<Recipe, String>,
}

impl ImageStore {
    /// The cache, with the built-in image's recipe for this host. Nothing is made yet.
    pub fn open(config: ImageConfig) -> Self {
        let recipe = Distribution::detect().and_then(|of| Recipe::built_in(&of, &config));
        Self { recipe: recipe.map_err(|e| e.to_string()), config }
    }

    /// The cache, with another recipe in place of the built-in one.
    pub fn with_recipe(config: ImageConfig, recipe: Recipe) -> Self {
        Self { config, recipe: Ok(recipe) }
    }

    /// The built-in image, when it is there already.
    pub fn built_in(&self) -> Option<RootImage> {
        let (_, key, entry) = self.place().ok()?;
        self.load(&entry, key).map_err(|e| tracing::error!("the image cannot be used: {e}")).ok()?
    }

    /// The built-in image, after building it or waiting for whoever builds it. Fails at once when the last build did.
    pub async fn ensure_built_in(&self, reporter: &dyn Reporter) -> Result<RootImage, ImageError> {
        let (recipe, key, entry) = self.place()?;
        let mut said = String::new();
        loop {
            if let Some(image) = self.load(&entry, key.clone())? {
                return Ok(image);
            }
            if let Some(reason) = entry.failure() {
                return Err(ImageError::Failed { reason });
            }
            match entry.try_lock()? {
                // Whoever held the lock may have finished between the two looks.
                Some(_) if entry.path().exists() || entry.failure().is_some() => {}
                Some(lock) => build(&recipe, &key, &entry, lock, reporter, &mut said).await?,
                None => {
                    tell(&entry, reporter, &mut said);
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// As [`ImageStore::ensure_built_in`], but an earlier failure is forgotten. An image that is there stays: notebooks
    /// stand on it, and its key says that another build would make the same.
    pub async fn rebuild(&self, reporter: &dyn Reporter) -> Result<RootImage, ImageError> {
        let (_, _, entry) = self.place()?;
        // While somebody builds there is no failure to forget.
        if let Some(_lock) = entry.try_lock()? {
            entry.forget_failure().map_err(|e| ImageError::io("forget the last failure", e))?;
        }
        self.ensure_built_in(reporter).await
    }

    fn place(&self) -> Result<(Recipe, String, Entry), ImageError> {
        let recipe = self.recipe.clone().map_err(ImageError::Host)?;
        let key = recipe.hash();
        let entry = Entry::new(&self.config.cache_dir, key.clone());
        Ok((recipe, key, entry))
    }

    fn load(&self, entry: &Entry, recipe_hash: String) -> Result<Option<RootImage>, ImageError> {
        let folder = entry.path();
        if !folder.is_dir() {
            return Ok(None);
        }
        let about = |e| ImageError::io(format!("read the image `{}`", folder.display()), e);
        let manifest = Manifest::read(&folder).map_err(about)?;
        let mut layers = manifest::layers(&folder).map_err(about)?;
        let settings = &self.config.settings;
        let on_top = settings.notebook_files().and_then(|files| settings_layer::ensure(&self.config.cache_dir, &files));
        layers.splice(0..0, on_top.map_err(|e| ImageError::io("write the notebooks' settings", e))?);
        Ok(Some(RootImage {
            layers,
            size_bytes: manifest.size_bytes(),
            server_argv_prefix: manifest.entrypoint(),
            environment: [manifest.environment(), settings.notebook_environment()].concat(),
            pythons: recipe::pythons(),
            recipe_hash,
        }))
    }
}

/// Builds in a task of its own, so that the build does not end with the caller, and tells how far it is.
async fn build(
    recipe: &Recipe,
    key: &str,
    entry: &Entry,
    lock: BuildLock,
    reporter: &dyn Reporter,
    said: &mut String,
) -> Result<(), ImageError> {
    recipe.check_host()?;
    let mut task = tokio::spawn(build::build(entry.clone(), recipe.clone(), key.to_owned(), lock));
    loop {
        tokio::select! {
            ended = &mut task => return ended.map_err(|e| ImageError::io("build the image", io::Error::other(e)))?,
            () = tokio::time::sleep(LOOK) => tell(entry, reporter, said),
        }
    }
}

/// Reports what the running build says, when it is news.
fn tell(entry: &Entry, reporter: &dyn Reporter, said: &mut String) {
    if let Some(text) = entry.progress().filter(|text| text != said) {
        reporter.report(&format!("building the image: {text}"));
        *said = text;
    }
}
