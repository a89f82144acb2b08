//! The folders of the operator's that notebooks can have as their volumes.
//!
//! A folder is named by the address of its root and the way from there. The kernel goes that way, beginning at the opened
//! root, and refuses whatever would lead out of it: `..`, absolute links, and links that were put there a moment ago. Links
//! that stay below the root are followed: who may use them may use what they lead to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use atelier_core::volume::ShareUri;
use atelier_runtime::{AtUri, Root};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::control;

/// What is at an address.
pub(crate) fn look(roots: &[Root], uri: &ShareUri) -> io::Result<AtUri> {
    match Root::of(roots, uri) {
        Some((root, below)) => Ok(if open(root, &below)?.is_some() { AtUri::Folder } else { AtUri::Nothing }),
        None if roots.is_empty() => Ok(AtUri::NoRoots),
        None => Ok(AtUri::Unlisted),
    }
}

/// Opens the folder on this way below the root; nothing where there is none, or none that can be reached from there.
pub(crate) fn open(root: &Path, below: &Path) -> io::Result<Option<OwnedFd>> {
    match open_below(root, below) {
        Ok(folder) => Ok(Some(folder)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EXDEV | libc::ELOOP)) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

fn open_below(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    let root = control::open_folder(root)?;
    let way = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(root, way, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// While somebody turns a folder into a link that leads out, and back, as fast as they can: what is opened is a folder
    /// below the root, or nothing.
    #[test]
    fn whoever_changes_links_meanwhile_leads_nobody_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(outside.path().join("secret")).unwrap();
        let (way, link) = (inside.path().join("a"), inside.path().join("link"));
        fs::create_dir_all(way.join("secret")).unwrap();
        symlink(outside.path(), &link).unwrap();
        let own = fs::canonicalize(way.join("secret")).unwrap();
        let (done, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (one, other) = (inside.path().join("x"), &way);
                    fs::rename(other, &one).unwrap();
                    fs::rename(&link, other).unwrap();
                    fs::rename(other, &link).unwrap();
                    fs::rename(&one, other).unwrap();
                    begun.store(true, Ordering::Relaxed);
                }
            });
            while !begun.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            for _ in 0..20_000 {
                use std::os::fd::AsRawFd as _;
                // Too much at once is an error, which a start tries again.
                let Ok(Some(folder)) = open(inside.path(), Path::new("a/secret")) else { continue };
                let opened = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).unwrap();
                let moved = own.parent().unwrap().with_file_name("x").join("secret");
                assert!(opened == own || opened == moved, "{}", opened.display());
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
