//! Volumes, as clients see them: a notebook's own, one that several share, a folder of the operator's.

use atelier_core::pool::Pool;
use atelier_core::status::Status;
use atelier_runtime::Root;
use serde_json::{Value, json};

use crate::answers::{create, wish};
use crate::house::{House, Plan, Reply};
use crate::pools::with_pools;

const EFS: &str = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10";

/// A house with a pool, and a folder at `nas:/export`.
async fn house(root: &tempfile::TempDir) -> (House, String) {
    let pool = Pool {
        id: "team-a".into(),
        name: "Team A".into(),
        cpu_millis: 8000,
        memory_mib: 8192,
        flavors: atelier_core::flavor::Flavor::defaults(),
        notebooks_per_user: None,
    };
    let roots = vec![Root { uri: "nas:/export".parse().unwrap(), path: root.path().into() }];
    let house = House::planned(Plan { roots, ..with_pools(vec![pool]) }).await;
    let token = house.project_token().await;
    (house, token)
}

fn dedicated(uri: &str) -> Value {
    json!({"category": "EFS", "ownership": "DEDICATED", "uri": uri, "id": EFS})
}

async fn asked(house: &House, token: &str, changes: Value) -> Reply {
    house.call(token, "POST", &format!("{}/notebooks", house.base()), &wish(changes)).await
}

#[tokio::test]
async fn notebooks_share_a_volume_whose_size_is_the_server_s() {
    let root = tempfile::tempdir().unwrap();
    let (house, token) = house(&root).await;
    let mut made = Vec::new();
    for (name, category, capacity) in [("one", "efs", Value::Null), ("two", "SFS", json!(50))] {
        let volume = json!({"category": category, "ownership": "managed", "capacity": capacity});
        made.push(create(&house, &token, json!({"name": name, "volume": volume})).await);
    }
    for notebook in &made {
        let shown = json!({
            "category": "EFS", "ownership": "MANAGED", "capacity": 50, "mount_path": "/home/ma-user/work/",
            "read_only": false,
        });
        assert_eq!(notebook["volume"], shown);
    }
    let volume = json!({"category": "EFS", "ownership": "MANAGED", "capacity": 60});
    let refused = asked(&house, &token, json!({"name": "three", "volume": volume})).await;
    assert_eq!(refused.code(), "ModelArts.6331");
    assert!(refused.message().contains("`volume.capacity` must be 50 GB"), "{}", refused.message());

    let id = made[0]["id"].as_str().unwrap();
    house.gate.open_for(id);
    house.reaches(id, Status::Running).await;
    let grow = async |gib: u32| {
        let target = format!("{}/notebooks/{id}", house.base());
        house.call(&token, "PUT", &target, &json!({"storage_new_size": gib})).await
    };
    assert_eq!(grow(50).await.body["volume"]["capacity"], 50, "the size that it has asks for nothing");
    let refused = grow(51).await;
    assert_eq!(refused.code(), "ModelArts.6651");
    assert!(refused.message().contains("`storage_new_size`"), "{}", refused.message());
    let target = format!("{}/demanager/instances/{id}", house.base());
    let shown = house.call(&token, "GET", &target, &Value::Null).await;
    assert_eq!(shown.body["spec"]["storage"]["type"], "efs", "{}", shown.body);
    let offered = house.call(&token, "GET", &format!("{}/notebooks/flavors", house.base()), &Value::Null).await;
    assert_eq!(offered.body["data"][0]["storages"], json!(["EVS", "EFS"]), "{}", offered.body);
}

#[tokio::test]
async fn a_folder_of_the_operator_s_is_given_back_as_it_was_sent() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("team/files")).unwrap();
    let (house, token) = house(&root).await;
    let volume = dedicated("nas:/export/team//files/");
    let made = create(&house, &token, json!({"name": "one", "pool_id": "team-a", "volume": volume})).await;
    let mut wanted = volume;
    wanted["mount_path"] = json!("/home/ma-user/work/");
    wanted["read_only"] = json!(false);
    assert_eq!(made["volume"], wanted);
    let id = made["id"].as_str().unwrap();
    house.gate.open_for(id);
    house.reaches(id, Status::Running).await;
    let shown = house.call(&token, "GET", &format!("{}/notebooks/{id}", house.base()), &Value::Null).await;
    assert_eq!(shown.body["volume"], wanted);
}

#[tokio::test]
async fn what_is_no_folder_of_the_operator_s_is_refused_without_a_word_of_where_those_are() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("/", root.path().join("out")).unwrap();
    let (house, token) = house(&root).await;
    for uri in
        ["nas:/export/none", "nas:/export/file", "nas:/export/out", "nas:/export/out/etc", "nas:/exports", "o:/export"]
    {
        let refused = asked(&house, &token, json!({"pool_id": "team-a", "volume": dedicated(uri)})).await;
        assert_eq!(refused.code(), "ModelArts.6336", "{uri}: {}", refused.body);
        assert!(refused.message().contains("`volume.uri`"), "{uri}: {}", refused.message());
        assert!(!refused.message().contains(root.path().to_str().unwrap()), "{uri}: {}", refused.message());
    }
    let refused = asked(&house, &token, json!({"volume": dedicated("nas:/export")})).await;
    assert!(refused.code() == "ModelArts.6335" && refused.message().contains("`pool_id`"), "{}", refused.body);

    let bare = House::planned(Plan::default()).await;
    let token = bare.project_token().await;
    let refused = asked(&bare, &token, json!({"pool_id": "team-a", "volume": dedicated("nas:/export")})).await;
    assert_ne!(refused.status, 200, "there is neither such a pool nor a root");
}
