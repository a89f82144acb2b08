//! GPUs: what flavors ask for, what a machine has, and what notebooks hold of it.
//!
//! A GPU is given whole, to one notebook at a time, and is never promised twice, however often processors and memory are.
//! GPUs of one kind, that is of one product, are alike: here they are counted, and which of them a notebook gets is its
//! runtime's business. They are counted for the whole machine: pools set none aside.
//!
//! A flavor may leave the kind open. It then means the kind that the machine has most of, and that one only. If it meant
//! whichever is free, nobody could say what kinds its notebooks hold, and a flavor that names its kind could be promised
//! a GPU that another notebook has. Which kind is meant is settled when a notebook is let in, and not again while it runs:
//! GPUs that are lost or found meanwhile change what there is most of, and not what it has.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// The GPUs of a flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavorGpus {
    /// How many.
    pub count: NonZeroU32,
    /// Of what kind: the product's name, as its driver says it. `None`: of the kind that the machine has most of.
    pub kind: Option<String>,
}

impl FlavorGpus {
    /// So many of this kind, or of the one that the machine has most of; `None` for a count of 0.
    pub fn of(count: u32, kind: Option<&str>) -> Option<Self> {
        NonZeroU32::new(count).map(|count| Self { count, kind: kind.map(str::to_owned) })
    }
}

/// The GPUs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuKind {
    /// The product's name.
    pub name: String,
    /// What each has of memory, in bytes; the least, where they differ.
    pub memory_bytes: u64,
    /// How many there are.
    pub count: u32,
}

/// The GPUs of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus(Vec<GpuKind>);

impl Gpus {
    /// Those of these names and bytes of memory.
    pub fn of(all: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut kinds = BTreeMap::<String, GpuKind>::new();
        for (name, memory_bytes) in all {
            let kind = kinds.entry(name.clone()).or_insert(GpuKind { name, memory_bytes, count: 0 });
            kind.count += 1;
            kind.memory_bytes = kind.memory_bytes.min(memory_bytes);
        }
        let mut kinds: Vec<_> = kinds.into_values().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        Self(kinds)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kinds, those first that there are most of; where there are as many, by their names.
    pub fn kinds(&self) -> &[GpuKind] {
        &self.0
    }

    /// How many there are of all kinds.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|kind| kind.count).sum()
    }

    /// The kind that is meant by a name, or by none.
    pub fn kind(&self, wanted: Option<&str>) -> Option<&GpuKind> {
        match wanted {
            Some(name) => self.0.iter().find(|kind| kind.name == name),
            None => self.0.first(),
        }
    }

    /// Whether a flavor with these can never run here, however few are held.
    pub fn are_too_few_for(&self, wanted: Option<&FlavorGpus>) -> bool {
        wanted
            .is_some_and(|wanted| self.kind(wanted.kind.as_deref()).is_none_or(|kind| kind.count < wanted.count.get()))
    }

    /// How many of the kind that is meant are free beside what is held.
    pub fn free(&self, held: &HeldGpus, wanted: Option<&str>) -> u32 {
        let Some(kind) = self.kind(wanted) else { return 0 };
        let meant = |held: Option<&str>| self.kind(held).is_some_and(|held| held.name == kind.name);
        let held = held.0.iter().filter(|(name, _)| meant(name.as_deref())).map(|(_, count)| *count);
        kind.count.saturating_sub(held.fold(0, u32::saturating_add))
    }

    /// Whether one more notebook of a flavor with these fits beside what is held.
    pub fn fit(&self, held: &HeldGpus, wanted: Option<&FlavorGpus>) -> bool {
        wanted.is_none_or(|wanted| wanted.count.get() <= self.free(held, wanted.kind.as_deref()))
    }
}

/// How many GPUs notebooks hold of each kind, in the words of their flavors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldGpus(BTreeMap<Option<String>, u32>);

impl HeldGpus {
    /// How many they hold of all kinds.
    pub fn count(&self) -> u32 {
        self.0.values().copied().fold(0, u32::saturating_add)
    }
}

impl FromIterator<(Option<String>, u32)> for HeldGpus {
    fn from_iter<T: IntoIterator<Item = (Option<String>, u32)>>(held: T) -> Self {
        let mut all = BTreeMap::<_, u32>::new();
        for (kind, count) in held {
            let sum = all.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(count: u32, kind: Option<&str>) -> FlavorGpus {
        FlavorGpus::of(count, kind).unwrap()
    }

    fn machine(names: &[&str]) -> Gpus {
        Gpus::of(names.iter().zip(1..).map(|(name, memory)| ((*name).to_owned(), memory)))
    }

    fn held(of: &[(Option<&str>, u32)]) -> HeldGpus {
        of.iter().map(|(kind, count)| (kind.map(str::to_owned), *count)).collect()
    }

    #[test]
    fn the_kind_that_there_is_most_of_comes_first_and_is_meant_by_no_name() {
        let machine = machine(&["B", "C", "A", "C", "B"]);
        let kinds: Vec<_> = machine.kinds().iter().map(|kind| (kind.name.as_str(), kind.count)).collect();
        assert_eq!(kinds, [("B", 2), ("C", 2), ("A", 1)]);
        assert_eq!(machine.kind(None).unwrap(), &GpuKind { name: "B".into(), memory_bytes: 1, count: 2 });
        assert_eq!((machine.count(), machine.kind(Some("b"))), (5, None));
    }

    #[test]
    fn what_is_held_without_a_name_counts_for_the_kind_that_is_meant() {
        let machine = machine(&["A", "A", "A", "B"]);
        let held = held(&[(None, 1), (Some("A"), 1), (Some("B"), 1), (Some("gone"), 7)]);
        assert_eq!([None, Some("A"), Some("B"), Some("gone")].map(|kind| machine.free(&held, kind)), [1, 1, 0, 0]);
        assert!(machine.fit(&held, Some(&wanted(1, None))) && !machine.fit(&held, Some(&wanted(2, None))));
        assert!(machine.fit(&held, None) && !machine.fit(&held, Some(&wanted(1, Some("B")))));
        assert_eq!(held.count(), 10);
    }

    #[test]
    fn what_a_machine_never_had_is_too_much_for_it() {
        let (none, two) = (Gpus::default(), machine(&["A", "A"]));
        assert!(!none.are_too_few_for(None) && none.are_too_few_for(Some(&wanted(1, None))));
        assert!(!two.are_too_few_for(Some(&wanted(2, Some("A")))));
        for more in [wanted(3, None), wanted(1, Some("B"))] {
            assert!(two.are_too_few_for(Some(&more)), "{more:?}");
        }
    }

    /// One GPU less than is held, because it has fallen off its bus.
    #[test]
    fn fewer_than_are_held_are_none_free() {
        let one = machine(&["A"]);
        assert_eq!(one.free(&held(&[(None, 2)]), Some("A")), 0);
    }
}
