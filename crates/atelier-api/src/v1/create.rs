//! What a body of `CreateNotebook` asks for.
//!
//! The order follows the contract: the form of the body, then its fields one by one, then the workspace, then the
//! volume's size; the engine goes on with image, flavor and quota. Within an object, what this server does not offer is
//! refused first: "`custom_spec.gpu` is not supported" helps more than "`custom_spec.cpu` is required".

use atelier_core::feature::Feature;
use atelier_core::id::{ImageId, VolumeId};
use atelier_core::lease::{Grant, GrantRange, LeaseKind};
use atelier_core::limits::{MAX_VOLUME_GIB, MIN_VOLUME_GIB};
use atelier_core::notebook::{LegacyWords, check_description, check_name};
use atelier_core::refusal::{Code, Refusal};
use atelier_core::tags::Tags;
use atelier_core::volume::{MOUNT_PATH, NotAShareUri};
use atelier_engine::{CreateNotebook, NewVolume};

use crate::fields::Fields;
use crate::query::unknown_workspace;
use crate::v1::{hooks, lease, size, tags};

/// Fields of the contract that this server does not offer. None of them is ever kept and then ignored.
pub(crate) const NOT_OFFERED: [&str; 5] = ["data_volumes", "affinity", "run_user", "user_vpc", "public_network_config"];

/// The same, inside an item of `endpoints`: they belong to SSH.
pub(crate) const NOT_OFFERED_IN_ENDPOINT: [&str; 3] = ["key_pair_names", "ssh_keys", "allowed_access_ips"];

/// Reads the body.
pub(crate) fn parse(body: &[u8], grants: &GrantRange) -> Result<CreateNotebook, Refusal> {
    let fields = Fields::of_body(body)?;
    NOT_OFFERED.iter().try_for_each(|name| fields.refuse(name))?;
    let name = fields.required_text("name")?.to_owned();
    check_name(&name)?;
    let description = fields.text("description")?.unwrap_or_default().to_owned();
    check_description(&description)?;
    let feature = feature(&fields)?;
    let tags = Tags::new(tags::read(&fields)?)?;
    let size = size::read(&fields, "ListFlavors")?.ok_or_else(|| Refusal::missing("flavor"))?;
    let pool_id = fields.text("pool_id")?.filter(|id| !id.is_empty()).map(str::to_owned);
    let image_id = image(&fields)?;
    let volume_fields = fields.required_object("volume")?;
    let volume = volume(&volume_fields, pool_id.is_some())?;
    let capacity = volume_fields.integer("capacity")?;
    endpoints(&fields)?;
    let hooks = hooks::read(&fields)?.unwrap_or_default();
    let (grant, lease_kind) = grant(&fields, grants)?;
    let workspace_id = workspace(&fields)?;
    let volume = sized(volume, &volume_fields, capacity)?;
    Ok(CreateNotebook {
        name,
        description,
        feature,
        tags,
        size,
        pool_id,
        image_id,
        volume,
        hooks,
        grant,
        lease_kind,
        workspace_id,
        legacy: LegacyWords::default(),
    })
}

fn feature(fields: &Fields) -> Result<Feature, Refusal> {
    let word = fields.word("feature", &Feature::ALL.map(Feature::as_str))?;
    Ok(word.and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// `image_id`; some clients say `image: {id}`.
fn image(fields: &Fields) -> Result<ImageId, Refusal> {
    let nested = if fields.has("image_id") { None } else { fields.object("image")? };
    let (path, text) = match &nested {
        Some(image) => ("image.id", image.required_text("id")?),
        None => ("image_id", fields.required_text("image_id")?),
    };
    image_id(path, text)
}

/// The id of an image.
pub(crate) fn image_id(path: &str, text: &str) -> Result<ImageId, Refusal> {
    text.parse().map_err(|_| Refusal::bad_value(path, "a UUID; see ListImage"))
}

/// Which volume it is to be; its size is left open.
fn volume(volume: &Fields, in_pool: bool) -> Result<NewVolume, Refusal> {
    volume.refuse("dew_secret_name")?;
    let category = volume.word("category", &["EVS", "EFS", "SFS", "OBS", "OBSFS"])?;
    let category = category.ok_or_else(|| Refusal::missing("volume.category"))?;
    let ownership = volume.word("ownership", &["MANAGED", "DEDICATED"])?;
    let ownership = ownership.ok_or_else(|| Refusal::missing("volume.ownership"));
    let wanted = match category {
        "EVS" => match ownership? {
            "MANAGED" => NewVolume::Own { capacity_gib: MIN_VOLUME_GIB },
            other => return Err(Refusal::unsupported(&format!("`volume.ownership` {other} of category EVS"))),
        },
        // Two names of one thing.
        "EFS" | "SFS" => match ownership? {
            "MANAGED" => NewVolume::Shared { capacity_gib: None },
            _ => dedicated(volume, in_pool)?,
        },
        other => return Err(Refusal::unsupported(&format!("`volume.category` {other}"))),
    };
    if !matches!(wanted, NewVolume::Dedicated { .. }) {
        ["uri", "id"].iter().try_for_each(|name| volume.text(name).and_then(|_| volume.refuse(name)))?;
    }
    if volume.flag("read_only")? == Some(true) {
        return Err(Refusal::unsupported("`volume.read_only` true"));
    }
    mount_path(volume)?;
    Ok(wanted)
}

/// A folder of the operator's: for notebooks in pools, as in the contract.
fn dedicated(volume: &Fields, in_pool: bool) -> Result<NewVolume, Refusal> {
    let (uri, id) = (volume.required_text("uri")?, volume.required_text("id")?);
    let uri = uri.parse().map_err(|e: NotAShareUri| Refusal::bad_value("volume.uri", &e.to_string()))?;
    // Answers show it as it came.
    let same = id.parse().ok().filter(|read: &VolumeId| read.to_string() == id);
    let id = same.ok_or_else(|| Refusal::bad_value("volume.id", "a UUID in lower case"))?;
    if !in_pool {
        let message = "`pool_id` is required: volumes of `volume.ownership` DEDICATED are for notebooks in pools";
        return Err(Refusal::new(Code::FieldMissing, message));
    }
    Ok(NewVolume::Dedicated { id, uri })
}

/// The place is fixed; saying so is no mistake.
fn mount_path(volume: &Fields) -> Result<(), Refusal> {
    match volume.text("mount_path")? {
        None | Some("") => Ok(()),
        Some(path) if path.trim_end_matches('/') == MOUNT_PATH.trim_end_matches('/') => Ok(()),
        Some(_) => Err(Refusal::unsupported(&format!("a `volume.mount_path` other than {MOUNT_PATH}"))),
    }
}

/// The volume in the size that was asked for.
fn sized(volume: NewVolume, fields: &Fields, capacity: Option<i64>) -> Result<NewVolume, Refusal> {
    let Some(asked) = capacity else { return Ok(volume) };
    let capacity_gib = volume_size(&fields.path_of("capacity"), asked)?;
    match volume {
        NewVolume::Own { .. } => Ok(NewVolume::Own { capacity_gib }),
        NewVolume::Shared { .. } => Ok(NewVolume::Shared { capacity_gib: Some(capacity_gib) }),
        NewVolume::Dedicated { .. } => Err(Refusal::unsupported(
            "`volume.capacity` with `volume.ownership` DEDICATED, whose size is the operator's,",
        )),
    }
}

/// A size that volumes can have.
pub(crate) fn volume_size(path: &str, asked: i64) -> Result<u32, Refusal> {
    match u32::try_from(asked) {
        Ok(gib) if (MIN_VOLUME_GIB..=MAX_VOLUME_GIB).contains(&gib) => Ok(gib),
        _ => {
            let message = format!("`{path}` must be {MIN_VOLUME_GIB} to {MAX_VOLUME_GIB} GB");
            Err(Refusal::new(Code::VolumeSizeOutOfRange, message))
        }
    }
}

/// A notebook always has the endpoint NOTEBOOK and, here, no other.
pub(crate) fn endpoints(fields: &Fields) -> Result<(), Refusal> {
    for endpoint in fields.objects("endpoints")? {
        NOT_OFFERED_IN_ENDPOINT.iter().try_for_each(|name| endpoint.refuse(name))?;
        let mut named = false;
        for name in ["service", "dev_service"] {
            match endpoint.word(name, &["NOTEBOOK", "SSH", "AI_FLOW"])? {
                None => {}
                Some("NOTEBOOK") => named = true,
                Some(other) => return Err(Refusal::unsupported(&format!("`{}` {other}", endpoint.path_of(name)))),
            }
        }
        if !named {
            return Err(Refusal::missing(&endpoint.path_of("service")));
        }
    }
    Ok(())
}

/// `duration` wins over `lease`, which then only has to be one.
fn grant(fields: &Fields, grants: &GrantRange) -> Result<(Grant, LeaseKind), Refusal> {
    if let Some(asked) = fields.integer("duration")? {
        fields.object("lease")?.as_ref().map_or(Ok(()), lease::check_types)?;
        return Ok((lease::grant(grants, asked, "`duration`")?, LeaseKind::Timing));
    }
    match fields.object("lease")? {
        None => Ok((grants.default_grant(), LeaseKind::Timing)),
        Some(lease) => lease::parse(&lease, grants),
    }
}

fn workspace(fields: &Fields) -> Result<String, Refusal> {
    let well_formed = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    match fields.text("workspace_id")? {
        None | Some("0") => Ok("0".to_owned()),
        Some(id) if well_formed(id) => Err(unknown_workspace("workspace_id", id)),
        Some(_) => Err(Refusal::bad_value("workspace_id", "`0` or 32 characters 0-9 a-z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const IMAGE: &str = "e1a07296-22a8-4f05-8bc8-e936c8e54090";

    fn body() -> Value {
        json!({
            "name": "nb", "flavor": "f", "image_id": IMAGE,
            "volume": {"category": "EVS", "ownership": "MANAGED"},
        })
    }

    fn with(changes: &Value) -> Result<CreateNotebook, Refusal> {
        let mut body = body();
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        parse(body.to_string().as_bytes(), &GrantRange::CONTRACT)
    }

    fn refused(changes: &Value) -> (Code, String) {
        let refusal = with(changes).unwrap_err();
        (refusal.code(), refusal.message().to_owned())
    }

    #[test]
    fn the_least_body_gets_the_documented_defaults() {
        let new = with(&json!({})).unwrap();
        assert_eq!((new.grant, new.lease_kind), (Grant::Millis(3_600_000), LeaseKind::Timing));
        assert_eq!(new.volume, NewVolume::Own { capacity_gib: 5 });
        assert_eq!((new.description.as_str(), new.workspace_id.as_str()), ("", "0"));
        assert_eq!(new.image_id, atelier_core::image::BUILT_IN);
    }

    #[test]
    fn the_spellings_of_other_clients_are_understood() {
        let new = with(&json!({
            "image_id": null, "image": {"id": IMAGE}, "feature": "Notebook",
            "lease": {"type": "timing", "duration": 7_200_000, "enable": true},
            "volume": {"category": "evs", "ownership": "managed", "capacity": 20, "read_only": false,
                       "mount_path": "/home/ma-user/work", "uri": "", "dew_secret_name": null},
            "endpoints": [{"service": "notebook", "key_pair_names": []}, {"dev_service": "NOTEBOOK"}],
            "pool_id": "", "hooks": {}, "data_volumes": [], "something_else": 7,
        }))
        .unwrap();
        assert_eq!((new.volume, new.grant), (NewVolume::Own { capacity_gib: 20 }, Grant::Millis(7_200_000)));
    }

    #[test]
    fn duration_wins_over_a_lease_of_any_kind() {
        assert_eq!(refused(&json!({"duration": -1, "lease": {"type": 7}})).0, Code::WrongType);
        let new = with(&json!({"duration": -1, "lease": {"type": "IDLE", "duration": 1}})).unwrap();
        assert_eq!((new.grant, new.lease_kind), (Grant::Never, LeaseKind::Timing));
        let (code, message) = refused(&json!({"duration": 0}));
        assert_eq!(code, Code::LeaseOutOfRange);
        assert!(message.contains("`duration`") && message.contains("3600000"), "{message}");
        let (code, message) = refused(&json!({"lease": {"duration": 1}}));
        assert_eq!(code, Code::LeaseOutOfRange);
        assert!(message.contains("`lease.duration`"), "{message}");
    }

    #[test]
    fn tags_and_the_free_feature_are_taken() {
        let new = with(&json!({"feature": "default", "tags": [{"key": "team", "value": "a"}, {"key": "x"}]})).unwrap();
        assert_eq!(new.feature, Feature::Free);
        assert_eq!(new.tags.iter().collect::<Vec<_>>(), [("team", "a"), ("x", "")]);
        let (code, message) = refused(&json!({"tags": [{"key": "team"}, {"value": "a"}]}));
        assert_eq!((code, message.as_str()), (Code::FieldMissing, "`tags[1].key` is required"));
        let many: Vec<_> = (0..21).map(|n| json!({"key": format!("k{n}")})).collect();
        assert_eq!(refused(&json!({"tags": many})).0, Code::BadValue);
    }

    #[test]
    fn a_lease_may_end_with_idleness() {
        let new = with(&json!({"lease": {"type": "idle", "duration": 7_200_000}})).unwrap();
        assert_eq!((new.grant, new.lease_kind), (Grant::Millis(7_200_000), LeaseKind::Idle));
    }

    const EFS: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

    fn dedicated() -> Value {
        json!({"category": "sfs", "ownership": "dedicated", "uri": "nas:/export/a/", "id": EFS})
    }

    #[test]
    fn shared_volumes_have_the_size_that_they_have() {
        for (category, capacity) in [("EFS", None), ("sfs", Some(50))] {
            let volume = json!({"category": category, "ownership": "MANAGED", "capacity": capacity, "uri": ""});
            assert_eq!(with(&json!({"volume": volume})).unwrap().volume, NewVolume::Shared { capacity_gib: capacity });
        }
    }

    #[test]
    fn what_others_have_must_have_its_type_also_where_it_is_not_offered() {
        for category in ["EVS", "EFS"] {
            let volume = json!({"category": category, "ownership": "MANAGED", "uri": {}});
            assert_eq!(refused(&json!({"volume": volume})).0, Code::WrongType);
        }
    }

    #[test]
    fn a_dedicated_volume_is_an_address_and_an_id_in_a_pool() {
        let new = with(&json!({"pool_id": "p", "volume": dedicated()})).unwrap();
        let wanted = NewVolume::Dedicated { id: EFS.parse().unwrap(), uri: "nas:/export/a/".parse().unwrap() };
        assert_eq!(new.volume, wanted);
        let (code, message) = refused(&json!({"volume": dedicated()}));
        assert!(code == Code::FieldMissing && message.contains("`pool_id`"), "{message}");
        for (field, value, code) in [
            ("uri", Value::Null, Code::FieldMissing),
            ("id", Value::Null, Code::FieldMissing),
            ("uri", json!({}), Code::WrongType),
            ("uri", json!("/export"), Code::BadValue),
            ("uri", json!("nas:/export/../etc"), Code::BadValue),
            ("uri", json!(format!("nas:/{}", "x".repeat(1024))), Code::BadValue),
            ("id", json!("efs-1"), Code::BadValue),
            ("id", json!(EFS.to_uppercase()), Code::BadValue),
        ] {
            let mut volume = dedicated();
            volume[field] = value;
            let (refused, message) = refused(&json!({"pool_id": "p", "volume": volume}));
            assert!(refused == code && message.contains(&format!("`volume.{field}`")), "{volume}: {message}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let mut with_capacity = dedicated();
        with_capacity["capacity"] = json!(50);
        for (changes, named) in [
            (json!({"endpoints": [{"service": "SSH"}]}), "`endpoints[0].service`"),
            (
                json!({"endpoints": [{"service": "NOTEBOOK", "allowed_access_ips": ["1.1.1.1"]}]}),
                "`endpoints[0].allowed_access_ips`",
            ),
            (json!({"custom_spec": {"gpu": 1}, "flavor": null}), "`custom_spec.gpu`"),
            (json!({"volume": {"category": "OBS", "ownership": "MANAGED"}}), "`volume.category`"),
            (
                json!({"volume": {"category": "OBSFS", "ownership": "DEDICATED", "uri": "obs://a/b/"}}),
                "`volume.category`",
            ),
            (json!({"volume": {"category": "EVS", "ownership": "DEDICATED"}}), "`volume.ownership`"),
            (json!({"volume": {"category": "EVS", "ownership": "MANAGED", "uri": "nas:/x"}}), "`volume.uri`"),
            (json!({"volume": {"category": "EFS", "ownership": "MANAGED", "id": EFS}}), "`volume.id`"),
            (
                json!({"volume": {"category": "EFS", "ownership": "MANAGED", "dew_secret_name": "x"}}),
                "`volume.dew_secret_name`",
            ),
            (json!({"pool_id": "p", "volume": with_capacity}), "`volume.capacity`"),
            (json!({"volume": {"category": "EVS", "ownership": "MANAGED", "read_only": true}}), "`volume.read_only`"),
            (json!({"volume": {"category": "EVS", "ownership": "MANAGED", "mount_path": "/x"}}), "`volume.mount_path`"),
        ] {
            let (code, message) = refused(&changes);
            assert_eq!(code, Code::Unsupported, "{message}");
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn the_volume_s_size_is_checked_last_and_names_its_bounds() {
        for bad in [json!(4), json!(4097), json!(-5), json!(1e30)] {
            let (code, message) =
                refused(&json!({"volume": {"category": "EVS", "ownership": "MANAGED", "capacity": bad}}));
            assert_eq!(code, Code::VolumeSizeOutOfRange);
            assert_eq!(message, "`volume.capacity` must be 5 to 4096 GB");
        }
        let volume = json!({"category": "EVS", "ownership": "MANAGED", "capacity": 4});
        let other = "a".repeat(32);
        assert_eq!(refused(&json!({"volume": volume, "workspace_id": other})).0, Code::UnknownWorkspace);
    }
}
