//! Pools: named shares of the machine.
//!
//! A pool is a part of the machine that is set aside, with sizes of its own. Notebooks in it hold of its share only, and
//! all others hold of what is left, the *public* machine: neither can take from the other. How often CPUs and memory may
//! be promised is the same everywhere, so that a pool is a smaller machine and the arithmetic of [`Capacity`] holds in
//! it unchanged.
//!
//! A notebook keeps the pool that it was made in, also when the configuration has lost it. Then it can be started no
//! more, and what it still holds counts as held of the public machine: that is where its share has gone.

use std::fmt;
use std::sync::Arc;

use crate::flavor::{Capacity, Flavor};

/// A pool, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its id, for example `team-a`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Thousandths of a CPU of the machine.
    pub cpu_millis: u64,
    /// MiB of memory of the machine.
    pub memory_mib: u64,
    /// The sizes that notebooks in it come in, beside any that they ask for themselves.
    pub flavors: Vec<Flavor>,
    /// Notebooks that a user may have in it, in one project.
    pub notebooks_per_user: Option<u32>,
}

impl Pool {
    /// Its share, promised as often as the machine is.
    pub const fn capacity(&self, machine: Capacity) -> Capacity {
        Capacity { cpu_millis: self.cpu_millis, memory_bytes: self.memory_mib * 1024 * 1024, ..machine }
    }

    /// What notebooks in it keep of it.
    pub fn in_pool(&self) -> InPool {
        InPool { id: self.id.clone(), name: self.name.clone() }
    }
}

/// The pool of a notebook, as it was called when the notebook was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InPool {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The notebooks that hold of one share of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those in this pool.
    Pool(Arc<str>),
    /// Those in none of these pools.
    Besides(Arc<[String]>),
}

impl Part {
    /// All notebooks.
    pub fn everything() -> Self {
        Self::Besides(Arc::default())
    }
}

/// The pools together are larger than the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TooLarge {
    asked: (u64, u64),
    there: (u64, u64),
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((cpu, memory), (cpus, memories)) = (self.asked, self.there);
        write!(
            f,
            "the `pools` together ask for `cpu_millis` {cpu} and `memory_mib` {memory}; the machine has {cpus} and {memories}"
        )
    }
}

/// What is left of the machine beside its pools.
pub fn public(machine: Capacity, pools: &[Pool]) -> Result<Capacity, TooLarge> {
    let sum = |of: fn(&Pool) -> u64| pools.iter().map(of).fold(0, u64::saturating_add);
    let asked = (sum(|pool| pool.cpu_millis), sum(|pool| pool.memory_mib));
    let there = (machine.cpu_millis, machine.memory_bytes / (1024 * 1024));
    if asked.0 > there.0 || asked.1 > there.1 {
        return Err(TooLarge { asked, there });
    }
    let memory_bytes = machine.memory_bytes - asked.1 * 1024 * 1024;
    Ok(Capacity { cpu_millis: machine.cpu_millis - asked.0, memory_bytes, ..machine })
}

/// What the share of the machine that no pool has is called where pools are called by their ids.
pub const PUBLIC: &str = "public";

/// What an id of a pool looks like.
pub const ID_FORM: &str = "4 to 64 of the letters a to z, digits and hyphens, a letter first and no hyphen last";

/// Whether a text has the form that the contract gives to ids of pools.
pub fn is_id(text: &str) -> bool {
    (4..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Capacity =
        Capacity { cpu_millis: 4000, memory_bytes: 16 << 30, cpu_overcommit: 16, memory_overcommit: 8 };

    fn pool(cpu_millis: u64, memory_mib: u64) -> Pool {
        let (id, name) = ("team-a".into(), "Team A".into());
        Pool { id, name, cpu_millis, memory_mib, flavors: Vec::new(), notebooks_per_user: None }
    }

    #[test]
    fn pools_and_what_is_left_are_the_machine() {
        assert_eq!(public(MACHINE, &[]), Ok(MACHINE));
        let pools = [pool(1000, 4096), pool(3000, 12 * 1024)];
        let left = public(MACHINE, &pools[..1]).unwrap();
        assert_eq!(left, Capacity { cpu_millis: 3000, memory_bytes: 12 << 30, ..MACHINE });
        assert_eq!(pools[1].capacity(MACHINE), left);
        let nothing = public(MACHINE, &pools).unwrap();
        assert_eq!((nothing.cpu_millis, nothing.memory_bytes), (0, 0));
        for larger in [pool(3001, 1), pool(1, 12 * 1024 + 1), pool(u64::MAX, u64::MAX)] {
            let refused = public(MACHINE, &[pools[0].clone(), larger]).unwrap_err().to_string();
            assert!(refused.contains("4000 and 16384"), "{refused}");
        }
    }
}
