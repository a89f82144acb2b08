//! Where things are on this machine when nobody says otherwise.

use std::path::{Path, PathBuf};

use crate::args::Settings;
use crate::config::Places;
use crate::failure::Failure;

/// What the places depend on.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Whether we are root.
    pub root: bool,
    /// The environment.
    pub variables: Vec<(String, String)>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { root: rustix::process::geteuid().is_root(), variables: std::env::vars_os().filter_map(text).collect() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// `$NAME/atelier`, else `atelier` in this folder of the home directory. A relative value counts as not set.
    fn xdg(&self, name: &str, below_home: &str) -> PathBuf {
        let set = self.variable(name).map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
        let home = || Path::new(self.variable("HOME").unwrap_or("/")).join(below_home);
        set.unwrap_or_else(home).join("atelier")
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        if self.root { "/var/lib/atelier".into() } else { self.xdg("XDG_DATA_HOME", ".local/share") }
    }

    /// The folder of caches.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        if self.root { "/var/cache/atelier".into() } else { self.xdg("XDG_CACHE_HOME", ".cache") }
    }

    /// The folder of what the command line remembers.
    pub(crate) fn config_dir(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// The places of a server's configuration, with what the command line says.
    pub(crate) fn configuration(&self, settings: &Settings) -> Result<Places, Failure> {
        let mut places = Places {
            file: settings.config.as_deref().map(absolute).transpose()?,
            environment: self.variables.clone(),
            default_data_dir: self.data_dir(),
            default_cache_dir: self.cache_dir(),
            ..Places::default()
        };
        let data_dir = settings.data_dir.as_deref().map(absolute).transpose()?;
        places.set_flag("server.data_dir", "--data-dir", data_dir.map(|path| path.display().to_string()));
        places.set_flag("server.listen", "--listen", settings.listen.clone());
        places.set_flag("runtime.kind", "--runtime", settings.runtime.clone());
        Ok(places)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::new(format!("`{}` is no usable path: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(root: bool, variables: &[(&str, &str)]) -> Surroundings {
        Surroundings { root, variables: variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect() }
    }

    #[test]
    fn root_has_the_machines_folders_and_others_their_own() {
        let root = surroundings(true, &[("HOME", "/root"), ("XDG_DATA_HOME", "/x")]);
        assert_eq!(root.data_dir(), Path::new("/var/lib/atelier"));
        assert_eq!(root.cache_dir(), Path::new("/var/cache/atelier"));
        assert_eq!(root.config_dir(), Path::new("/root/.config/atelier"));
        let user = surroundings(false, &[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c"), ("XDG_DATA_HOME", "relative")]);
        assert_eq!(user.data_dir(), Path::new("/home/a/.local/share/atelier"));
        assert_eq!(user.cache_dir(), Path::new("/c/atelier"));
    }

    #[test]
    fn a_relative_data_folder_is_made_absolute() {
        let settings = Settings { data_dir: Some("d".into()), ..Settings::default() };
        let places = surroundings(false, &[("HOME", "/h")]).configuration(&settings).unwrap();
        let config = crate::config::load(&places).unwrap();
        assert!(config.server.data_dir.is_absolute() && config.server.data_dir.ends_with("d"));
    }
}
