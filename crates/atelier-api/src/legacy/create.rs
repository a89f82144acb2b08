//! What bodies of the legacy API ask for: a new instance, or a change of one.
//!
//! The order is that of the other API: the form of the body, then its fields one by one. Storage has codes of its own,
//! and object storage is first checked as if it were offered: who names a bucket's root has made a mistake that would be
//! one anywhere.

use atelier_core::auto_stop::AutoStop;
use atelier_core::feature::Feature;
use atelier_core::hook::Hooks;
use atelier_core::lease::GrantRange;
use atelier_core::limits::{MAX_VOLUME_GIB, MIN_VOLUME_GIB};
use atelier_core::notebook::{LegacyWords, check_description};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::tags::Tags;
use atelier_core::volume::MOUNT_PATH;
use atelier_engine::{CreateNotebook, InstanceChange, NewVolume, Size};

use crate::fields::Fields;
use crate::legacy::auto_stop;
use crate::legacy::list::AI_PROJECT;
use crate::legacy::profiles::{self, Profile};
use crate::query::unknown_workspace;

/// The longest name of an instance, in characters; the other API allows more.
const MOST_NAME: usize = 64;
/// What kind of pools there are.
pub(crate) const USER_DEFINED: &str = "USER_DEFINED";
/// Fields of the contract that this server does not offer, inside `spec`.
pub(crate) const NOT_OFFERED_IN_SPEC: [&str; 2] = ["extend_storage", "annotations"];

/// Reads the body of `CreateDevEnvironInstance`.
pub(crate) fn parse(body: &[u8], grants: &GrantRange, profiles: &[Profile]) -> Result<CreateNotebook, Refusal> {
    let fields = Fields::of_body(body)?;
    let name = fields.required_text("name")?.to_owned();
    check_name(&name)?;
    let profile_id = fields.required_text("profile_id")?.to_owned();
    let image_id = profiles::image_of(profiles, &profile_id)?;
    let description = fields.text("description")?.unwrap_or_default().to_owned();
    check_description(&description)?;
    let flavor_id = flavor(&fields)?;
    let pool_id = pool(&fields)?;
    let spec = fields.required_object("spec")?;
    NOT_OFFERED_IN_SPEC.iter().try_for_each(|name| spec.refuse(name))?;
    let volume = NewVolume::Own { capacity_gib: storage(&spec)? };
    let auto_stop = auto_stop::of(&spec, grants)?.unwrap_or_default();
    ai_project(&fields)?;
    let workspace_id = workspace(&fields)?;
    let terms = auto_stop.terms(AutoStop::NONE);
    Ok(CreateNotebook {
        name,
        description,
        feature: Feature::Notebook,
        tags: Tags::none(),
        size: Size::Flavor(flavor_id),
        pool_id,
        image_id,
        volume,
        hooks: Hooks::default(),
        grant: terms.grant,
        lease_kind: terms.kind,
        workspace_id,
        legacy: LegacyWords { profile_id: Some(profile_id), prompt: auto_stop.prompt.unwrap_or(true) },
    })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().count() > MOST_NAME {
        return Err(Refusal::bad_value("name", &format!("1 to {MOST_NAME} characters long")));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        None => Ok(()),
        Some(c) => {
            let message = format!("`name` may hold letters, digits, `-` and `_`, not {c:?}");
            Err(Refusal::new(Code::ForbiddenCharacter, message))
        }
    }
}

fn flavor(fields: &Fields) -> Result<String, Refusal> {
    match fields.required_text("flavor")? {
        "" => Err(Refusal::bad_value("flavor", "the id of a flavor; see ListFlavors")),
        id => Ok(id.to_owned()),
    }
}

/// The id of a pool. What the pool is called is not asked for: that follows from its id, and whoever sends back what they
/// were shown says it too.
fn pool(fields: &Fields) -> Result<Option<String>, Refusal> {
    let Some(pool) = fields.object("pool")? else { return Ok(None) };
    pool.refuse("owner")?;
    pool.text("name")?;
    match pool.text("type")? {
        None | Some("" | USER_DEFINED) => {}
        Some(_) => {
            return Err(Refusal::unsupported(&format!("a `{}` other than {USER_DEFINED}", pool.path_of("type"))));
        }
    }
    Ok(Some(pool.required_text("id")?).filter(|id| !id.is_empty()).map(str::to_owned))
}

/// The size of the volume.
fn storage(spec: &Fields) -> Result<u32, Refusal> {
    let path = spec.path_of("storage");
    let missing = || Refusal::new(Code::StorageMissing, format!("`{path}` is required: where files are to be kept"));
    let storage = spec.object("storage")?.ok_or_else(missing)?;
    let kind = storage.word("type", &["obs", "evs", "efs", "obsfs"])?;
    match kind.ok_or_else(|| Refusal::missing(&storage.path_of("type")))? {
        "evs" => match storage.object("location")? {
            Some(location) => volume(&location),
            None => Ok(MIN_VOLUME_GIB),
        },
        "obs" => Err(object_storage(&storage)?),
        other => Err(Refusal::unsupported(&format!("`{}` {other}", storage.path_of("type")))),
    }
}

fn volume(location: &Fields) -> Result<u32, Refusal> {
    match location.text("path")? {
        None | Some("") => {}
        Some(path) if path.trim_end_matches('/') == MOUNT_PATH.trim_end_matches('/') => {}
        Some(_) => {
            let path = location.path_of("path");
            return Err(Refusal::unsupported(&format!("a `{path}` other than {MOUNT_PATH} of storage evs")));
        }
    }
    location.word("volume_unit", &["GB"])?;
    let Some(asked) = location.integer("volume_size")? else { return Ok(MIN_VOLUME_GIB) };
    match u32::try_from(asked) {
        Ok(gib) if (MIN_VOLUME_GIB..=MAX_VOLUME_GIB).contains(&gib) => Ok(gib),
        _ => {
            let path = location.path_of("volume_size");
            let message = format!("`{path}` must be {MIN_VOLUME_GIB} to {MAX_VOLUME_GIB} GB");
            Err(Refusal::new(Code::VolumeSizeOutOfRange, message))
        }
    }
}

/// Why object storage is refused: for a mistake in its path, else because it is not offered.
fn object_storage(storage: &Fields) -> Result<Refusal, Refusal> {
    let location = storage.object("location")?;
    let path = location.as_ref().map(|location| location.text("path")).transpose()?.flatten().unwrap_or_default();
    let field = format!("{}.path", storage.path_of("location"));
    let bucket_and_rest = path.strip_prefix("obs://").unwrap_or(path).trim_start_matches('/');
    Ok(if path.is_empty() {
        Refusal::new(Code::StoragePathMissing, format!("`{field}` is required: a folder in a bucket"))
    } else if !path.ends_with('/') {
        Refusal::new(Code::StoragePathWithoutSlash, format!("`{field}` must end in a slash: it names a folder"))
    } else if bucket_and_rest.trim_end_matches('/').split('/').count() < 2 {
        Refusal::new(Code::BucketRoot, format!("`{field}` must be a folder in a bucket, not the bucket itself"))
    } else {
        Refusal::unsupported(&format!("`{}` obs", storage.path_of("type")))
    })
}

/// Reserved in the contract; saying what it is anyway is no mistake.
fn ai_project(fields: &Fields) -> Result<(), Refusal> {
    let Some(project) = fields.object("ai_project")? else { return Ok(()) };
    match project.text("id")? {
        None | Some("" | AI_PROJECT) => Ok(()),
        Some(_) => Err(Refusal::unsupported(&format!("an `{}` other than {AI_PROJECT}", project.path_of("id")))),
    }
}

fn workspace(fields: &Fields) -> Result<String, Refusal> {
    let Some(workspace) = fields.object("workspace")? else { return Ok("0".to_owned()) };
    match workspace.text("id")? {
        None | Some("" | "0") => Ok("0".to_owned()),
        Some(id) => Err(unknown_workspace("workspace.id", id)),
    }
}

/// Reads the body of `UpdateDevEnvironInstance`. The automatic stop stands in `spec`, or beside it: some clients say
/// it there. Saying two different things is a mistake.
pub(crate) fn parse_change(body: &[u8], grants: &GrantRange) -> Result<InstanceChange, Refusal> {
    let fields = Fields::of_body(body)?;
    let description = fields.text("description")?.map(str::to_owned);
    description.as_deref().map_or(Ok(()), check_description)?;
    let spec = fields.object("spec")?;
    let inside = spec.map(|spec| auto_stop::of(&spec, grants)).transpose()?.flatten();
    let beside = auto_stop::of(&fields, grants)?;
    if inside.is_some() && beside.is_some() && inside != beside {
        return Err(Refusal::bad_value("auto_stop", "absent, or the same as `spec.auto_stop`"));
    }
    Ok(InstanceChange { description, auto_stop: inside.or(beside) })
}
#[cfg(test)]
mod tests {
    use atelier_core::lease::{Grant, LeaseKind};
    use serde_json::{Value, json};

    use super::*;

    fn with(changes: &Value) -> Result<CreateNotebook, (Code, String)> {
        let mut body = json!({
            "name": "nb", "profile_id": "Multi-Engine 2.0 (python3)", "flavor": "f",
            "spec": {"storage": {"type": "evs"}},
        });
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        parse(body.to_string().as_bytes(), &GrantRange::CONTRACT, &Profile::defaults())
            .map_err(|refusal| (refusal.code(), refusal.message().to_owned()))
    }

    fn storage(storage: &Value) -> Result<NewVolume, Code> {
        with(&json!({"spec": {"storage": storage}})).map(|new| new.volume).map_err(|(code, _)| code)
    }

    #[test]
    fn the_least_body_is_never_stopped_and_has_the_smallest_volume() {
        let new = with(&json!({})).unwrap();
        assert_eq!((new.grant, new.lease_kind), (Grant::Never, LeaseKind::Timing));
        assert_eq!(new.volume, NewVolume::Own { capacity_gib: 5 });
        let profile_id = Some("Multi-Engine 2.0 (python3)".to_owned());
        assert_eq!(new.legacy, LegacyWords { profile_id, prompt: true });
        assert_eq!((new.image_id, new.workspace_id.as_str()), (atelier_core::image::BUILT_IN, "0"));
    }

    #[test]
    fn what_otcextensions_sends_is_understood() {
        let new = with(&json!({
            "description": "d", "workspace": {"id": "0"}, "annotations": {"ignored": "here"},
            "spec": {
                "storage": {"type": "EVS", "location": {"path": "/home/ma-user/work", "volume_size": 20, "volume_unit": "GB"}},
                "auto_stop": {"enable": true, "duration": 7200, "prompt": false}, "extended_storage": {"type": "obsfs"},
            },
        }))
        .unwrap();
        assert_eq!((new.grant, new.legacy.prompt), (Grant::Millis(7_200_000), false));
        assert_eq!(new.volume, NewVolume::Own { capacity_gib: 20 });
    }

    #[test]
    fn storage_has_codes_of_its_own() {
        assert_eq!(with(&json!({"spec": {}})).unwrap_err().0, Code::StorageMissing);
        assert_eq!(
            storage(&json!({"type": "evs", "location": {"volume_size": 4096}})),
            Ok(NewVolume::Own { capacity_gib: 4096 })
        );
        for (value, code) in [
            (json!({}), Code::FieldMissing),
            (json!({"type": "tape"}), Code::BadValue),
            (json!({"type": "efs"}), Code::Unsupported),
            (json!({"type": "evs", "location": {"volume_size": 4}}), Code::VolumeSizeOutOfRange),
            (json!({"type": "evs", "location": {"volume_size": 4097}}), Code::VolumeSizeOutOfRange),
            (json!({"type": "evs", "location": {"volume_unit": "TB"}}), Code::BadValue),
            (json!({"type": "evs", "location": {"path": "/data"}}), Code::Unsupported),
            (json!({"type": "obs"}), Code::StoragePathMissing),
            (json!({"type": "obs", "location": {"path": ""}}), Code::StoragePathMissing),
            (json!({"type": "obs", "location": {"path": "/bucket/folder"}}), Code::StoragePathWithoutSlash),
            (json!({"type": "obs", "location": {"path": "/bucket/"}}), Code::BucketRoot),
            (json!({"type": "obs", "location": {"path": "obs://bucket/"}}), Code::BucketRoot),
            (json!({"type": "obs", "location": {"path": "/"}}), Code::BucketRoot),
            (json!({"type": "obs", "location": {"path": "obs://bucket/folder/"}}), Code::Unsupported),
            (json!({"type": "obs", "location": {"path": "/bucket/folder/"}}), Code::Unsupported),
        ] {
            assert_eq!(storage(&value), Err(code), "{value}");
        }
    }

    #[test]
    fn names_are_shorter_and_simpler_than_the_other_api_s() {
        assert!(with(&json!({"name": "a-B_1".to_owned() + &"x".repeat(59)})).is_ok());
        assert_eq!(with(&json!({"name": "x".repeat(65)})).unwrap_err().0, Code::BadValue);
        assert_eq!(with(&json!({"name": "笔记本"})).unwrap_err().0, Code::ForbiddenCharacter);
    }

    #[test]
    fn a_change_is_read_from_either_place() {
        let read = |body: Value| parse_change(body.to_string().as_bytes(), &GrantRange::CONTRACT).map_err(|r| r.code());
        let on = AutoStop { enable: Some(true), duration_ms: Some(3_600_000), prompt: None };
        let said = json!({"enable": true, "duration": 3600});
        for body in [
            json!({"spec": {"auto_stop": said}}),
            json!({"auto_stop": said}),
            json!({"auto_stop": said, "spec": {"auto_stop": said}}),
        ] {
            assert_eq!(read(body.clone()).unwrap().auto_stop, Some(on), "{body}");
        }
        let two = json!({"auto_stop": said, "spec": {"auto_stop": {"enable": false}}});
        assert_eq!(read(two).unwrap_err(), Code::BadValue);
        assert_eq!(read(json!({"description": ""})).unwrap().description.as_deref(), Some(""));
        assert_eq!(read(json!({"description": "<"})).unwrap_err(), Code::ForbiddenCharacter);
        assert_eq!(read(json!({})), Ok(InstanceChange::default()));
    }
}
