//! Which distribution the host runs: the image is made of the same release, from the same package sources.

use super::ImageError;

/// A Debian or Ubuntu release on one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// `debian` or `ubuntu`.
    pub family: Family,
    /// The release's code name, such as `bookworm`.
    pub codename: String,
    /// The architecture in Debian's words, such as `amd64`.
    pub architecture: &'static str,
}

/// The distributions that there is a recipe for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

impl Family {
    /// Its `ID` in `os-release`; also the last word of its archives' addresses.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
        }
    }

    /// The file name of the keyring that signs its archives, without its ending.
    pub const fn keyring(self) -> &'static str {
        match self {
            Self::Debian => "debian-archive-keyring",
            Self::Ubuntu => "ubuntu-archive-keyring",
        }
    }

    /// The parts of its archive that the recipe's packages come from.
    pub const fn components(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &["main"],
            Self::Ubuntu => &["main", "universe"],
        }
    }
}

impl Distribution {
    /// The host's own.
    pub fn detect() -> Result<Self, ImageError> {
        let text = std::fs::read_to_string("/etc/os-release")
            .map_err(|e| ImageError::Host(format!("`/etc/os-release` cannot be read: {e}")))?;
        Self::from_os_release(&text, std::env::consts::ARCH)
    }

    /// From the text of an `os-release` file and Rust's name of an architecture.
    pub fn from_os_release(text: &str, arch: &str) -> Result<Self, ImageError> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|v| v.trim_matches(['"', '\'']))
        };
        let id = field("ID").unwrap_or("unknown");
        let family = [Family::Debian, Family::Ubuntu].into_iter().find(|f| f.id() == id).ok_or_else(|| {
            ImageError::Host(format!("the built-in image is made on Debian and Ubuntu; this host runs `{id}`"))
        })?;
        let codename = field("VERSION_CODENAME")
            .filter(|name| !name.is_empty())
            .ok_or_else(|| ImageError::Host("`/etc/os-release` has no `VERSION_CODENAME`".into()))?;
        Ok(Self { family, codename: codename.into(), architecture: architecture(arch)? })
    }
}

fn architecture(arch: &str) -> Result<&'static str, ImageError> {
    match arch {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(ImageError::Host(format!("the built-in image is made for amd64 and arm64, not for `{other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_ubuntu_are_known() {
        let debian = Distribution::from_os_release("ID=debian\nVERSION_CODENAME=bookworm\n", "x86_64").unwrap();
        assert_eq!(debian, Distribution { family: Family::Debian, codename: "bookworm".into(), architecture: "amd64" });
        let text = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n";
        let ubuntu = Distribution::from_os_release(text, "aarch64").unwrap();
        assert_eq!(ubuntu, Distribution { family: Family::Ubuntu, codename: "noble".into(), architecture: "arm64" });
    }

    #[test]
    fn others_are_refused_by_name() {
        let refused = Distribution::from_os_release("ID=fedora\n", "x86_64").unwrap_err();
        assert!(refused.to_string().contains("`fedora`"), "{refused}");
        let refused = Distribution::from_os_release("ID=debian\nVERSION_CODENAME=sid\n", "riscv64").unwrap_err();
        assert!(refused.to_string().contains("`riscv64`"), "{refused}");
        assert!(Distribution::from_os_release("ID=debian\n", "x86_64").is_err());
    }
}
