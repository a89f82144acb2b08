//! What the host knows of the way to the outside: package index, proxies, certificates, apt's own settings.
//!
//! The recipe gets all of it. Notebooks get what they can use and may see: an address that carries a password is
//! withheld from them unless `share_credentials` says otherwise, because every tenant would read it, and so is an
//! address on the host's loopback, which they cannot reach. [`HostSettings::withheld`] says what that leaves out.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::pip_conf::PackageIndex;
use super::redact;

/// The certificates' place, in the image and in a notebook.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The host's settings for packages, proxies and certificates.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Where Python packages come from.
    pub index: PackageIndex,
    /// How to reach the outside.
    pub proxy: Proxy,
    /// The file with the certificates that the host trusts.
    pub ca_bundle: Option<PathBuf>,
    /// apt's settings for its transports, as lines of an `apt.conf`.
    pub apt: String,
    /// Whether notebooks get addresses with passwords in them.
    pub share_credentials: bool,
}

/// Proxies.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// What is reached without.
    pub no_proxy: Option<String>,
}

/// A file that notebooks get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookFile {
    /// Where, as an absolute path in the notebook.
    pub path: &'static str,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for HostSettings {
    /// Without the addresses: they may carry passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostSettings").field("ca_bundle", &self.ca_bundle).finish_non_exhaustive()
    }
}

impl HostSettings {
    /// What this host says: environment, pip's files, apt's configuration, the system's certificates.
    pub fn detect() -> Self {
        let get = |name: &str| std::env::var(name).ok();
        let files = pip_files(&get).iter().filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>();
        let mut settings = Self::read(&get, &files);
        settings.apt = apt_settings();
        settings.ca_bundle = settings.ca_bundle.or_else(|| Some(CERTIFICATES.into()).filter(|p: &PathBuf| p.is_file()));
        settings
    }

    /// From an environment and the texts of pip's files, the weakest first.
    pub fn read(get: &dyn Fn(&str) -> Option<String>, pip_files: &[String]) -> Self {
        let mut index = PackageIndex::default();
        for text in pip_files {
            index.read_file(text);
        }
        index.read_environment(get);
        let either = |name: &str| get(name).or_else(|| get(&name.to_lowercase())).filter(|v| !v.is_empty());
        let all = either("ALL_PROXY");
        let proxy = Proxy {
            http: either("HTTP_PROXY").or_else(|| all.clone()),
            https: either("HTTPS_PROXY").or(all),
            no_proxy: either("NO_PROXY"),
        };
        let bundle = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE"].into_iter().find_map(get);
        Self { index, proxy, ca_bundle: bundle.map(PathBuf::from).filter(|p| p.is_file()), ..Self::default() }
    }

    /// The environment of the recipe. `certificates` is where the bundle lies for it.
    pub(super) fn recipe_environment(&self, certificates: &str) -> Vec<(String, String)> {
        let index = self.index.filtered(is_remote);
        [index.environment(), self.proxy.environment(), self.certificate_environment(certificates)].concat()
    }

    /// What notebooks find in their environment.
    pub fn notebook_environment(&self) -> Vec<(String, String)> {
        [self.shared().proxy.environment(), self.certificate_environment(CERTIFICATES)].concat()
    }

    /// The files that notebooks find.
    pub fn notebook_files(&self) -> io::Result<Vec<NotebookFile>> {
        let index = self.shared().index;
        let mut files = Vec::new();
        let mut add = |path, content| files.push(NotebookFile { path, content });
        if let Some(bundle) = &self.ca_bundle {
            add(CERTIFICATES, fs::read(bundle)?);
        }
        if let Some(text) = index.pip_conf() {
            add("/etc/pip.conf", text.into_bytes());
        }
        if let Some(text) = index.uv_toml() {
            add("/etc/uv/uv.toml", text.into_bytes());
        }
        Ok(files)
    }

    /// What notebooks do not get, and why, for people; without the secrets.
    pub fn withheld(&self) -> Vec<String> {
        let proxies = self.proxy.http.iter().chain(&self.proxy.https);
        let mut found: Vec<_> =
            self.index.addresses().chain(proxies).filter_map(|address| self.objection(address)).collect();
        found.dedup();
        found
    }

    fn objection(&self, address: &str) -> Option<String> {
        let why = if !is_remote(address) {
            "it is no address that a notebook could ask"
        } else if is_loopback(address) {
            "it is on this host's loopback"
        } else if redact::has_user(address) && !self.share_credentials {
            "it carries a password"
        } else {
            return None;
        };
        Some(format!("`{}` is withheld from notebooks: {why}", redact::without_user(address)))
    }

    /// These settings without what notebooks must not or cannot use.
    fn shared(&self) -> Self {
        let keep = |address: &str| self.objection(address).is_none();
        let mut shared = self.clone();
        shared.index = self.index.filtered(keep);
        shared.proxy.http = shared.proxy.http.filter(|a| keep(a));
        shared.proxy.https = shared.proxy.https.filter(|a| keep(a));
        shared
    }

    fn certificate_environment(&self, path: &str) -> Vec<(String, String)> {
        if self.ca_bundle.is_none() {
            return Vec::new();
        }
        let named = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS"];
        let mut told: Vec<_> = named.into_iter().map(|name| (name.to_owned(), path.to_owned())).collect();
        told.push(("UV_SYSTEM_CERTS".into(), "1".into()));
        told
    }
}

impl Proxy {
    /// In both spellings: some programs read only one of them.
    fn environment(&self) -> Vec<(String, String)> {
        if self.http.is_none() && self.https.is_none() {
            return Vec::new();
        }
        [("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https), ("NO_PROXY", &self.no_proxy)]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|v| (name, v)))
            .flat_map(|(name, v)| [(name.to_owned(), v.clone()), (name.to_lowercase(), v.clone())])
            .collect()
    }
}

fn is_remote(address: &str) -> bool {
    !address.starts_with(['/', '.', '~']) && !address.starts_with("file:")
}

fn is_loopback(address: &str) -> bool {
    let host = redact::host_of(address);
    host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "::1"
}

/// pip's configuration files, the weakest first.
fn pip_files(get: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let home = PathBuf::from(get("HOME").unwrap_or_else(|| "/root".into()));
    let config = get("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    let named = get("PIP_CONFIG_FILE").map(PathBuf::from);
    [Path::new("/etc/xdg/pip/pip.conf"), Path::new("/etc/pip.conf")]
        .into_iter()
        .map(Path::to_path_buf)
        .chain([home.join(".pip/pip.conf"), config.join("pip/pip.conf")])
        .chain(named)
        .collect()
}

/// Those of apt's settings that say how to reach an archive; nothing when there is no apt.
fn apt_settings() -> String {
    let Ok(output) = Command::new("apt-config").arg("dump").output() else { return String::new() };
    transport_settings(&String::from_utf8_lossy(&output.stdout))
}

fn transport_settings(dump: &str) -> String {
    let wanted = |line: &&str| {
        let key = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        ["acquire::http::", "acquire::https::", "acquire::check-", "acquire::retries", "acquire::forceipv"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    dump.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &'static [(&'static str, &'static str)]) -> HostSettings {
        let get = |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        HostSettings::read(&get, &[])
    }

    fn value<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
        environment.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn a_proxy_reaches_recipe_and_notebooks_in_both_spellings() {
        let host = settings(&[("https_proxy", "http://proxy.example:3128"), ("NO_PROXY", "localhost")]);
        for told in [host.recipe_environment("/ca"), host.notebook_environment()] {
            assert_eq!(value(&told, "HTTPS_PROXY"), Some("http://proxy.example:3128"));
            assert_eq!(value(&told, "https_proxy"), Some("http://proxy.example:3128"));
            assert_eq!(value(&told, "no_proxy"), Some("localhost"));
            assert_eq!(value(&told, "HTTP_PROXY"), None);
        }
    }

    #[test]
    fn a_password_reaches_the_recipe_but_no_notebook_unless_told_so() {
        let mut host = settings(&[
            ("HTTPS_PROXY", "http://me:secret@proxy.example:3128"),
            ("PIP_INDEX_URL", "https://me:secret@index.example/simple"),
        ]);
        assert!(value(&host.recipe_environment("/ca"), "PIP_INDEX_URL").unwrap().contains("secret"));
        assert_eq!(host.notebook_environment(), []);
        assert_eq!(host.notebook_files().unwrap(), []);
        assert_eq!(host.withheld().len(), 2);
        assert!(!host.withheld().concat().contains("secret"));
        assert!(!format!("{host:?}").contains("secret"));

        host.share_credentials = true;
        assert!(value(&host.notebook_environment(), "HTTPS_PROXY").unwrap().contains("secret"));
        assert_eq!(host.notebook_files().unwrap().len(), 2);
        assert_eq!(host.withheld(), [""; 0]);
    }

    #[test]
    fn what_a_notebook_cannot_reach_is_withheld() {
        let host = settings(&[("HTTP_PROXY", "http://127.0.0.1:8888"), ("PIP_FIND_LINKS", "/opt/wheels")]);
        assert_eq!(host.notebook_environment(), []);
        assert_eq!(host.notebook_files().unwrap(), []);
        let said = host.withheld().join("\n");
        assert!(said.contains("`/opt/wheels` is withheld") && said.contains("loopback"), "{said}");
        assert_eq!(value(&host.recipe_environment("/ca"), "PIP_FIND_LINKS"), None);
        assert_eq!(value(&host.recipe_environment("/ca"), "HTTP_PROXY"), Some("http://127.0.0.1:8888"));
    }

    #[test]
    fn the_hosts_certificates_are_the_notebooks() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("ca.pem");
        fs::write(&bundle, "certificates").unwrap();
        let host = HostSettings { ca_bundle: Some(bundle), ..HostSettings::default() };
        let files = host.notebook_files().unwrap();
        assert_eq!(files, [NotebookFile { path: CERTIFICATES, content: b"certificates".to_vec() }]);
        assert_eq!(value(&host.notebook_environment(), "SSL_CERT_FILE"), Some(CERTIFICATES));
        assert_eq!(value(&host.recipe_environment("/ca"), "SSL_CERT_FILE"), Some("/ca"));
        assert_eq!(value(&host.notebook_environment(), "UV_SYSTEM_CERTS"), Some("1"));
    }

    #[test]
    fn of_apts_settings_only_the_transports_are_taken() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://p.example:1\";\n\
                    Acquire::Check-Valid-Until \"false\";\nDPkg::Post-Invoke:: \"rm\";\n";
        let taken = "Acquire::http::Proxy \"http://p.example:1\";\nAcquire::Check-Valid-Until \"false\";\n";
        assert_eq!(transport_settings(dump), taken);
    }
}
