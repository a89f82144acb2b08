//! Flavors: the sizes that notebooks come in.

use crate::gpu::FlavorGpus;
use std::fmt;

/// A size of notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Its id, for example `modelarts.vm.cpu.2u`.
    pub id: String,
    /// What it is, for people.
    pub description: String,
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether the vendor gives it away; the free flavor is for the feature DEFAULT, and usable for NOTEBOOK too.
    pub free: bool,
    /// Its GPUs.
    pub gpus: Option<FlavorGpus>,
}

/// The flavor of a notebook that says its size itself.
pub const CUSTOM: &str = "custom.flavor.spec.code";

/// A size that a notebook says itself; only in pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomSpec {
    /// Thousandths of a CPU.
    pub cpu_millis: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl fmt::Display for CustomSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} thousandths of a CPU, {} MiB", self.cpu_millis, self.memory_mib)
    }
}

impl CustomSpec {
    /// The flavor that a notebook of this size has.
    pub fn flavor(self) -> Flavor {
        let Self { cpu_millis, memory_mib } = self;
        let description = "a size of its own".into();
        Flavor { id: CUSTOM.into(), description, cpu_millis, memory_mib, free: false, gpus: None }
    }
}

impl Flavor {
    /// The size that its notebook said itself, where it did.
    pub fn custom_spec(&self) -> Option<CustomSpec> {
        let Self { cpu_millis, memory_mib, .. } = *self;
        (self.id == CUSTOM).then_some(CustomSpec { cpu_millis, memory_mib })
    }

    /// Whole CPUs, rounded up: the contract's `vcpus` is an integer.
    pub const fn vcpus(&self) -> u32 {
        self.cpu_millis.div_ceil(1000)
    }

    /// Memory in KiB, the contract's unit of a flavor's `memory`.
    pub const fn memory_kib(&self) -> u64 {
        self.memory_mib * 1024
    }

    /// Memory in bytes.
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_mib * 1024 * 1024
    }

    /// The flavors that a server offers when nothing else is configured.
    pub fn defaults() -> Vec<Self> {
        let flavor = |id: &str, description: &str, cpu_millis, gib_halves: u64, free| Self {
            id: id.into(),
            description: description.into(),
            cpu_millis,
            memory_mib: gib_halves * 512,
            free,
            gpus: None,
        };
        let with_gpu = flavor("modelarts.vm.gpu.1", "1 GPU, 4 vCPU, 16 GiB of memory", 4000, 32, false);
        vec![
            flavor("modelarts.vm.cpu.2u", "2 vCPU, 8 GiB of memory", 2000, 16, false),
            flavor("modelarts.vm.cpu.8u", "8 vCPU, 32 GiB of memory", 8000, 64, false),
            flavor("modelarts.vm.cpu.free", "2 vCPU, 4 GiB of memory, free of charge", 2000, 8, true),
            flavor("atelier.cpu.small", "half a vCPU, 512 MiB of memory", 500, 1, false),
            Self { gpus: FlavorGpus::of(1, None), ..with_gpu },
        ]
    }
}

/// What a host can give to all notebooks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU of the machine itself.
    pub cpu_millis: u64,
    /// Bytes of memory of the machine itself.
    pub memory_bytes: u64,
    /// How many times the CPUs may be promised.
    pub cpu_overcommit: u32,
    /// How many times the memory may be promised.
    pub memory_overcommit: u32,
}

/// What notebooks hold of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Capacity {
    /// Whether a notebook of this flavor can never run here, however empty the host is: more CPUs or memory than the
    /// machine has.
    pub fn is_too_small_for(&self, flavor: &Flavor) -> bool {
        u64::from(flavor.cpu_millis) > self.cpu_millis || flavor.memory_bytes() > self.memory_bytes
    }

    /// As much as notebooks may hold of it together.
    pub fn promised(&self) -> Held {
        Held {
            cpu_millis: self.cpu_millis.saturating_mul(self.cpu_overcommit.into()),
            memory_bytes: self.memory_bytes.saturating_mul(self.memory_overcommit.into()),
        }
    }

    /// What notebooks may hold of it beside what is held.
    pub fn free(&self, held: Held) -> Held {
        let promised = self.promised();
        Held {
            cpu_millis: promised.cpu_millis.saturating_sub(held.cpu_millis),
            memory_bytes: promised.memory_bytes.saturating_sub(held.memory_bytes),
        }
    }

    /// Whether one more notebook of this flavor fits beside what is held.
    pub fn fits(&self, held: Held, flavor: &Flavor) -> bool {
        let free = self.free(held);
        !self.is_too_small_for(flavor)
            && u64::from(flavor.cpu_millis) <= free.cpu_millis
            && flavor.memory_bytes() <= free.memory_bytes
    }

    /// The bytes of memory that must be available on this host, whatever is held, for anything to be started.
    pub const fn memory_floor(&self) -> u64 {
        self.memory_bytes / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flavor_larger_than_the_machine_never_fits() {
        let host = Capacity { cpu_millis: 2000, memory_bytes: 24 << 30, cpu_overcommit: 16, memory_overcommit: 8 };
        let fits: Vec<_> =
            Flavor::defaults().into_iter().filter(|f| host.fits(Held::default(), f)).map(|f| f.id).collect();
        assert_eq!(fits, ["modelarts.vm.cpu.2u", "modelarts.vm.cpu.free", "atelier.cpu.small"]);
    }

    #[test]
    fn promises_end_at_the_overcommitted_whole() {
        let host = Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, cpu_overcommit: 2, memory_overcommit: 2 };
        let small = &Flavor::defaults()[3];
        let held = |n: u64| Held { cpu_millis: 500 * n, memory_bytes: (512 << 20) * n };
        assert!(host.fits(held(3), small));
        assert!(!host.fits(held(4), small));
    }
}
