//! The host's package sources, and which of them are the distribution's own.
//!
//! A host's `/etc/apt` also names vendors' archives: of drivers, of browsers, of this and that. Their packages have no
//! business in an image that every tenant runs, and their keys are not trusted for it. An entry is taken when its suite
//! is the release itself or its updates, it offers the distribution's own components, and it is signed by the
//! distribution's keyring; an entry that names no key (older hosts trust one heap of keys for all) must at least
//! address something that is called like the distribution. Whatever is chosen, the image accepts only what the
//! distribution's keyring has signed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::distribution::Distribution;
use super::redact;

/// One archive of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is.
    pub(super) uri: String,
    /// Which release.
    pub(super) suite: String,
    /// Which parts of it.
    pub(super) components: Vec<String>,
    /// The keyring that must have signed it; `None` where the entry names none.
    pub(super) signed_by: Option<String>,
    /// The architectures it is asked for; empty for the host's own.
    pub(super) architectures: Vec<String>,
}

/// Every enabled binary source of the host, in the order in which apt reads them.
pub(super) fn of_host(etc_apt: &Path) -> io::Result<Vec<Source>> {
    let mut found = parse_one_line(&read(&etc_apt.join("sources.list"))?);
    for file in parts(&etc_apt.join("sources.list.d"))? {
        let text = read(&file)?;
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => found.extend(parse_one_line(&text)),
            Some("sources") => found.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e),
    }
}

fn parts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Reads `deb [option=value …] uri suite component …` lines.
pub(super) fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| options.split_whitespace().find_map(|o| o.strip_prefix(name)?.strip_prefix('='));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
        signed_by: option("signed-by").map(str::to_owned),
        architectures: option("arch").map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default(),
    })
}

/// Reads stanzas of `Field: value` lines.
pub(super) fn parse_deb822(text: &str) -> Vec<Source> {
    stanzas(text).iter().flat_map(expand).collect()
}

type Fields = Vec<(String, String)>;

fn stanzas(text: &str) -> Vec<Fields> {
    let mut found = vec![Fields::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(fields) = found.last_mut() else { break };
        if line.trim().is_empty() {
            found.push(Fields::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

/// A stanza stands for each of its addresses with each of its suites.
fn expand(fields: &Fields) -> Vec<Source> {
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let enabled = !matches!(field("enabled").to_ascii_lowercase().as_str(), "no" | "false" | "0" | "without" | "off");
    if !enabled || !words("types").iter().any(|t| t == "deb") {
        return Vec::new();
    }
    let signed_by = Some(field("signed-by").to_owned()).filter(|v| !v.is_empty());
    let source = Source { components: words("components"), signed_by, ..Source::default() };
    let architectures = words("architectures");
    let pairs = words("uris").into_iter().flat_map(|uri| words("suites").into_iter().map(move |s| (uri.clone(), s)));
    pairs.map(|(uri, suite)| Source { uri, suite, architectures: architectures.clone(), ..source.clone() }).collect()
}

/// The distribution's own among them, reduced to the components that the recipe needs.
pub(super) fn own(sources: &[Source], of: &Distribution) -> Vec<Source> {
    let mut chosen = Vec::new();
    for source in sources.iter().filter(|source| is_own(source, of)) {
        let wanted = |c: &&String| of.family.components().contains(&c.as_str());
        let components: Vec<_> = source.components.iter().filter(wanted).cloned().collect();
        let reduced = Source { components, ..source.clone() };
        if !reduced.components.is_empty() && !chosen.contains(&reduced) {
            chosen.push(reduced);
        }
    }
    chosen
}

fn is_own(source: &Source, of: &Distribution) -> bool {
    let pocket = source.suite.strip_prefix(of.codename.as_str());
    let suite = matches!(pocket, Some("" | "-updates" | "-security" | "/updates"));
    let remote = ["http://", "https://", "mirror+"].iter().any(|scheme| source.uri.starts_with(scheme));
    let architecture =
        source.architectures.is_empty() || source.architectures.iter().any(|a| a.as_str() == of.architecture);
    suite && remote && architecture && is_signed_by_own(source, of)
}

fn is_signed_by_own(source: &Source, of: &Distribution) -> bool {
    match &source.signed_by {
        Some(path) => {
            Path::new(path).file_stem().and_then(|s| s.to_str()).is_some_and(|stem| stem == of.family.keyring())
        }
        None => source
            .uri
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .is_some_and(|last| last == of.family.id() || last.starts_with(&format!("{}-", of.family.id()))),
    }
}

/// As one-line entries that name the keyring, for the tool that makes the root.
pub(super) fn render(sources: &[Source], of: &Distribution) -> String {
    let keyring = format!("/usr/share/keyrings/{}.gpg", of.family.keyring());
    let mut text = String::new();
    for Source { uri, suite, components, signed_by, .. } in sources {
        let keyring = signed_by.as_deref().unwrap_or(&keyring);
        let _ = writeln!(text, "deb [signed-by={keyring}] {uri} {suite} {}", components.join(" "));
    }
    text
}

/// The same for the image's own `sources.list`, which every tenant reads: without what an address says of its user.
pub(super) fn render_public(sources: &[Source], of: &Distribution) -> String {
    let public: Vec<_> = sources.iter().map(|s| Source { uri: redact::without_user(&s.uri), ..s.clone() }).collect();
    render(&public, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::distribution::Family;

    fn debian() -> Distribution {
        Distribution { family: Family::Debian, codename: "bookworm".into(), architecture: "amd64" }
    }

    fn ubuntu() -> Distribution {
        Distribution { family: Family::Ubuntu, codename: "noble".into(), architecture: "amd64" }
    }

    const DEB822: &str = "\
Types: deb deb-src
# a comment inside
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://node.example/node_20.x
Suites: nodistro
Components: main
Signed-By: /usr/share/keyrings/node.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://inline.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abcdef
 -----END PGP PUBLIC KEY BLOCK-----
";

    #[test]
    fn of_a_deb822_file_the_release_its_updates_and_its_security_are_taken() {
        let chosen = render(&own(&parse_deb822(DEB822), &debian()), &debian());
        let keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
        assert_eq!(
            chosen,
            format!(
                "deb {keyring} http://deb.example/debian bookworm main\n\
                 deb {keyring} http://deb.example/debian bookworm-updates main\n\
                 deb {keyring} http://deb.example/debian-security bookworm-security main\n"
            )
        );
    }

    #[test]
    fn of_one_line_entries_the_vendors_are_left_out() {
        let text = "\
# deb http://commented.example/debian bookworm main
deb http://deb.example/debian/ bookworm main non-free-firmware # with a remark
deb-src http://deb.example/debian bookworm main
deb [arch=arm64] http://other-arch.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux/debian bookworm stable
deb https://cloud.example/apt cloud-sdk-bookworm main
deb https://node.example/node_20.x bookworm main
deb [ arch=amd64,i386 ] http://security.example/debian-security bookworm-security main
deb file:/srv/mirror/debian bookworm main
";
        let chosen = own(&parse_one_line(text), &debian());
        let uris: Vec<_> = chosen.iter().map(|s| s.uri.as_str()).collect();
        assert_eq!(uris, ["http://deb.example/debian/", "http://security.example/debian-security"]);
        assert_eq!(chosen[0].components, ["main"]);
        assert!(
            render(&chosen, &debian()).starts_with("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]")
        );
    }

    #[test]
    fn ubuntu_needs_universe_too() {
        let text = "\
Types: deb
URIs: http://archive.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: mirror+file:/etc/apt/apt-mirrors.txt
Suites: noble-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: https://ppa.example/someone/ppa/ubuntu/
Suites: noble
Components: main
Signed-By: /etc/apt/keyrings/someone.gpg
";
        let chosen = own(&parse_deb822(text), &ubuntu());
        let suites: Vec<_> = chosen.iter().map(|s| (s.suite.as_str(), s.components.join(" "))).collect();
        let both = "main universe".to_owned();
        assert_eq!(suites, [("noble", both.clone()), ("noble-updates", both.clone()), ("noble-security", both)]);
    }

    #[test]
    fn all_files_of_the_host_are_read_and_no_other() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        fs::write(etc.path().join("sources.list"), "deb http://a.example/debian bookworm main\n").unwrap();
        fs::write(etc.path().join("sources.list.d/b.sources"), DEB822).unwrap();
        fs::write(etc.path().join("sources.list.d/c.list"), "deb http://c.example/debian bookworm main\n").unwrap();
        fs::write(etc.path().join("sources.list.d/d.list.disabled"), "deb http://d.example/debian bookworm main\n")
            .unwrap();
        let uris: Vec<_> = own(&of_host(etc.path()).unwrap(), &debian()).into_iter().map(|s| s.uri).collect();
        assert_eq!(uris.first().map(String::as_str), Some("http://a.example/debian"));
        assert_eq!(uris.last().map(String::as_str), Some("http://c.example/debian"));
        assert_eq!(uris.len(), 5);
    }

    #[test]
    fn a_missing_folder_is_no_source() {
        let etc = tempfile::tempdir().unwrap();
        assert!(of_host(etc.path()).unwrap().is_empty());
    }

    #[test]
    fn what_the_image_shows_has_no_password() {
        let sources = parse_one_line("deb https://me:secret@deb.example/debian bookworm main");
        let chosen = own(&sources, &debian());
        assert!(render(&chosen, &debian()).contains("me:secret@"));
        assert!(render_public(&chosen, &debian()).contains(" https://deb.example/debian "));
    }
}
