//! `[[flavors]]`: the sizes of notebooks, a list that replaces the built-in one as a whole.

use std::num::NonZeroU32;

use atelier_core::flavor::{CUSTOM, Flavor};
use atelier_core::gpu::FlavorGpus;

use super::kinds;
use super::layer::Raw;
use super::reader::Reader;
use super::tables::{Fields, List};

pub(super) const FLAVORS: List = List {
    name: "flavors",
    item: "flavor",
    keys: &["id", "description", "cpu_millis", "memory_mib", "free", "gpus", "gpu_type"],
};
/// The longest name of a product, in characters.
const MOST_GPU_TYPE: usize = 96;

pub(super) fn read(reader: &mut Reader) -> Vec<Flavor> {
    FLAVORS.read(reader, flavor, |flavor| &flavor.id).unwrap_or_else(Flavor::defaults)
}

pub(super) fn flavor(fields: &mut Fields<'_>) -> Option<Flavor> {
    let id = fields.take("id", "1 to 64 letters, digits, `.`, `-` or `_`", id);
    let description = fields.take_or("description", String::new(), "a text", kinds::text);
    let (cpu_millis, memory_mib) = size(fields);
    let free = fields.take_or("free", false, "true or false", kinds::boolean);
    let gpus = gpus(fields);
    let (cpu_millis, memory_mib) = (cpu_millis?, memory_mib?);
    Some(Flavor { id: id?, description: description?, cpu_millis, memory_mib, free: free?, gpus })
}

/// `gpus` and `gpu_type`; none also where they are wrong, which is told of the whole flavor.
fn gpus(fields: &mut Fields<'_>) -> Option<FlavorGpus> {
    let count = fields.take_or("gpus", 0, "a whole number, 0 to 1024", kinds::integer(0..=1024))?;
    let wanted = format!("the name of a product, a text of at most {MOST_GPU_TYPE} characters");
    let kind = fields.take_or("gpu_type", None, &wanted, |raw| kinds::line(MOST_GPU_TYPE)(raw).map(Some))?;
    let count = NonZeroU32::new(count);
    if count.is_none() && kind.is_some() {
        fields.refuse("gpu_type", "`gpu_type` of a flavor needs `gpus`, how many of them it has".to_owned());
    }
    count.map(|count| FlavorGpus { count, kind })
}

/// `cpu_millis` and `memory_mib`, of a flavor or a share.
pub(super) fn size<T: TryFrom<i64>>(fields: &mut Fields<'_>) -> (Option<T>, Option<u64>) {
    let cpu_millis = fields.take("cpu_millis", "thousandths of a CPU, 10 to 1024000", kinds::integer(10..=1_024_000));
    let memory_mib = fields.take("memory_mib", "a number of MiB, 64 to 67108864", kinds::integer(64..=67_108_864));
    (cpu_millis, memory_mib)
}

fn id(raw: &Raw) -> Option<String> {
    // That one stands for all sizes that notebooks say themselves.
    kinds::text(raw).filter(|text| text != CUSTOM).filter(|text| {
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    })
}
