//! The machine: its size, and what every notebook gets from it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use atelier_core::flavor::Capacity;
use sha2::{Digest, Sha256};

use crate::file;

/// What every notebook calls itself.
pub(crate) const NAME: &str = "notebook";

/// The init: a static program that runs in any image.
static INIT: &[u8] = include_bytes!(env!("ATELIER_INIT"));

/// Puts the init where containers can be given it. Its name tells its content: a running container keeps the one it
/// was made with.
pub(crate) fn install_init(run: &Path) -> io::Result<PathBuf> {
    let digest = Sha256::digest(INIT);
    let name = digest.iter().take(8).fold("init-".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    let path = run.join(name);
    if fs::metadata(&path).is_ok_and(|m| m.len() == INIT.len() as u64) {
        return Ok(path);
    }
    file::replace(&path, INIT, 0o755)?;
    Ok(path)
}

/// No open file takes less memory, which is charged to whoever opened it.
const LEAST_FILE: u64 = 128;
/// What the kernel counts for the whole machine, or for root with all notebooks, and the least that it may be.
const SHARED_COUNTS: [(&str, u64); 3] = [
    ("kernel/pid_max", 4_194_304),
    ("fs/inotify/max_user_instances", 1 << 20),
    ("fs/inotify/max_user_watches", 1 << 28),
];

/// Makes the counts that notebooks share so large that their own limits come first: of memory, of processes, and their
/// shares. A service manager has often done so already for some.
pub(crate) fn raise_shared_counts(sys: &Path) -> io::Result<()> {
    raise(&sys.join("fs/file-max"), memory("MemTotal")? / LEAST_FILE)?;
    SHARED_COUNTS.iter().try_for_each(|(setting, least)| raise(&sys.join(setting), *least))
}

fn raise(setting: &Path, least: u64) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("`{}`: {e}", setting.display()));
    let now = fs::read_to_string(setting).map_err(named)?;
    if now.trim().parse().is_ok_and(|now: u64| now >= least) {
        return Ok(());
    }
    fs::write(setting, least.to_string()).map_err(named)
}

/// A container's `/etc/hosts`.
pub(crate) fn hosts(address: Ipv4Addr) -> String {
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{address} {NAME}\n")
}

/// The machine's size, without overcommitment.
pub(crate) fn capacity() -> io::Result<Capacity> {
    let cpus = std::thread::available_parallelism()?.get() as u64;
    Ok(Capacity { cpu_millis: cpus * 1000, memory_bytes: memory("MemTotal")?, cpu_overcommit: 1, memory_overcommit: 1 })
}

/// A figure of `/proc/meminfo` in bytes.
pub(crate) fn memory(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let missing = || io::Error::other(format!("`{name}` is not in /proc/meminfo"));
    parse_memory(&text, name).ok_or_else(missing)
}

fn parse_memory(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_count_is_raised_and_never_lowered() {
        let sys = tempfile::tempdir().unwrap();
        let read = |setting: &str| fs::read_to_string(sys.path().join(setting)).unwrap();
        fs::create_dir_all(sys.path().join("kernel")).unwrap();
        fs::create_dir_all(sys.path().join("fs/inotify")).unwrap();
        for (setting, least) in SHARED_COUNTS {
            fs::write(sys.path().join(setting), format!("{}\n", least - 1)).unwrap();
        }
        fs::write(sys.path().join("fs/file-max"), "9223372036854775807\n").unwrap();
        raise_shared_counts(sys.path()).unwrap();
        assert_eq!(read("fs/file-max"), "9223372036854775807\n");
        assert_eq!(SHARED_COUNTS.map(|(setting, _)| read(setting)), SHARED_COUNTS.map(|(_, least)| least.to_string()));
        fs::remove_file(sys.path().join("kernel/pid_max")).unwrap();
        assert!(raise_shared_counts(sys.path()).unwrap_err().to_string().contains("pid_max"));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       24684096 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(parse_memory(text, "MemAvailable"), Some(23_000_000 * 1024));
        assert_eq!(parse_memory(text, "Mem"), None);
    }

    #[test]
    fn the_init_is_installed_once() {
        let run = tempfile::tempdir().unwrap();
        let path = install_init(run.path()).unwrap();
        assert_eq!(path, install_init(run.path()).unwrap());
        assert_eq!(fs::read(path).unwrap(), INIT);
    }
}
