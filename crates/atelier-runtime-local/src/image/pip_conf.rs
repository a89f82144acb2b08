//! The package index as pip is told of it: configuration files, then the environment.
//!
//! uv does not read pip's files, so both programs are told the same from here; what uv alone was told (its own
//! variables) goes over what pip was told.

/// Where Python packages come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PackageIndex {
    /// The index, when it is not the public one.
    pub url: Option<String>,
    /// Further indexes.
    pub extra: Vec<String>,
    /// Hosts whose certificates are not checked.
    pub trusted: Vec<String>,
    /// Pages with links to packages.
    pub find_links: Vec<String>,
}

impl PackageIndex {
    /// Takes over what a `pip.conf` says; a later file goes over an earlier one.
    pub fn read_file(&mut self, text: &str) {
        for (key, value) in keys(text) {
            self.set(&key, &value);
        }
    }

    /// Takes over what the environment says to pip, then to uv.
    pub fn read_environment(&mut self, get: &dyn Fn(&str) -> Option<String>) {
        for (variable, key) in [
            ("PIP_INDEX_URL", "index-url"),
            ("PIP_EXTRA_INDEX_URL", "extra-index-url"),
            ("PIP_TRUSTED_HOST", "trusted-host"),
            ("PIP_FIND_LINKS", "find-links"),
            ("UV_INDEX_URL", "index-url"),
            ("UV_DEFAULT_INDEX", "index-url"),
            ("UV_EXTRA_INDEX_URL", "extra-index-url"),
            ("UV_INDEX", "extra-index-url"),
            ("UV_INSECURE_HOST", "trusted-host"),
            ("UV_FIND_LINKS", "find-links"),
        ] {
            if let Some(value) = get(variable).filter(|v| !v.trim().is_empty()) {
                self.set(key, &value);
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let words = || value.split([' ', '\t', '\n', ',']).filter(|w| !w.is_empty()).map(nameless).collect();
        match key {
            "index-url" => self.url = Some(nameless(value.trim())),
            "extra-index-url" => self.extra = words(),
            "trusted-host" => self.trusted = words(),
            "find-links" => self.find_links = words(),
            _ => {}
        }
    }

    /// Keeps the addresses that `keep` accepts.
    pub(super) fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = |list: &[String]| list.iter().filter(|a| keep(a)).cloned().collect();
        Self {
            url: self.url.clone().filter(|a| keep(a)),
            extra: kept(&self.extra),
            trusted: self.trusted.clone(),
            find_links: kept(&self.find_links),
        }
    }

    /// Every address in it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &String> {
        self.url.iter().chain(&self.extra).chain(&self.find_links)
    }

    /// As environment variables, for pip and for uv.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let url = self.url.clone().unwrap_or_default();
        let joined = |list: &[String], by: &str| list.join(by);
        let all = [
            ("PIP_INDEX_URL", url.clone()),
            ("UV_DEFAULT_INDEX", url),
            ("PIP_EXTRA_INDEX_URL", joined(&self.extra, " ")),
            ("UV_INDEX", joined(&self.extra, " ")),
            ("PIP_TRUSTED_HOST", joined(&self.trusted, " ")),
            ("UV_INSECURE_HOST", joined(&self.trusted, " ")),
            ("PIP_FIND_LINKS", joined(&self.find_links, " ")),
            ("UV_FIND_LINKS", joined(&self.find_links, ",")),
        ];
        all.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// As a `pip.conf`; `None` when there is nothing to say.
    pub(super) fn pip_conf(&self) -> Option<String> {
        let lines: Vec<_> = [
            ("index-url", self.url.clone().unwrap_or_default()),
            ("extra-index-url", self.extra.join("\n    ")),
            ("trusted-host", self.trusted.join("\n    ")),
            ("find-links", self.find_links.join("\n    ")),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
        (!lines.is_empty()).then(|| format!("[global]\n{}", lines.concat()))
    }

    /// As a `uv.toml`; `None` when there is nothing to say.
    pub(super) fn uv_toml(&self) -> Option<String> {
        let list = |key: &str, values: &[String]| match values {
            [] => String::new(),
            some => format!("{key} = [{}]\n", some.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", ")),
        };
        let extra = self.extra.iter().map(|url| format!("\n[[index]]\nurl = {}\n", quoted(url)));
        let default = self.url.iter().map(|url| format!("\n[[index]]\nurl = {}\ndefault = true\n", quoted(url)));
        let tables: String = extra.chain(default).collect();
        let lists = [list("allow-insecure-host", &self.trusted), list("find-links", &self.find_links)].concat();
        Some(lists + &tables).filter(|text| !text.is_empty())
    }
}

/// uv allows `name=address`; pip knows no names.
fn nameless(word: &str) -> String {
    match word.split_once('=') {
        Some((name, rest)) if !name.contains("://") && rest.contains("://") => rest.to_owned(),
        _ => word.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The keys that count for an installation: of `[global]`, then of `[install]`.
fn keys(text: &str) -> Vec<(String, String)> {
    let (mut global, mut install) = (Vec::new(), Vec::new());
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let into = match section.as_str() {
            "global" => &mut global,
            "install" => &mut install,
            _ => continue,
        };
        add_line(into, line);
    }
    global.extend(install);
    global
}

/// A line that is indented goes on with the value of the one before.
fn add_line(into: &mut Vec<(String, String)>, line: &str) {
    if line.starts_with([' ', '\t']) {
        if let Some((_, value)) = into.last_mut() {
            value.push('\n');
            value.push_str(line.trim());
        }
    } else if let Some((key, value)) = line.split_once(['=', ':']) {
        into.push((key.trim().replace('_', "-"), value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[global]
timeout = 60
index-url = https://index.example/simple
extra-index-url =
    https://one.example/simple
    https://two.example/simple
; a remark
[install]
trusted-host = index.example
[search]
index-url = https://wrong.example
";

    #[test]
    fn a_file_is_read_with_its_lists() {
        let mut index = PackageIndex::default();
        index.read_file(FILE);
        assert_eq!(index.url.as_deref(), Some("https://index.example/simple"));
        assert_eq!(index.extra, ["https://one.example/simple", "https://two.example/simple"]);
        assert_eq!(index.trusted, ["index.example"]);
    }

    #[test]
    fn the_environment_goes_over_the_files_and_uv_over_pip() {
        let mut index = PackageIndex::default();
        index.read_file(FILE);
        index.read_environment(&|name| match name {
            "PIP_INDEX_URL" => Some("https://pip.example/simple".into()),
            "UV_DEFAULT_INDEX" => Some("corp=https://uv.example/simple".into()),
            "PIP_EXTRA_INDEX_URL" => Some(" ".into()),
            _ => None,
        });
        assert_eq!(index.url.as_deref(), Some("https://uv.example/simple"));
        assert_eq!(index.extra.len(), 2);
    }

    #[test]
    fn both_programs_are_told_the_same() {
        let mut index = PackageIndex::default();
        index.read_file(FILE);
        let told = index.environment();
        let value = |name: &str| told.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        assert_eq!(value("PIP_INDEX_URL"), value("UV_DEFAULT_INDEX"));
        assert_eq!(value("UV_INDEX"), Some("https://one.example/simple https://two.example/simple"));
        assert_eq!(value("PIP_FIND_LINKS"), None);

        let mut again = PackageIndex::default();
        again.read_file(&index.pip_conf().unwrap());
        assert!(again == index);
        let toml = index.uv_toml().unwrap();
        assert!(toml.ends_with("\n[[index]]\nurl = \"https://index.example/simple\"\ndefault = true\n"), "{toml}");
        assert!(toml.starts_with("allow-insecure-host = [\"index.example\"]\n"), "{toml}");
    }

    #[test]
    fn nothing_to_say_makes_no_file() {
        assert_eq!(PackageIndex::default().pip_conf(), None);
        assert_eq!(PackageIndex::default().uv_toml(), None);
        assert!(PackageIndex::default().environment().is_empty());
    }
}
