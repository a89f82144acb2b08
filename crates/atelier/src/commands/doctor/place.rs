//! What the configuration points at: address, data folder, disk, certificates, image, package index.

use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use atelier_core::{Clock as _, SystemClock};
use atelier_runtime_local::image::{ImageConfig, ImageStore};
use atelier_runtime_local::{Gpu, GpuReport, NoGpus, look_for_gpus};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::finding::{Finding, State};
use super::{nearest, ok};
use crate::certificate::Certificate;
use crate::config::{Config, Tls};
use crate::folder::DataFolder;
use crate::serve::{CA_FILE, image_config};
use crate::times;

/// How long another machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the driver of the GPUs may take: one that rests gets up first, GPU by GPU.
const DRIVER_LIMIT: Duration = Duration::from_secs(30);
/// Below this much room, the image and a few volumes do not fit; below the second, not even the image.
const LITTLE: u64 = 10 << 30;
const TOO_LITTLE: u64 = 2 << 30;
/// A certificate that ends this soon is spoken of.
const SOON_MS: i64 = 14 * 24 * 60 * 60 * 1000;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let data = &config.server.data_dir;
    let image = image_config(config);
    let roots = config.roots.iter().filter_map(|root| Some(programs(&root.path, statvfs(&root.path).ok()?.f_flag)));
    let ours = [
        address(config),
        folder(data),
        disk("disk of the data folder", data),
        disk("disk of the cache", &config.local.cache_dir),
        certificate(config),
        index(&image),
        built_in(image),
        gpus(look_for_gpus(config.local.nvml.clone(), DRIVER_LIMIT)),
    ];
    ours.into_iter().chain(roots).collect()
}

/// What programs that notebooks leave in a folder of the operator's, mounted so, can do to the accounts of this machine. In
/// notebooks they can do nothing: those mount it anew.
fn programs(path: &Path, mounted: StatVfsMountFlags) -> Finding {
    let (topic, path) = ("set-user-ID programs: volumes.roots", path.display());
    if mounted.contains(StatVfsMountFlags::NOSUID) {
        return ok(topic, format!("{path} is mounted with nosuid"));
    }
    let cost = "whoever has an account here and runs a program that a notebook has left there can become user id 1000";
    let found = format!("{path} is mounted without nosuid");
    Finding::bad(topic, State::Warning, found, cost, "mount it with nosuid, or let no account reach it")
}

/// Most machines have none, which is as it should be.
fn gpus(look: Result<GpuReport, NoGpus>) -> Finding {
    let topic = "GPUs";
    let report = match look {
        Ok(report) => report,
        Err(NoGpus::NoDriver(why)) => return ok(topic, format!("none: {why}")),
        Err(NoGpus::Trouble(why)) => {
            let cure = "`nvidia-smi` and the kernel's log say more; after an update of the driver, restart the machine";
            return Finding::bad(topic, State::Warning, why, "notebooks with GPUs do not start", cure);
        }
    };
    let counted = Gpu::counted(&report.gpus);
    let kinds = counted.kinds().iter().map(|kind| format!("{} {}", kind.count, kind.name));
    let found =
        kinds.chain([format!("driver {}", report.version)]).chain(report.left_out).collect::<Vec<_>>().join(", ");
    if report.missing.is_empty() || counted.is_empty() {
        return ok(topic, found);
    }
    let found = format!("{found}; not there: {}", report.missing.join(", "));
    let cure = "install all of the driver, and have `nvidia-modprobe -u -c 0` make its devices; docs/gpus.md";
    Finding::bad(topic, State::Warning, found, "notebooks with GPUs do not start, or cannot compute on them", cure)
}

fn address(config: &Config) -> Finding {
    let address = config.server.listen;
    let Err(error) = TcpListener::bind(address) else {
        return ok("address", format!("{address} is free"));
    };
    if let Ok(Some(holder)) = DataFolder::holder(&config.server.data_dir) {
        return ok("address", format!("{address} is in use; the server of this data folder runs ({holder})"));
    }
    let cure = "stop what listens there, or set `server.listen`";
    Finding::bad("address", State::Failure, format!("{address}: {error}"), "the server does not start", cure)
}

fn folder(data: &Path) -> Finding {
    let topic = "data folder";
    let path = data.display();
    let found = match std::fs::metadata(data) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return ok(topic, format!("{path} is not there yet; the first start makes it"));
        }
        Err(e) => {
            return Finding::bad(
                topic,
                State::Unknown,
                format!("{path}: {e}"),
                "nothing is known of it",
                "run as its owner",
            );
        }
        Ok(found) => found,
    };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let cost = "other users of this machine can read keys, passwords and the files of notebooks";
        let cure = format!("chmod 0700 {path}; the next start does it, too");
        return Finding::bad(topic, State::Warning, format!("{path} has mode {mode:04o}"), cost, cure);
    }
    match DataFolder::holder(data) {
        Ok(Some(holder)) => ok(topic, format!("{path}, used by a server ({holder})")),
        Ok(None) => ok(topic, format!("{path}, used by no server")),
        Err(e) => Finding::bad(topic, State::Unknown, e.to_string(), "nothing is known of it", "run as its owner"),
    }
}

fn disk(topic: &'static str, path: &Path) -> Finding {
    let there = nearest(path);
    let Ok(room) = statvfs(there) else {
        return Finding::bad(
            topic,
            State::Unknown,
            there.display().to_string(),
            "nothing is known of it",
            "run as its owner",
        );
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let found = format!("{} GiB and {} inodes free at {}", free >> 30, room.f_favail, there.display());
    let state = match free {
        0..TOO_LITTLE => State::Failure,
        TOO_LITTLE..LITTLE => State::Warning,
        // Some file systems make inodes as they are needed, and say 0 of 0.
        _ if room.f_files > 0 && room.f_favail < 10_000 => State::Warning,
        _ => return ok(topic, found),
    };
    let cost = "a full disk makes notebooks fail in the middle of a write, and the server refuse what is new";
    Finding::bad(
        topic,
        state,
        found,
        cost,
        "make room, or set `server.data_dir` and `local.cache_dir` to a larger disk",
    )
}

fn certificate(config: &Config) -> Finding {
    match &config.tls {
        Tls::Off => plain(config),
        Tls::SelfMade => self_made(&config.server.data_dir),
        Tls::Files { certificate, key } => files(config, certificate, key),
    }
}

fn plain(config: &Config) -> Finding {
    let proxied = config.server.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    if config.server.listen.ip().is_loopback() || proxied {
        return ok("TLS", "none: the server listens on this machine only, or stands behind a proxy that ends TLS");
    }
    let cost = "passwords and tokens cross the network in the clear, and browsers keep no cookie of a notebook";
    Finding::bad(
        "TLS",
        State::Warning,
        "none, and others reach the server",
        cost,
        "set `tls.certificate`; see docs/tls.md",
    )
}

fn self_made(data: &Path) -> Finding {
    let file = data.join(CA_FILE);
    match Certificate::read(&file) {
        Ok(root) => {
            let until = times::point(root.until.as_millis());
            ok(
                "TLS",
                format!("self-made, until {until}. To trust it elsewhere: import {} (docs/tls.md)", file.display()),
            )
        }
        Err(_) if !file.exists() => ok("TLS", "self-made; the first start makes the CA"),
        Err(e) => {
            let cost = "the server does not start";
            Finding::bad("TLS", State::Failure, e.to_string(), cost, format!("remove {} for a new CA", file.display()))
        }
    }
}

fn files(config: &Config, certificate: &Path, key: &Path) -> Finding {
    let cure = "name a certificate and its key in `tls.certificate` and `tls.key`";
    let read = Certificate::read(certificate);
    let found = match read.and_then(|found| found.with_key(key, &crate::serve::provider()).map(|_| found)) {
        Ok(found) => found,
        Err(e) => return Finding::bad("TLS", State::Failure, e.to_string(), "the server does not start", cure),
    };
    let until = times::point(found.until.as_millis());
    let left = found.until.millis_since(SystemClock.now());
    let notebook = format!("00000000-0000-7000-8000-000000000000.{}", config.domain);
    if left < SOON_MS {
        let state = if left < 0 { State::Failure } else { State::Warning };
        let cost = "clients refuse to connect after its end";
        return Finding::bad("TLS", state, format!("{} ends at {until}", certificate.display()), cost, "renew it");
    }
    if !found.covers(&notebook) {
        let cost = "browsers refuse to open notebooks";
        let said = format!("{} is not for *.{}", certificate.display(), config.domain);
        return Finding::bad("TLS", State::Warning, said, cost, "add this wildcard to the certificate");
    }
    ok("TLS", format!("{}, until {until}", certificate.display()))
}

/// Whether the package index answers: notebooks and the making of the image need it.
fn index(image: &ImageConfig) -> Finding {
    let proxy = image.settings.proxy.https.as_deref().or(image.settings.proxy.http.as_deref());
    let index = image.settings.index.url.as_deref().unwrap_or("https://pypi.org/simple");
    let (what, url) = proxy.map_or(("package index", index), |proxy| ("proxy to the package index", proxy));
    let Some((host, port)) = host_and_port(url) else {
        let cost = "the image cannot be made, and pip does not work in notebooks";
        return Finding::bad(
            "egress",
            State::Warning,
            format!("the address of the {what} is none"),
            cost,
            "correct it",
        );
    };
    match reached(&host, port) {
        Ok(()) => ok("egress", format!("the {what} at {host}:{port} accepts connections")),
        Err(e) => {
            let cost = "the image cannot be made, and pip does not work in notebooks";
            let cure = "open the way, or set PIP_INDEX_URL or HTTPS_PROXY in `local.environment`";
            Finding::bad("egress", State::Warning, format!("the {what} at {host}:{port}: {e}"), cost, cure)
        }
    }
}

/// Host and port, without what may be secret.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url: reqwest::Url = url.parse().ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

fn reached(host: &str, port: u16) -> std::io::Result<()> {
    let bare = host.trim_matches(|c| c == '[' || c == ']');
    let mut last = std::io::Error::other("it has no address");
    for address in (bare, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn built_in(image: ImageConfig) -> Finding {
    let cache = image.cache_dir.clone();
    if ImageStore::open(image).built_in().is_some() {
        return ok("image", format!("the built-in one is in {}", cache.display()));
    }
    let found = format!("the built-in one is not in {}", cache.display());
    let cost = "the first notebook waits until it is made, one to three minutes";
    Finding::bad("image", State::Warning, found, cost, "`atelier image build`, or start a notebook and wait")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_is_well_and_one_whose_driver_fails_is_not() {
        let none = gpus(Err(NoGpus::NoDriver("no library".into())));
        assert_eq!(none, Finding::ok("GPUs", "none: no library"));
        assert_eq!(gpus(Err(NoGpus::Trouble("mismatch".into()))).state, State::Warning);
        let gpu = Gpu { uuid: "GPU-1".into(), name: "L4".into(), memory_bytes: 1 << 30, minor: 0 };
        let report = GpuReport { version: "1".into(), gpus: vec![gpu], left_out: Vec::new(), missing: Vec::new() };
        assert_eq!(gpus(Ok(report.clone())), Finding::ok("GPUs", "1 L4, driver 1"));
        let without_node = GpuReport { missing: vec!["`/dev/nvidia-uvm`".into()], ..report };
        assert_eq!(gpus(Ok(without_node)).state, State::Warning);
    }

    #[test]
    fn an_address_is_told_without_its_password() {
        assert_eq!(host_and_port("https://u:secret@a.example/simple"), Some(("a.example".into(), 443)));
        assert_eq!(host_and_port("http://[::1]:3128"), Some(("[::1]".into(), 3128)));
        assert_eq!(host_and_port("no address"), None);
    }

    #[test]
    fn a_folder_that_others_can_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(super::folder(folder.path()).state, State::Warning);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(super::folder(folder.path()).state, State::Ok);
        assert_eq!(super::folder(&folder.path().join("new")).state, State::Ok);
    }

    #[test]
    fn a_root_where_set_user_id_programs_run_is_told() {
        let path = Path::new("/srv/nas");
        assert_eq!(programs(path, StatVfsMountFlags::NODEV).state, State::Warning);
        assert_eq!(programs(path, StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID).state, State::Ok);
    }

    #[test]
    fn a_disk_with_room_is_well_and_is_asked_at_the_nearest_folder_that_is_there() {
        let found = disk("disk", Path::new("/proc/no/such/folder"));
        assert_eq!(found.state, State::Failure, "{found:?}");
    }
}
