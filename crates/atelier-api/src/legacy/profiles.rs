//! Profiles: the legacy API's names for images.
//!
//! A profile is a name from the configuration for one image; several may name the same. An image has its own id as a
//! profile, too, so that a notebook made by the other API from any image can be shown here and be asked for again.

use atelier_core::flavor::Flavor;
use atelier_core::id::ImageId;
use atelier_core::image::{self, Image};
use atelier_core::refusal::Refusal;
use atelier_wire::legacy::{LegacyDockerParams, LegacyProfile, LegacyProvision, LegacyProvisionSpec};

/// A name for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id, which is also what people read: `Multi-Engine 1.0 (python3)-cpu`.
    pub id: String,
    /// What it is, for people.
    pub description: String,
    /// The image that it names.
    pub image_id: ImageId,
}

/// Profiles that clients ask for by habit, whether they are configured or not.
const KNOWN: [&str; 5] = [
    "Multi-Engine 1.0 (python3)-cpu",
    "Multi-Engine 1.0 (python3)-gpu",
    "Multi-Engine 2.0 (python3)",
    "Power-Engine 1.0(python3)",
    "Python3-gpu",
];

impl Profile {
    /// What there is when nothing is configured: the names that say no more than Python 3, for the built-in image. Whether
    /// a notebook has GPUs is its flavor's business, whatever the name says.
    pub fn defaults() -> Vec<Self> {
        let profile = |(id, with): (&str, &str)| Self {
            id: id.to_owned(),
            description: format!("JupyterLab with Python 3, for {with}"),
            image_id: image::BUILT_IN,
        };
        let [cpu, gpu, second, _, python] = KNOWN;
        [(cpu, "processors"), (second, "processors"), (gpu, "GPUs"), (python, "GPUs")].map(profile).into()
    }
}

/// The image that a profile stands for. A name that clients know and nobody has configured is not offered; any other is
/// a mistake.
pub(crate) fn image_of(profiles: &[Profile], id: &str) -> Result<ImageId, Refusal> {
    if let Some(profile) = profiles.iter().find(|profile| profile.id == id) {
        return Ok(profile.image_id);
    }
    if let Ok(image_id) = id.parse() {
        return Ok(image_id);
    }
    if KNOWN.contains(&id) {
        return Err(Refusal::unsupported(&format!("`profile_id` `{id}`, for which no image is configured,")));
    }
    let known: Vec<_> = profiles.iter().map(|profile| format!("`{}`", profile.id)).collect();
    Err(Refusal::bad_value("profile_id", &format!("the id of an image, or one of {}", known.join(", "))))
}

/// The profile that a notebook shows: the one that it was asked for with, as long as that still names its image; else
/// the first that does; else the image itself.
pub(crate) fn shown(profiles: &[Profile], asked: Option<&str>, image: &Image, flavor: &Flavor) -> LegacyProfile {
    let mut fitting = profiles.iter().filter(|profile| profile.image_id == image.id);
    let found = fitting.clone().find(|profile| Some(profile.id.as_str()) == asked).or_else(|| fitting.next());
    let (id, name, description) = match found {
        Some(profile) => (profile.id.clone(), short(&profile.id).to_owned(), profile.description.clone()),
        None => (image.id.to_string(), image.name.clone(), image.description.clone()),
    };
    LegacyProfile {
        id,
        name,
        description,
        de_type: super::list::NOTEBOOK.to_owned(),
        flavor_type: crate::shape::category(flavor).to_owned(),
        provision: provision(image, &flavor.id),
        labels: None,
    }
}

/// The name without its processor: `Python3` of `Python3-gpu`.
fn short(id: &str) -> &str {
    ["-cpu", "-gpu"].iter().find_map(|end| id.strip_suffix(end)).unwrap_or(id)
}

fn provision(image: &Image, flavor: &str) -> LegacyProvision {
    let params = LegacyDockerParams {
        namespace: image.namespace.clone(),
        image_name: image.name.clone(),
        image_tag: image.tag.clone(),
        annotations: None,
    };
    let annotations = [("category", "Multi-Engine"), ("flavor", flavor), ("type", "system")];
    LegacyProvision {
        kind: super::list::DOCKER.to_owned(),
        spec: LegacyProvisionSpec { engine: "CCE".to_owned(), params },
        annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::refusal::Code;

    use super::*;

    #[test]
    fn names_and_ids_lead_to_images() {
        let profiles = Profile::defaults();
        let names = profiles.iter().map(|profile| profile.id.clone());
        for id in names.chain([image::BUILT_IN.to_string()]) {
            assert_eq!(image_of(&profiles, &id), Ok(image::BUILT_IN), "{id}");
        }
        for id in ["Multi-Engine 1.0 (python3)-gpu", "Power-Engine 1.0(python3)"] {
            assert_eq!(image_of(&profiles[..2], id).unwrap_err().code(), Code::Unsupported, "{id}");
        }
        let unknown = image_of(&profiles, "Python7").unwrap_err();
        assert_eq!(unknown.code(), Code::BadValue);
        assert!(unknown.message().contains("`Multi-Engine 2.0 (python3)`"), "{unknown}");
    }

    #[test]
    fn a_notebook_shows_the_profile_of_the_image_that_it_has() {
        let (image, profiles) = (Image::built_in(None), Profile::defaults());
        let [cpu, gpu] = [0, 4].map(|at| Flavor::defaults().remove(at));
        let id = |asked| shown(&profiles, asked, &image, &cpu).id;
        assert_eq!(id(Some("Multi-Engine 2.0 (python3)")), "Multi-Engine 2.0 (python3)");
        assert_eq!(id(Some("gone from the configuration")), "Multi-Engine 1.0 (python3)-cpu");
        assert_eq!(id(None), "Multi-Engine 1.0 (python3)-cpu");
        assert_eq!(shown(&profiles, None, &image, &cpu).name, "Multi-Engine 1.0 (python3)");
        let of_gpu = shown(&profiles, Some("Python3-gpu"), &image, &gpu);
        assert_eq!((of_gpu.name.as_str(), of_gpu.flavor_type.as_str()), ("Python3", "GPU"));
        let own = shown(&[], None, &image, &cpu);
        assert_eq!((own.id, own.name), (image.id.to_string(), image.name));
    }
}
