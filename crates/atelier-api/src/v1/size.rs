//! How large a notebook is to be: `flavor`, or in a pool `custom_spec`.
//!
//! One notebook has one size. Who reads a notebook and sends it back says `custom_spec` together with the flavor that
//! stands for it; any other flavor beside it is a contradiction, and refused.

use atelier_core::flavor::{CUSTOM, CustomSpec};
use atelier_core::refusal::Refusal;
use atelier_engine::Size;

use crate::fields::Fields;
use crate::shape;

/// Fields of `custom_spec` that this server does not offer: GPUs come with flavors, and there is one kind of node.
const NOT_OFFERED: [&str; 3] = ["gpu", "gpu_type", "resource_flavor"];
const LEAST_CPU: &str = "0.4 or more CPUs, with at most 2 decimals";
const LEAST_MEMORY: &str = "513 or more MiB, a whole number";

/// The size that a body asks for, if it does. `list` is the operation that shows the flavors.
pub(crate) fn read(fields: &Fields, list: &str) -> Result<Option<Size>, Refusal> {
    let flavor = fields.text("flavor")?;
    let Some(spec) = fields.object("custom_spec")? else {
        return match flavor {
            Some("") => Err(Refusal::bad_value("flavor", &format!("the id of a flavor; see {list}"))),
            flavor => Ok(flavor.map(|id| Size::Flavor(id.to_owned()))),
        };
    };
    let spec = custom(&spec)?;
    match flavor {
        None | Some("" | CUSTOM) => Ok(Some(Size::Custom(spec))),
        Some(_) => Err(Refusal::bad_value("flavor", &format!("absent or `{CUSTOM}` beside `custom_spec`"))),
    }
}

fn custom(spec: &Fields) -> Result<CustomSpec, Refusal> {
    NOT_OFFERED.iter().try_for_each(|name| spec.refuse(name))?;
    let (cpu, memory) = (spec.number("cpu")?, spec.number("memory")?);
    let cpu = cpu.ok_or_else(|| Refusal::missing(&spec.path_of("cpu")))?;
    let memory = memory.ok_or_else(|| Refusal::missing(&spec.path_of("memory")))?;
    let arch = spec.word("arch", &["x86_64", "aarch64"])?.filter(|arch| *arch != shape::arch());
    let category = spec.word("category", &["CPU", "GPU", "ASCEND"])?.filter(|category| *category != shape::CPU);
    for (name, other) in [("arch", arch), ("category", category)] {
        if let Some(other) = other {
            return Err(Refusal::unsupported(&format!("`{}` {other}", spec.path_of(name))));
        }
    }
    let cpu_millis = cpu_millis(cpu).ok_or_else(|| Refusal::bad_value(&spec.path_of("cpu"), LEAST_CPU))?;
    let memory_mib = memory_mib(memory).ok_or_else(|| Refusal::bad_value(&spec.path_of("memory"), LEAST_MEMORY))?;
    Ok(CustomSpec { cpu_millis, memory_mib })
}

/// Thousandths of a CPU. More than there can be is the most that there can be, for the pool to refuse.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and a cast of a float saturates, which is what is wanted"
)]
fn cpu_millis(cpus: f64) -> Option<u32> {
    let hundredths = (cpus * 100.0).round();
    // A number with two decimals is seldom a float, but it is the float that is nearest to it.
    let has_two_decimals = (hundredths / 100.0 - cpus).abs() <= cpus.abs() * f64::EPSILON;
    (has_two_decimals && hundredths >= 40.0).then_some((hundredths * 10.0) as u32)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and a cast of a float saturates, which is what is wanted"
)]
fn memory_mib(mib: f64) -> Option<u64> {
    (mib >= 513.0 && mib.fract() == 0.0).then_some(mib as u64)
}

#[cfg(test)]
mod tests {
    use atelier_core::refusal::Code;
    use serde_json::{Value, json};

    use super::*;

    fn size(body: &Value) -> Result<Option<Size>, (Code, String)> {
        let fields = Fields::of_body(body.to_string().as_bytes()).unwrap();
        read(&fields, "ListFlavors").map_err(|refusal| (refusal.code(), refusal.message().to_owned()))
    }

    #[test]
    fn a_size_is_a_flavor_or_a_custom_one() {
        assert_eq!(size(&json!({})), Ok(None));
        assert_eq!(size(&json!({"flavor": "f"})), Ok(Some(Size::Flavor("f".into()))));
        let of = |cpu_millis, memory_mib| Ok(Some(Size::Custom(CustomSpec { cpu_millis, memory_mib })));
        for (spec, size_of_it) in [
            (json!({"cpu": 0.4, "memory": 513}), of(400, 513)),
            (json!({"cpu": 1, "memory": 1024.0, "arch": shape::arch().to_uppercase()}), of(1000, 1024)),
            (json!({"cpu": 2.29, "memory": 9_999_999_999_u64, "category": "cpu"}), of(2290, 9_999_999_999)),
            (json!({"cpu": 9_999_999_999.99, "memory": 1e300, "gpu_type": ""}), of(u32::MAX, u64::MAX)),
        ] {
            assert_eq!(size(&json!({"custom_spec": spec})), size_of_it, "{spec}");
            assert_eq!(size(&json!({"custom_spec": spec, "flavor": CUSTOM})), size_of_it, "{spec}");
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        let right = json!({"cpu": 1, "memory": 600});
        for (changes, code, named) in [
            (json!({"cpu": null}), Code::FieldMissing, "`custom_spec.cpu`"),
            (json!({"memory": null}), Code::FieldMissing, "`custom_spec.memory`"),
            (json!({"cpu": "1"}), Code::WrongType, "`custom_spec.cpu`"),
            (json!({"cpu": 0.39}), Code::BadValue, "`custom_spec.cpu`"),
            (json!({"cpu": -1}), Code::BadValue, "`custom_spec.cpu`"),
            (json!({"cpu": 1.005}), Code::BadValue, "at most 2 decimals"),
            (json!({"memory": 512}), Code::BadValue, "`custom_spec.memory`"),
            (json!({"memory": 600.5}), Code::BadValue, "a whole number"),
            (json!({"gpu": 1}), Code::Unsupported, "`custom_spec.gpu`"),
            (json!({"gpu_type": "V100"}), Code::Unsupported, "`custom_spec.gpu_type`"),
            (json!({"resource_flavor": "large"}), Code::Unsupported, "`custom_spec.resource_flavor`"),
            (json!({"category": "GPU"}), Code::Unsupported, "`custom_spec.category` GPU"),
            (json!({"arch": "risc"}), Code::BadValue, "`custom_spec.arch`"),
        ] {
            let mut spec = right.clone();
            spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let (found, message) = size(&json!({"custom_spec": spec})).unwrap_err();
            assert_eq!(found, code, "{message}");
            assert!(message.contains(named), "{message}");
        }
        let (code, message) = size(&json!({"custom_spec": right, "flavor": "f"})).unwrap_err();
        assert!(code == Code::BadValue && message.starts_with("`flavor`"), "{message}");
        assert_eq!(size(&json!({"flavor": ""})).unwrap_err().0, Code::BadValue);
    }
}
