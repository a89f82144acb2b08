//! Records as people read them: tables for many, a list of fields for one.

use atelier_core::Timestamp;
use atelier_wire::credential::Credential;
use atelier_wire::key_pair::KeyPairSummary;
use atelier_wire::{FeatureQuota, GpuInfo, Image, Notebook, NotebookFlavor};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::commands::{change, hooks};
use crate::times;

pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    table
}

pub(crate) fn aligned(mut table: Table, right: &[usize]) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A list of somebody's notebooks at `now`.
pub(crate) fn notebooks(notebooks: &[Notebook], now: Timestamp) -> String {
    let mut table = table(&NOTEBOOK_HEADINGS);
    for notebook in notebooks {
        table.add_row(notebook_row(notebook, now));
    }
    aligned(table, &[])
}

/// A list of everybody's notebooks at `now`, with whose they are.
pub(crate) fn everybodys_notebooks(notebooks: &[Notebook], now: Timestamp) -> String {
    let mut table = table(&[&["OWNER"], &NOTEBOOK_HEADINGS[..]].concat());
    for notebook in notebooks {
        let owner = notebook.user.as_ref().map_or("-", |user| user.name.as_str()).to_owned();
        table.add_row(std::iter::once(owner).chain(notebook_row(notebook, now)));
    }
    aligned(table, &[])
}

const NOTEBOOK_HEADINGS: [&str; 7] = ["NAME", "STATUS", "FLAVOR", "VOLUME", "STOPS", "CREATED", "ID"];

fn notebook_row(notebook: &Notebook, now: Timestamp) -> [String; 7] {
    [
        notebook.name.clone(),
        notebook.status.clone(),
        notebook.flavor.clone(),
        volume(notebook),
        stops(notebook, now),
        times::ago(notebook.create_at, now),
        notebook.id.clone(),
    ]
}

fn volume(notebook: &Notebook) -> String {
    let Some(volume) = &notebook.volume else { return "-".into() };
    extent(&volume.category, volume.uri.as_deref(), volume.capacity.map(u64::from))
}

/// How large a volume is, and whether others have it; where it is, where that is elsewhere.
fn extent(category: &str, uri: Option<&str>, gib: Option<u64>) -> String {
    match (uri, gib) {
        (Some(uri), _) => uri.to_owned(),
        (None, Some(gib)) if category == "EFS" => format!("{gib} GiB shared"),
        (None, Some(gib)) => format!("{gib} GiB"),
        (None, None) => "-".into(),
    }
}

fn stops(notebook: &Notebook, now: Timestamp) -> String {
    if notebook.status == "RUNNING" { times::lease(&notebook.lease, now) } else { "-".into() }
}

/// One notebook at `now`, with everything that is known of it but its token.
pub(crate) fn notebook(notebook: &Notebook, now: Timestamp) -> String {
    let mut lines =
        vec![("name", notebook.name.clone()), ("id", notebook.id.clone()), ("status", notebook.status.clone())];
    lines.extend(notebook.fail_reason.clone().map(|reason| ("reason", reason)));
    if !notebook.description.is_empty() {
        lines.push(("description", notebook.description.clone()));
    }
    let tags: Vec<_> = notebook.tags.iter().map(change::line).collect();
    if !tags.is_empty() {
        lines.push(("tags", tags.join(", ")));
    }
    lines.push(("flavor", flavor(notebook)));
    lines.extend(notebook.pool.as_ref().map(|pool| ("pool", format!("{} ({})", pool.id, pool.name))));
    lines.extend([
        ("image", notebook.image.name.clone()),
        ("volume", volume(notebook)),
        ("stops by itself", stops(notebook, now)),
        ("created", point(notebook.create_at, now)),
        ("status since", point(notebook.update_at, now)),
    ]);
    lines.extend(notebook.hooks.as_ref().map(|shown| ("hooks", hooks::line(shown))));
    lines.extend(notebook.url.clone().map(|url| ("url", url)));
    for step in notebook.action_progress.iter().flatten() {
        lines.push(("step", format!("{} {}: {}", step.step, step.description, step.status.to_lowercase())));
    }
    fields(&lines)
}

fn flavor(notebook: &Notebook) -> String {
    match &notebook.custom_spec {
        Some(spec) => format!("{} CPUs, {} MiB", spec.cpu, spec.memory),
        None => notebook.flavor.clone(),
    }
}

fn point(at: i64, now: Timestamp) -> String {
    format!("{} ({})", times::point(at), times::ago(at, now))
}

/// Names and values, the values beneath one another.
pub(crate) fn fields(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let line = |(name, value): &(&str, String)| format!("{:width$}{value}\n", format!("{name}:"));
    lines.iter().map(line).collect()
}

/// A list of access keys.
pub(crate) fn keys(keys: &[Credential]) -> String {
    if keys.is_empty() {
        return "no access keys; `atelier key create` makes one".into();
    }
    let mut table = table(&["ACCESS KEY", "STATUS", "CREATED", "DESCRIPTION"]);
    for key in keys {
        let made = key.create_time.split('.').next().unwrap_or_default().replace('T', " ") + " UTC";
        table.add_row([key.access.clone(), key.status.clone(), made, key.description.clone()]);
    }
    aligned(table, &[])
}

/// A list of key pairs.
pub(crate) fn key_pairs(pairs: &[KeyPairSummary]) -> String {
    if pairs.is_empty() {
        return "no key pairs; `atelier keypair create NAME` makes one".into();
    }
    let mut table = table(&["NAME", "KIND", "FINGERPRINT"]);
    for pair in pairs {
        let kind = pair.public_key.split(' ').next().unwrap_or_default();
        table.add_row([pair.name.as_str(), kind, pair.fingerprint.as_str()]);
    }
    aligned(table, &[])
}

/// A list of users, as the server's own records.
pub(crate) fn users(users: &serde_json::Value) -> String {
    let mut table = table(&["NAME", "STATUS", "ROLES", "CREATED", "ID"]);
    for user in users.as_array().into_iter().flatten() {
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        let roles: Vec<_> = user["roles"].as_array().into_iter().flatten().filter_map(|role| role.as_str()).collect();
        table.add_row([
            text("name"),
            if user["enabled"] == true { "on" } else { "off" }.into(),
            roles.join(", "),
            times::point(user["created_at"].as_i64().unwrap_or_default()),
            text("id"),
        ]);
    }
    aligned(table, &[])
}

/// A list of flavors.
pub(crate) fn flavors(flavors: &[NotebookFlavor]) -> String {
    let mut table = table(&["ID", "VCPUS", "MEMORY", "GPUS", "AVAILABLE", "DESCRIPTION"]);
    for flavor in flavors {
        table.add_row([
            flavor.id.clone(),
            flavor.vcpus.to_string(),
            memory(flavor.memory),
            flavor.gpu.as_ref().map_or_else(|| "-".into(), gpus),
            if flavor.sold_out { "no" } else { "yes" }.into(),
            flavor.description.clone(),
        ]);
    }
    aligned(table, &[1, 2])
}

/// `2 NVIDIA L4`.
fn gpus(gpus: &GpuInfo) -> String {
    gpus.kind.iter().fold(gpus.gpu.to_string(), |count, kind| format!("{count} {kind}"))
}

/// A list of features with their quotas.
pub(crate) fn features(features: &[FeatureQuota]) -> String {
    let mut table = table(&["NAME", "ENABLED", "QUOTA", "USED"]);
    for feature in features {
        let enabled = if feature.enabled { "yes" } else { "no" };
        table.add_row([&feature.name, enabled, &feature.quota.to_string(), &feature.used.to_string()]);
    }
    aligned(table, &[2, 3])
}

fn memory(kib: u64) -> String {
    let mib = kib / 1024;
    if mib >= 1024 && mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

/// A page of operations at `now`.
pub(crate) fn operations(page: &Value, now: Timestamp) -> String {
    let mut table = table(&["KIND", "STATE", "NOTEBOOK", "BEGAN", "TOOK", "ASKED BY", "ID"]);
    let mut any = false;
    for operation in page["operations"].as_array().into_iter().flatten() {
        let text = |name: &str| operation[name].as_str().unwrap_or("-").to_owned();
        any = true;
        table.add_row([
            text("kind"),
            text("state"),
            text("notebook_name"),
            times::ago(operation["began_at"].as_i64().unwrap_or_default(), now),
            operation["duration_ms"].as_i64().map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
            text("actor"),
            text("id"),
        ]);
    }
    if !any {
        return "no operations".into();
    }
    let next = page["next"].as_str().map(|id| format!("\nolder ones: --before {id}\n")).unwrap_or_default();
    aligned(table, &[4]) + &next
}

/// Volumes of notebooks, with whose they are where that may differ.
pub(crate) fn volumes(volumes: &[Value], owners: bool) -> String {
    if volumes.is_empty() {
        return "no volumes".into();
    }
    let headings = ["NOTEBOOK", "CAPACITY", "USED", "INODES USED", "NOTEBOOK ID", "ID"];
    let percent = |volume: &Value, name: &str| {
        volume["used"][name].as_u64().map_or_else(|| "-".into(), |percent| format!("{percent} %"))
    };
    listed(&headings, volumes, owners, |volume| {
        vec![
            word(volume, "name"),
            gib(volume),
            percent(volume, "bytes_percent"),
            percent(volume, "inodes_percent"),
            word(volume, "notebook_id"),
            word(volume, "id"),
        ]
    })
}

/// What rests in the trash at `now`, with whose it was where that may differ.
pub(crate) fn trash(volumes: &[Value], owners: bool, now: Timestamp) -> String {
    if volumes.is_empty() {
        return "the trash is empty".into();
    }
    let headings = ["NOTEBOOK", "CAPACITY", "ON DISK", "DELETED", "LEAVES", "NOTEBOOK ID"];
    listed(&headings, volumes, owners, |volume| {
        let leaves = match (volume["state"].as_str(), volume["leaves_at"].as_i64()) {
            (Some("LEAVES"), _) => "now".into(),
            (_, Some(at)) => format!("in {}", times::duration((at - now.as_millis()).max(0))),
            _ => "never".into(),
        };
        vec![
            word(volume, "name"),
            gib(volume),
            volume["disk_bytes"].as_u64().map_or_else(|| "-".into(), |bytes| memory(bytes / 1024)),
            volume["deleted_at"].as_i64().map_or_else(|| "-".into(), |at| times::ago(at, now)),
            leaves,
            // A shared one that nobody knows was no single notebook's, and is named by its own id.
            word(volume, if volume["notebook_id"].is_string() { "notebook_id" } else { "id" }),
        ]
    })
}

fn listed(headings: &[&str], records: &[Value], owners: bool, row: impl Fn(&Value) -> Vec<String>) -> String {
    let owner = |record: &Value| owners.then(|| word(record, "owner"));
    let headings: Vec<_> = owners.then_some("OWNER").into_iter().chain(headings.iter().copied()).collect();
    let mut table = table(&headings);
    for record in records {
        table.add_row(owner(record).into_iter().chain(row(record)));
    }
    aligned(table, &[])
}

fn word(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or("-").to_owned()
}

fn gib(volume: &Value) -> String {
    extent(volume["category"].as_str().unwrap_or_default(), volume["uri"].as_str(), volume["capacity"].as_u64())
}

/// What the machine has, and what of it is held.
pub(crate) fn capacity(answer: &Value) -> String {
    let pools = answer["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let left = Some(("beside pools", "share")).filter(|_| !pools.is_empty());
    let held = HELD.map(|part| (part, part));
    let parts = [("machine", "machine")].into_iter().chain(left).chain(held);
    let available = answer["memory_available_bytes"].as_u64().map_or_else(|| "unknown".into(), |b| memory(b / 1024));
    let floor = memory(answer["memory_floor_bytes"].as_u64().unwrap_or_default() / 1024);
    let factors = format!(
        "promised: CPUs {} times, memory {} times; memory available now: {available}, and never below {floor}\n\n",
        answer["overcommit"]["cpu"], answer["overcommit"]["memory"]
    );
    let whole = amounts(answer, "", parts) + &factors + &cards(answer) + &rooms(answer);
    let pool = |pool: &Value| {
        let name = format!("pool {}", pool["id"].as_str().unwrap_or_default());
        format!("\n{}\n{}", amounts(pool, &name, [("share", "share")].into_iter().chain(held)), rooms(pool))
    };
    pools.iter().map(pool).fold(whole, |text, pool| text + &pool)
}

/// What notebooks may hold of a share, and do.
const HELD: [&str; 3] = ["promised", "held", "free"];

/// CPUs and memory of some parts of `of`, each with its name.
fn amounts<'n>(of: &Value, title: &str, parts: impl IntoIterator<Item = (&'n str, &'n str)>) -> String {
    let number = |part: &str, name: &str| of[part][name].as_u64().unwrap_or_default();
    let mut table = table(&[title, "CPUS", "MEMORY"]);
    for (name, part) in parts {
        let cpus = number(part, "cpu_millis");
        table.add_row([
            name.to_owned(),
            format!("{}.{:03}", cpus / 1000, cpus % 1000),
            memory(number(part, "memory_bytes") / 1024),
        ]);
    }
    aligned(table, &[1, 2])
}

/// The GPUs of the machine; nothing where it has none.
fn cards(answer: &Value) -> String {
    let kinds = answer["gpus"].as_array().map(Vec::as_slice).unwrap_or_default();
    if kinds.is_empty() {
        return String::new();
    }
    let mut table = table(&["GPU", "MEMORY", "THERE", "FREE"]);
    for kind in kinds {
        let bytes = memory(kind["memory_bytes"].as_u64().unwrap_or_default() / 1024);
        table.add_row([word(kind, "type"), bytes, kind["count"].to_string(), kind["free"].to_string()]);
    }
    aligned(table, &[1, 2, 3]) + "\n"
}

fn rooms(answer: &Value) -> String {
    let mut table = table(&["FLAVOR", "ROOM FOR", "WHY NOT"]);
    for flavor in answer["flavors"].as_array().into_iter().flatten() {
        let room = flavor["room_for"].as_u64().unwrap_or_default().to_string();
        let text = |name: &str| flavor[name].as_str().unwrap_or_default().to_owned();
        table.add_row([text("id"), room, text("why")]);
    }
    aligned(table, &[1])
}

/// A list of images.
pub(crate) fn images(images: &[Image]) -> String {
    let mut table = table(&["NAME", "TAG", "SIZE", "STATUS", "ID"]);
    for image in images {
        table.add_row([
            image.name.clone(),
            image.tag.clone().unwrap_or_else(|| "-".into()),
            image.size.map_or_else(|| "not made yet".into(), |bytes| format!("{} MiB", bytes.div_ceil(1 << 20))),
            image.status.clone().unwrap_or_else(|| "-".into()),
            image.id.clone(),
        ]);
    }
    aligned(table, &[2])
}

/// What is known of a running notebook's activity at `now`.
pub(crate) fn activity(name: &str, known: &Value, now: Timestamp) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ago = |value: &Value| value.as_i64().map_or_else(|| "-".into(), |at| times::ago(at, now));
    let mut table = table(&["SIGNAL", "STATE", "FOUND", "THRESHOLD", "LAST ACTIVE"]);
    for signal in known["signals"].as_array().into_iter().flatten() {
        let found = signal["reason"].as_str().map_or_else(|| text(&signal["value"]), str::to_owned);
        let threshold = text(&signal["threshold"]);
        table.add_row([
            text(&signal["signal"]),
            text(&signal["state"]),
            found,
            threshold,
            ago(&signal["last_active_at"]),
        ]);
    }
    let last = ago(&known["last_activity_at"]);
    let verdict = match known["verdict"].as_str() {
        Some("idle") => format!("idle; the last activity was {last}"),
        Some(other) => format!("{other}, which is not idle"),
        None => String::new(),
    };
    let stops = match (known["stops_at"].as_i64(), known["lease_type"].as_str()) {
        (None, _) => "never by itself".into(),
        (Some(at), Some("IDLE")) => format!("{} if nothing happens until then", times::point(at)),
        (Some(at), _) => format!("{}, whatever happens until then", times::point(at)),
    };
    let lines = [("notebook", name.to_owned()), ("verdict", verdict), ("stops", stops)];
    format!("{}\n{}", aligned(table, &[]), fields(&lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_687_656_452_470);

    fn record(name: &str, status: &str) -> Notebook {
        serde_json::from_value(json!({
            "id": "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10", "name": name, "status": status, "feature": "NOTEBOOK",
            "flavor": "modelarts.vm.cpu.2u", "workspace_id": "0", "description": "",
            "image": {"id": "e1a07296-22a8-4f05-8bc8-e936c8e54090", "name": "jupyterlab", "swr_path": "a/b:c", "type": "BUILD_IN"},
            "lease": {"create_at": NOW.as_millis() - 600_000, "update_at": NOW.as_millis() - 600_000,
                      "duration": 3_600_000, "enable": true, "type": "TIMING"},
            "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 5, "mount_path": "/home/ma-user/work/"},
            "create_at": NOW.as_millis() - 600_000, "update_at": NOW.as_millis() - 540_000,
            "url": "http://x.localhost:8080/lab", "token": "secret-token",
        }))
        .unwrap()
    }

    #[test]
    fn a_list_has_aligned_columns_and_human_times() {
        let shown = notebooks(&[record("a", "RUNNING"), record("much-longer", "STOPPED")], NOW);
        let wanted = "\
NAME         STATUS   FLAVOR               VOLUME  STOPS      CREATED     ID
a            RUNNING  modelarts.vm.cpu.2u  5 GiB   in 50 min  10 min ago  0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10
much-longer  STOPPED  modelarts.vm.cpu.2u  5 GiB   -          10 min ago  0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10
";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn one_notebook_is_shown_whole_but_for_its_token() {
        let mut failed = record("a", "START_FAILED");
        failed.fail_reason = Some("the image could not be made".into());
        let shown = notebook(&failed, NOW);
        let wanted = "\
name:            a
id:              0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10
status:          START_FAILED
reason:          the image could not be made
flavor:          modelarts.vm.cpu.2u
image:           jupyterlab
volume:          5 GiB
stops by itself: -
created:         2023-06-25 01:17:32 UTC (10 min ago)
status since:    2023-06-25 01:18:32 UTC (9 min ago)
url:             http://x.localhost:8080/lab
";
        assert_eq!(shown, wanted);
        assert!(!shown.contains("secret-token"));
    }

    #[test]
    fn activity_is_shown_signal_by_signal_with_the_verdict_below() {
        let now = NOW.as_millis();
        let known = json!({
            "verdict": "idle", "reasons": [], "last_activity_at": now - 120_000, "lease_type": "IDLE",
            "stops_at": now + 3_480_000,
            "signals": [
                {"signal": "kernels", "state": "quiet", "reason": null, "value": "1 idle", "threshold": "t", "last_active_at": now - 120_000},
                {"signal": "cpu", "state": "unknown", "reason": "no cgroup", "value": "not known", "threshold": "t", "last_active_at": null},
            ],
        });
        let wanted = "\
SIGNAL   STATE    FOUND      THRESHOLD  LAST ACTIVE
kernels  quiet    1 idle     t          2 min ago
cpu      unknown  no cgroup  t          -

notebook: nb
verdict:  idle; the last activity was 2 min ago
stops:    2023-06-25 02:25:32 UTC if nothing happens until then
";
        assert_eq!(activity("nb", &known, NOW), wanted);
    }

    #[test]
    fn everybodys_list_says_whose_each_is() {
        let mut hers = record("a", "STOPPED");
        hers.user = Some(serde_json::from_value(json!({"id": "1", "name": "ada"})).unwrap());
        let shown = everybodys_notebooks(&[hers, record("b", "STOPPED")], NOW);
        let wanted = "\
OWNER  NAME  STATUS   FLAVOR               VOLUME  STOPS  CREATED     ID
ada    a     STOPPED  modelarts.vm.cpu.2u  5 GiB   -      10 min ago  0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10
-      b     STOPPED  modelarts.vm.cpu.2u  5 GiB   -      10 min ago  0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10
";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn features_are_shown_with_what_is_used() {
        let quota = FeatureQuota { name: "NOTEBOOK".into(), enabled: true, quota: 10, used: 2, user_id: "1".into() };
        assert_eq!(features(&[quota]), "NAME      ENABLED  QUOTA  USED\nNOTEBOOK  yes         10     2\n");
    }

    #[test]
    fn capacity_shows_what_pools_leave_and_each_pool() {
        let pair = |cpu_millis: u64, gib: u64| json!({"cpu_millis": cpu_millis, "memory_bytes": gib << 30});
        let share = |cpu_millis, gib| {
            json!({
                "share": pair(cpu_millis, gib), "promised": pair(cpu_millis * 2, gib), "held": pair(500, 1),
                "free": pair(cpu_millis * 2 - 500, gib - 1),
                "flavors": [{"id": "small", "room_for": 7, "sold_out": false, "why": null}],
            })
        };
        let merged = |mut one: Value, other: Value| {
            one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            one
        };
        let machine = json!({
            "machine": pair(4000, 16), "overcommit": {"cpu": 2, "memory": 1}, "memory_available_bytes": 3_u64 << 30,
            "memory_floor_bytes": 1_u64 << 30, "gpus": [], "pools": [merged(share(1000, 4), json!({"id": "team-a", "name": "A"}))],
        });
        let wanted = "               CPUS  MEMORY
machine       4.000  16 GiB
beside pools  3.000  12 GiB
promised      6.000  12 GiB
held          0.500   1 GiB
free          5.500  11 GiB
promised: CPUs 2 times, memory 1 times; memory available now: 3 GiB, and never below 1 GiB

FLAVOR  ROOM FOR  WHY NOT
small          7

pool team-a   CPUS  MEMORY
share        1.000   4 GiB
promised     2.000   4 GiB
held         0.500   1 GiB
free         1.500   3 GiB

FLAVOR  ROOM FOR  WHY NOT
small          7
";
        let shown = capacity(&merged(machine.clone(), share(3000, 12)));
        assert_eq!(shown, wanted);
        let gpus = json!([{"type": "NVIDIA L4", "memory_bytes": 24_u64 << 30, "count": 4, "free": 1}]);
        let with = capacity(&merged(merged(machine.clone(), json!({"gpus": gpus})), share(3000, 12)));
        let cards = "GPU        MEMORY  THERE  FREE\nNVIDIA L4  24 GiB      4     1\n\n";
        assert_eq!(with, wanted.replacen("FLAVOR", &format!("{cards}FLAVOR"), 1));
        let without = merged(machine, json!({"pools": []}));
        assert!(!capacity(&merged(without, share(4000, 16))).contains("pool"));
    }

    #[test]
    fn memory_is_shown_in_the_largest_whole_unit() {
        assert_eq!(memory(8 * 1024 * 1024), "8 GiB");
        assert_eq!(memory(512 * 1024), "512 MiB");
        assert_eq!(memory(1536 * 1024), "1536 MiB");
    }
}
