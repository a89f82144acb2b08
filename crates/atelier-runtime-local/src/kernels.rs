//! Which of a notebook's processes are its kernels, as their command lines tell it.
//!
//! A kernel is told the file with its addresses, `kernel-<id>.json`, and a forked one shows the same command line as one
//! that was started. What a kernel has forked shows it, too, and is taken for the kernel. The command line is the
//! notebook's own word; nothing is decided by it.

use std::collections::HashMap;
use std::fs;

/// The ids of kernels, by process.
pub(crate) type Kernels = HashMap<i32, String>;

/// What the name of a forked kernel begins with; the beginning of its id follows. `kernels.py` gives it.
const NAME: &str = "kernel ";
/// Letters of an id, as Jupyter makes it.
const ID: usize = 36;

/// The kernels among these processes.
pub(crate) fn among(processes: &[i32]) -> Kernels {
    let id = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((*pid, id(&String::from_utf8_lossy(&line))?.to_owned()))
    };
    processes.iter().filter_map(id).collect()
}

fn id(line: &str) -> Option<&str> {
    let (_, from) = line.rsplit_once("kernel-")?;
    let (id, rest) = (from.get(..ID)?, from.get(ID..)?);
    let fits = rest.starts_with(".json") && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    fits.then_some(id)
}

/// The beginning of the id of a forked kernel, by what the process is called.
pub(crate) fn by_name(name: &str) -> Option<&str> {
    name.strip_prefix(NAME).filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_the_file_of_its_addresses() {
        let started = "/python\0-m\0ipykernel_launcher\0-f\0/run/kernel-0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001.json\0";
        assert_eq!(id(started), Some("0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001"));
        let forked = "/python -m ipykernel_launcher -f /run/kernel-0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001.json\0\0.";
        assert_eq!(id(forked), Some("0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a001"));
        for other in ["", "bash\0", "vi\0kernel-notes.json\0", "vi\0kernel-0b5b1a9e-3c1f-4f0a-9a39-d3d7e5d6a0é1.json"]
        {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn a_forked_kernel_is_known_by_its_name() {
        assert_eq!(by_name("kernel 0b5b1a9e"), Some("0b5b1a9e"));
        for other in ["kernel ", "kernel panic", "python"] {
            assert_eq!(by_name(other), None, "{other}");
        }
    }
}
