//! A group for each kernel of an instance, below the instance's own, in the hierarchy that limits memory alone.
//!
//! A kernel may hold a little less than its notebook. So where it takes too much, it is its own group that runs out, in
//! which nothing can be killed but the kernel and what it has started, whatever its other processes say of themselves; and
//! the group counts what that held at most. Where several take too much together, it is the instance's that runs out.

use std::fs;
use std::io::{self, ErrorKind, Write as _};

use super::{CgroupTree, PARENT};
use crate::process::{self, Handle};

/// Groups of one instance. Whoever comes later stays where it is.
pub(crate) const MOST: u32 = 32;
/// What the names of groups begin with; a number follows.
const PREFIX: &str = "kernel-";
/// The part of the instance's memory that no kernel may have, and the most of it: what the notebook server and the
/// programs beside it need.
const KEPT_FREE: (u64, u64) = (8, 256 << 20);

/// The limit of a kernel in an instance that has this one.
pub(super) fn limit(instance: u64) -> u64 {
    instance - (instance / KEPT_FREE.0).min(KEPT_FREE.1)
}

/// Puts a process of the instance into a group of its own, unless it has one; whether it was. Blocks for a moment.
pub(crate) fn take_in(tree: &dyn CgroupTree, name: &str, pid: i32) -> io::Result<bool> {
    let Some(process) = Handle::of(pid)? else { return Ok(false) };
    if !may_ask(name, pid)? {
        return Ok(false);
    }
    let Some(memory) = tree.memory(name).limit else { return Ok(false) };
    let Some(own) = make(tree, name)? else { return Ok(false) };
    tree.limit_memory(&own, limit(memory))?;
    let mut door = fs::File::options().write(true).open(tree.memory_folder(&own).join("cgroup.procs"))?;
    // Last, so that the number has no time to become another's: whoever had it lived after it was seen in the instance.
    if !may_ask(name, pid)? || !process.lives()? {
        return Ok(false);
    }
    door.write_all(pid.to_string().as_bytes())?;
    Ok(true)
}

/// Whether the process is one of the instance's, and has no group of its own.
fn may_ask(name: &str, pid: i32) -> io::Result<bool> {
    let groups = process::groups(pid)?;
    Ok(process::are_of(&groups, name) && !groups.contains(&format!("/{name}/{PREFIX}")))
}

/// Makes a group that remembers nothing of a former kernel; the first that nothing runs in once all numbers are taken, so
/// that cached contents of files stay as long as they can.
fn make(tree: &dyn CgroupTree, name: &str) -> io::Result<Option<String>> {
    let all = || (1..=MOST).map(|number| format!("{name}/{PREFIX}{number}"));
    for own in all() {
        match fs::create_dir(tree.memory_folder(&own)) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| Some(own)),
        }
    }
    for own in all() {
        let folder = tree.memory_folder(&own);
        if !super::members(&folder)?.is_empty() {
            continue;
        }
        // What is still charged would keep the kernel's part of it alive.
        let _ = fs::write(folder.join("memory.force_empty"), "0");
        match fs::remove_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy => {}
            removed => return removed.and_then(|()| fs::create_dir(&folder)).map(|()| Some(own)),
        }
    }
    Ok(None)
}

/// The group of a kernel that a path of the machine's log names, as [`CgroupTree::memory`] takes it, if it is one of this
/// instance. What comes before is the place of this machine's groups, where they are a part of another's.
pub(crate) fn named(path: &str, name: &str) -> Option<String> {
    let (_, number) = path.rsplit_once(&format!("/{PARENT}/{name}/{PREFIX}"))?;
    let number: u32 = number.parse().ok()?;
    Some(format!("{name}/{PREFIX}{number}"))
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
        for path in ["/atelier/ab-1/kernel-7", "/docker/0123/atelier/ab-1/kernel-7"] {
            assert_eq!(named(path, "ab-1").as_deref(), Some("ab-1/kernel-7"));
        }
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
