//! The folders of the operator's that notebooks can have as their volumes.
//!
//! A folder is named by the address of its root and the way from there. The kernel goes that way, beginning at the opened
//! root, and refuses whatever would lead out of it: `..`, absolute links, and links that were put there a moment ago. Links
//! that stay below the root are followed: who may use them may use what they lead to. To the root itself no link leads: one
//! root may lie within another, where notebooks write.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use atelier_core::volume::ShareUri;
use atelier_runtime::{AtUri, Root};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

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
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let root = openat2(CWD, root, flags, Mode::empty(), no_links)?;
    let way = if below.as_os_str().is_empty() { Path::new(".") } else { below };
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
            let mut opened_ones = 0;
            for _ in 0..20_000 {
                use std::os::fd::AsRawFd as _;
                // Too much at once is an error, which a start tries again.
                let Ok(Some(folder)) = open(inside.path(), Path::new("a/secret")) else { continue };
                let opened = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).unwrap();
                let moved = own.parent().unwrap().with_file_name("x").join("secret");
                assert!(opened == own || opened == moved, "{}", opened.display());
                opened_ones += 1;
            }
            done.store(true, Ordering::Relaxed);
            assert!(opened_ones > 100, "{opened_ones} of 20,000 were opened, which proves nothing");
        });
    }

    /// Links of `/proc` have no way to follow: they are the thing itself, wherever it is. Its other links are as everybody's.
    #[test]
    fn a_magic_link_leads_nowhere() {
        let proc = Path::new("/proc");
        assert!(open(proc, Path::new("self/fd")).unwrap().is_some(), "the link to the process stays below");
        for magic in ["self/root", "self/cwd", "self/root/proc"] {
            assert!(proc.join(magic).is_dir(), "it leads nowhere, so this proves nothing");
            assert!(open(proc, Path::new(magic)).unwrap().is_none(), "{magic}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_root_is_no_root() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(top.join("outer/inner/a")).unwrap();
        fs::create_dir_all(top.join("secret/a")).unwrap();
        let inner = top.join("outer/inner");
        assert!(open(&inner, Path::new("a")).unwrap().is_some());
        fs::rename(&inner, top.join("outer/moved")).unwrap();
        symlink(top.join("secret"), &inner).unwrap();
        assert!(open(&inner, Path::new("a")).unwrap().is_none());
        assert!(open(&inner, Path::new("")).unwrap().is_none());
    }
}
