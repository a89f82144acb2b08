//! A group for each kernel of an instance, below the instance's own, in the hierarchy that limits memory alone.
//!
//! A kernel may hold a little less than its notebook. So it is its own group that runs out first, in which nothing can be
//! killed but the kernel and what it has started, whatever its other processes say of themselves; and the group counts what
//! that held at most.

use std::fs;
use std::io::{self, ErrorKind, Write as _};

use super::{CgroupTree, door};
use crate::process::{self, Handle};

/// Groups of one instance. Whoever comes later stays where it is.
const MOST: u32 = 32;
/// What the names of groups begin with; a number follows.
const PREFIX: &str = "kernel-";
/// The part of the instance's memory that no kernel may have, and the most of it: what the notebook server and the
/// programs beside it need.
const KEPT_FREE: (u64, u64) = (8, 256 << 20);

/// The limit of a kernel in an instance that has this one.
pub(super) fn limit(instance: u64) -> u64 {
    instance - (instance / KEPT_FREE.0).min(KEPT_FREE.1)
}

/// Puts a process of the instance into a group of its own; whether it could be. Blocks for a moment.
///
/// A number alone says nothing: the process must be in the instance's groups, and live after that was seen.
pub(crate) fn take_in(tree: &dyn CgroupTree, name: &str, pid: i32) -> io::Result<bool> {
    let Some(process) = Handle::of(pid)? else { return Ok(false) };
    if !process::is_in_cgroup(pid, name)? || !process.lives()? {
        return Ok(false);
    }
    let Some(memory) = tree.memory(name).limit else { return Ok(false) };
    for number in 1..=MOST {
        let own = format!("{name}/{PREFIX}{number}");
        if make(tree, &own)? {
            tree.limit_memory(&own, limit(memory))?;
            door(&tree.memory_folder(&own))?.write_all(pid.to_string().as_bytes())?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a group that remembers nothing of a former kernel; not in place of one in which something runs.
fn make(tree: &dyn CgroupTree, name: &str) -> io::Result<bool> {
    let folder = tree.memory_folder(name);
    match fs::create_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        made => return made.map(|()| true),
    }
    match fs::remove_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::ResourceBusy => Ok(false),
        removed => removed.and_then(|()| fs::create_dir(&folder)).map(|()| true),
    }
}

/// The group of a kernel that a path of the kernel's log names, as [`CgroupTree::memory`] takes it, if it is one of this
/// instance.
pub(crate) fn named<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let group = path.strip_prefix('/')?.strip_prefix(super::PARENT)?.strip_prefix('/')?;
    let number = group.strip_prefix(name)?.strip_prefix('/')?.strip_prefix(PREFIX)?;
    number.parse::<u32>().is_ok().then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_may_hold_a_little_less_than_its_notebook() {
        assert_eq!(limit(512 << 20), 448 << 20);
        assert_eq!(limit(8 << 30), (8 << 30) - (256 << 20));
        assert_eq!(limit(1), 1);
    }

    #[test]
    fn only_a_group_of_the_instance_is_one() {
        assert_eq!(named("/atelier/ab-1/kernel-7", "ab-1"), Some("ab-1/kernel-7"));
        for other in [
            "/atelier/ab-1",
            "/atelier/ab-12/kernel-7",
            "/atelier/ab-1/kernel-x",
            "/x/ab-1/kernel-7",
            "",
            "/atelier/ab-1/kernel-7/x",
        ] {
            assert_eq!(named(other, "ab-1"), None, "{other}");
        }
    }
}
