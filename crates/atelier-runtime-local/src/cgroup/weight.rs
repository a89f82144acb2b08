//! What a group gets of a processor that others want at the same moment: its weight, which counts only then.
//!
//! The usual weight is the same for all, and the kernel's own: groups that nobody has given one, by another release, are
//! equal to them. The low one goes with the CPUs that the group may have, so that those who compute for long share by
//! what they were promised. It has an upper bound, because one thread on one processor has the weight of the whole group
//! there, and must be light beside the usual one all the same.

/// What a group weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As much as any other one.
    Usual,
    /// A fortieth of that for each of its CPUs, and at most a tenth: whoever else wants the processor goes first.
    Low,
}

/// The low weight is a part of the usual one: one in so many for a CPU, and for many of them.
const LOW: (u64, u64) = (40, 10);

/// How a version of control groups counts.
pub(super) struct Scale {
    /// What the kernel gives to a new group.
    usual: u64,
    /// The least that it takes.
    least: u64,
}

/// `cpu.shares`.
pub(super) const VERSION_1: Scale = Scale { usual: 1024, least: 2 };
/// `cpu.weight`.
pub(super) const VERSION_2: Scale = Scale { usual: 100, least: 1 };

impl Scale {
    /// The weight of a group that may use so many thousandths of a CPU, as the kernel's file takes it.
    pub(super) fn text(&self, cpu_millis: u32, weight: Weight) -> String {
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
}
