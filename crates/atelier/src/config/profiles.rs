//! `[[profiles]]`: the names that the legacy API has for images, a list that replaces the built-in one as a whole.

use atelier_api::Profile;
use atelier_core::id::ImageId;

use super::kinds;
use super::layer::Raw;
use super::reader::Reader;
use super::tables::{Fields, List};

const PROFILES: List = List { name: "profiles", item: "profile", keys: &["id", "description", "image"] };
/// The longest id, in characters.
const MOST_ID: usize = 128;

pub(super) fn read(reader: &mut Reader) -> Vec<Profile> {
    PROFILES.read(reader, profile, |profile| &profile.id).unwrap_or_else(Profile::defaults)
}

fn profile(fields: &mut Fields<'_>) -> Option<Profile> {
    let id = fields.take("id", &format!("a text of at most {MOST_ID} characters"), kinds::line(MOST_ID));
    let description = fields.take_or("description", String::new(), "a text", kinds::text);
    let image_id = fields.take("image", "the id of an image, a UUID", image);
    Some(Profile { id: id?, description: description?, image_id: image_id? })
}

fn image(raw: &Raw) -> Option<ImageId> {
    kinds::text(raw).and_then(|text| text.parse().ok())
}
