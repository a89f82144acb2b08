//! `[[flavors]]`: the sizes of notebooks, a list that replaces the built-in one as a whole.

use atelier_core::flavor::{CUSTOM, Flavor};

use super::kinds;
use super::layer::Raw;
use super::reader::Reader;
use super::tables::{Fields, List};

pub(super) const FLAVORS: List =
    List { name: "flavors", item: "flavor", keys: &["id", "description", "cpu_millis", "memory_mib", "free"] };

pub(super) fn read(reader: &mut Reader) -> Vec<Flavor> {
    FLAVORS.read(reader, flavor, |flavor| &flavor.id).unwrap_or_else(Flavor::defaults)
}

pub(super) fn flavor(fields: &mut Fields<'_>) -> Option<Flavor> {
    let id = fields.take("id", "1 to 64 letters, digits, `.`, `-` or `_`", id);
    let description = fields.take_or("description", String::new(), "a text", kinds::text);
    let (cpu_millis, memory_mib) = size(fields);
    let free = fields.take_or("free", false, "true or false", kinds::boolean);
    Some(Flavor { id: id?, description: description?, cpu_millis: cpu_millis?, memory_mib: memory_mib?, free: free? })
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
