//! What a group gets of a processor that others want at the same moment: its weight, which counts only then.
//!
//! The usual weight is the same for all, and the kernel's own: groups that nobody has given one, by another release, are
//! equal to them. The low one is what the kernel calls idle: three thousandths of the usual one, and a processor
//! that does nothing but such work counts as free. So whoever wakes up need not be sent to another one, away from what its
//! caches hold, and does not wait for the end of a slice. All that are idle weigh the same: the kernel takes no number for
//! them.
//!
//! Kernels before 5.15 know no such groups. There it is a small number, which goes with the CPUs that the group may have,
//! and has an upper bound: one thread on one processor has the weight of the whole group there, and must be light beside
//! the usual one all the same.

use std::io;
use std::path::Path;

use super::write;

/// What a group weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As much as any other one.
    Usual,
    /// Next to nothing: whoever else wants the processor goes first.
    Low,
}

/// The low weight as a number is a part of the usual one: one in so many for a CPU, and for many of them.
const LOW: (u64, u64) = (40, 10);

/// How a version of control groups counts.
pub(super) struct Scale {
    /// What takes the number.
    file: &'static str,
    /// What the kernel gives to a new group.
    usual: u64,
    /// The least that it takes.
    least: u64,
}

pub(super) const VERSION_1: Scale = Scale { file: "cpu.shares", usual: 1024, least: 2 };
pub(super) const VERSION_2: Scale = Scale { file: "cpu.weight", usual: 100, least: 1 };

impl Scale {
    /// Gives a weight to the group of this folder, which may use so many thousandths of a CPU.
    pub(super) fn apply(&self, folder: &Path, cpu_millis: u32, weight: Weight) -> io::Result<()> {
        let idle = folder.join("cpu.idle");
        if idle.exists() {
            write(&idle, if weight == Weight::Low { "1" } else { "0" })?;
            // The kernel takes no number for one that is idle.
            if weight == Weight::Low {
                return Ok(());
            }
        }
        write(&folder.join(self.file), &self.text(cpu_millis, weight))
    }

    /// The weight of a group that may use so many thousandths of a CPU, as the kernel's file takes it.
    fn text(&self, cpu_millis: u32, weight: Weight) -> String {
        let low = || (self.usual * u64::from(cpu_millis) / 1000 / LOW.0).min(self.usual / LOW.1);
        match weight {
            Weight::Usual => self.usual,
            Weight::Low => low().max(self.least),
        }
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_low_weight_goes_with_the_cpus_and_is_light_always() {
        let both = |millis, weight| (VERSION_1.text(millis, weight), VERSION_2.text(millis, weight));
        let text = |first: &str, second: &str| (first.to_owned(), second.to_owned());
        for millis in [1, 1000, 64_000] {
            assert_eq!(both(millis, Weight::Usual), text("1024", "100"));
        }
        assert_eq!(both(1, Weight::Low), text("2", "1"));
        assert_eq!(both(500, Weight::Low), text("12", "1"));
        assert_eq!(both(1000, Weight::Low), text("25", "2"));
        assert_eq!(both(2000, Weight::Low), text("51", "5"));
        assert_eq!(both(4000, Weight::Low), text("102", "10"));
        assert_eq!(both(u32::MAX, Weight::Low), text("102", "10"));
    }

    #[test]
    fn the_low_weight_is_a_number_only_where_no_group_can_be_idle() {
        for (scale, usual, low) in [(&VERSION_1, "1024", "51"), (&VERSION_2, "100", "5")] {
            let group = tempfile::tempdir().unwrap();
            let held = |file: &str| fs::read_to_string(group.path().join(file)).ok();
            let now = |weight| {
                scale.apply(group.path(), 2000, weight).unwrap();
                (held("cpu.idle"), held(scale.file))
            };
            let text = |idle: Option<&str>, weight: &str| (idle.map(str::to_owned), Some(weight.to_owned()));
            assert_eq!(now(Weight::Low), text(None, low));
            assert_eq!(now(Weight::Usual), text(None, usual));
            fs::write(group.path().join("cpu.idle"), "0\n").unwrap();
            assert_eq!(now(Weight::Low), text(Some("1"), usual));
            // One of an earlier release has a number.
            fs::write(group.path().join(scale.file), low).unwrap();
            assert_eq!(now(Weight::Usual), text(Some("0"), usual));
        }
    }
}
