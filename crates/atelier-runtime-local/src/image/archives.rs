//! Whether the package sources of the image answer, asked as the recipe asks them: by apt, with the host's transports
//! and proxies, against the distribution's keyring. Only the signed index of each release is fetched, some hundred
//! kilobytes, into a folder of the caller's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::distribution::Distribution;
use super::{ImageConfig, ImageError, recipe, redact, sources};

/// Nothing is asked for but what is signed, once, and not for long.
const ASK: &str = r#"
Acquire::Retries "0";
Acquire::http::Timeout "5";
Acquire::https::Timeout "5";
Acquire::IndexTargets::deb::Packages::DefaultEnabled "false";
Acquire::IndexTargets::deb::Translations::DefaultEnabled "false";
APT::Sandbox::User "root";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourceparts "/dev/null";
"#;

/// Asks each of them; answers their addresses, or what apt said of those that fail. `scratch` is an empty folder.
pub fn ask_package_sources(config: &ImageConfig, scratch: &Path) -> Result<Vec<String>, ImageError> {
    let of = Distribution::detect()?;
    let own = recipe::own_sources(&of, config)?;
    let bundle = config.settings.ca_bundle.as_deref().unwrap_or(Path::new("/etc/ssl/certs/ca-certificates.crt"));
    let environment = config.settings.recipe_environment(&bundle.display().to_string());
    let said = update(&sources::render(&own, &of), &config.settings.apt, &environment, scratch)?;
    if let Some(said) = said {
        return Err(ImageError::Host(said));
    }
    let mut asked: Vec<_> =
        own.iter().map(|source| format!("{} {}", redact::without_user(&source.uri), source.suite)).collect();
    asked.dedup();
    Ok(asked)
}

/// What apt complains of; nothing when all is well.
fn update(
    sources: &str,
    transports: &str,
    environment: &[(String, String)],
    scratch: &Path,
) -> Result<Option<String>, ImageError> {
    let failed = |e| ImageError::io("ask the package sources", e);
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(scratch.join(folder)).map_err(failed)?;
    }
    let (list, conf) = (scratch.join("sources.list"), scratch.join("apt.conf"));
    let mut text = format!("{transports}{ASK}");
    for (name, path) in
        [("Dir::Etc::sourcelist", &list), ("Dir::State", &scratch.to_owned()), ("Dir::Cache", &scratch.join("cache"))]
    {
        let _ = writeln!(text, "{name} \"{}\";", path.display());
    }
    fs::write(&list, sources).and_then(|()| fs::write(&conf, text)).map_err(failed)?;
    let mut apt = Command::new("apt-get");
    apt.args(["update", "-q", "--error-on=any"]).env("APT_CONFIG", &conf).env("LC_ALL", "C.UTF-8");
    apt.envs(environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = apt.output().map_err(failed)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((!output.status.success()).then(|| complaint(&String::from_utf8_lossy(&said))))
}

/// The first of apt's lines that names an error, without what may be secret.
fn complaint(said: &str) -> String {
    let error = said.lines().find_map(|line| line.strip_prefix("E: ")).unwrap_or("apt-get update failed");
    redact::line(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_apts_first_error_without_a_password() {
        let said = "Ign:1 http://a.example/debian x InRelease\n\
                    E: Failed to fetch http://me:secret@a.example/debian/dists/x/InRelease  403\nE: Some failed\n";
        assert_eq!(complaint(said), "Failed to fetch http://a.example/debian/dists/x/InRelease  403");
        assert_eq!(complaint("nothing of use"), "apt-get update failed");
    }

    #[test]
    fn a_source_that_does_not_answer_is_told() {
        if !std::path::Path::new("/usr/bin/apt-get").exists() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let source = "deb [trusted=yes] http://127.0.0.1:1/debian bookworm main\n";
        let none = [("no_proxy".to_owned(), "*".to_owned())];
        let said = update(source, "", &none, scratch.path()).unwrap().unwrap();
        assert!(said.contains("http://127.0.0.1:1/debian"), "{said}");
    }
}
