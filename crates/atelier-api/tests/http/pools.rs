//! Pools, as clients see them: where they can make notebooks, in which sizes, and which notebooks are there.

use atelier_core::flavor::Flavor;
use atelier_core::pool::Pool;
use atelier_core::status::Status;
use atelier_engine::EngineConfig;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answers::{create, wish};
use crate::house::{House, Plan, Reply};

const CUSTOM: &str = "custom.flavor.spec.code";

/// Two pools; of the second no notebook of the last flavor can be made, which the first has too.
fn pools() -> Vec<Pool> {
    let [two, _, _, small, _] = Flavor::defaults().try_into().unwrap();
    let pool = |id: &str, name: &str, cpu_millis, flavors| Pool {
        id: id.into(),
        name: name.into(),
        cpu_millis,
        memory_mib: 8192,
        flavors,
        notebooks_per_user: None,
    };
    vec![pool("team-a", "Team A", 32_000, vec![small.clone()]), pool("team-b", "Team B", 20, vec![small, two])]
}

/// A house on a machine of which these pools are set aside.
pub(crate) fn with_pools(pools: Vec<Pool>) -> Plan {
    let plan = Plan::default();
    Plan { engine: EngineConfig { pools, ..plan.engine }, ..plan }
}

struct Team {
    house: House,
    token: String,
}

impl Team {
    async fn open() -> Self {
        let house = House::planned(with_pools(pools())).await;
        let token = house.project_token().await;
        Self { house, token }
    }

    async fn call(&self, method: &str, rest: &str, body: Value) -> Reply {
        self.house.call(&self.token, method, &format!("{}/{rest}", self.house.base()), &body).await
    }

    async fn get(&self, rest: &str) -> Value {
        self.call("GET", rest, Value::Null).await.body
    }

    async fn make(&self, changes: Value) -> Value {
        create(&self.house, &self.token, changes).await
    }

    async fn refused(&self, changes: Value) -> (String, String) {
        let reply = self.call("POST", "notebooks", wish(changes)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
        (reply.code().to_owned(), reply.message().to_owned())
    }
}

#[tokio::test]
async fn pools_are_dedicated_clusters_with_their_flavors() {
    let team = Team::open().await;
    let page = team.get("authoring/clusters?type=dedicated").await;
    assert_eq!(page["total"], 2);
    let words = |cluster: &Value| {
        ["logic_cluster_id", "pool_id", "type", "status"].map(|name| cluster[name].as_str().unwrap().to_owned())
    };
    assert_eq!(words(&page["data"][0]), ["team-a", "team-a", "DEDICATED", "ACTIVE"]);
    let flavors = |cluster: &Value| {
        let flavors = cluster["flavors"].as_array().unwrap().iter();
        flavors.map(|one| (one["id"].as_str().unwrap().to_owned(), one["sold_out"] == true)).collect::<Vec<_>>()
    };
    let (small, two) = ("atelier.cpu.small".to_owned(), "modelarts.vm.cpu.2u".to_owned());
    assert_eq!(flavors(&page["data"][0]), [(small.clone(), false)]);
    assert_eq!(flavors(&page["data"][1]), [(small.clone(), true), (two.clone(), true)]);
    assert_eq!(team.get("authoring/clusters/team-b").await, page["data"][1]);
    let managed = team.get("authoring/clusters?type=MANAGED").await;
    assert_eq!((&managed["total"], managed["data"][0].get("pool_id")), (&json!(1), None));

    let dedicated = team.get("notebooks/flavors?type=DEDICATED").await;
    assert_eq!(flavors(&dedicated), [(small, false), (two, true)], "each once; on sale where one pool sells it");
    for public in ["", "?type=MANAGED"] {
        assert_eq!(team.get(&format!("notebooks/flavors{public}")).await["total"], 4, "{public}");
    }
}

#[tokio::test]
async fn a_notebook_in_a_pool_shows_it_and_is_found_by_it() {
    let team = Team::open().await;
    let made = team.make(json!({"name": "pooled", "pool_id": "team-a"})).await;
    assert_eq!(made["pool"], json!({"id": "team-a", "name": "Team A"}));
    assert!(made.get("custom_spec").is_none());
    let public = team.make(json!({"name": "public", "pool_id": ""})).await;
    assert!(public.get("pool").is_none());
    for (query, found) in [
        ("pool_id=team-a", &["pooled"][..]),
        ("pool_id=team-b", &[]),
        ("pool_name=eam", &["pooled"]),
        ("pool_name=team", &[]),
        ("pool_name=B", &[]),
        ("pool_id=team-a&pool_name=A&name=pool", &["pooled"]),
        ("sort_key=name", &["public", "pooled"]),
    ] {
        let page = team.get(&format!("notebooks?{query}")).await;
        let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, found, "{query}");
    }
}

#[tokio::test]
async fn what_a_pool_does_not_have_is_refused_with_its_code() {
    let team = Team::open().await;
    let spec = json!({"cpu": 1, "memory": 600});
    for (changes, code, named) in [
        (json!({"pool_id": "team-c"}), "ModelArts.6336", "`pool_id`"),
        (json!({"pool_id": 7}), "ModelArts.6332", "`pool_id`"),
        (json!({"pool_id": "team-a", "flavor": "modelarts.vm.cpu.2u"}), "ModelArts.6323", "`team-a`"),
        (json!({"pool_id": "team-b"}), "ModelArts.6716", "atelier.cpu.small"),
        (json!({"flavor": null, "custom_spec": spec}), "ModelArts.6336", "`pool_id`"),
        (json!({"pool_id": "team-a", "custom_spec": spec}), "ModelArts.6336", "`flavor`"),
        (json!({"pool_id": "team-a", "flavor": CUSTOM}), "ModelArts.6323", CUSTOM),
        (
            json!({"pool_id": "team-a", "flavor": null, "custom_spec": {"cpu": 32.01, "memory": 600}}),
            "ModelArts.6336",
            "`custom_spec.cpu` must be at most 32",
        ),
    ] {
        let (found, message) = team.refused(changes).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test]
async fn a_size_of_its_own_is_shown_and_changed() {
    let team = Team::open().await;
    let made = team.make(json!({"pool_id": "team-a", "flavor": null, "custom_spec": {"cpu": 2.25, "memory": 600}}));
    let made = made.await;
    let spec = |cpu: f64, memory: u64| json!({"cpu": cpu, "memory": memory, "arch": std::env::consts::ARCH, "category": "CPU"});
    assert_eq!((&made["flavor"], &made["custom_spec"]), (&json!(CUSTOM), &spec(2.25, 600)));
    let id = made["id"].as_str().unwrap();
    let target = format!("notebooks/{id}");
    team.house.let_one_start();
    team.house.reaches(id, Status::Running).await;
    let locked = team.call("PUT", &target, json!({"custom_spec": {"cpu": 3, "memory": 600}})).await;
    assert_eq!((locked.code(), locked.message().contains("`custom_spec`")), ("ModelArts.6347", true));
    // As it was answered, so it may be sent back.
    let same = json!({"flavor": CUSTOM, "custom_spec": made["custom_spec"]});
    assert_eq!(team.call("PUT", &target, same).await.status, StatusCode::OK);
    team.call("POST", &format!("{target}/stop"), Value::Null).await;
    team.house.reaches(id, Status::Stopped).await;
    let changed = team.call("PUT", &target, json!({"custom_spec": {"cpu": 0.4, "memory": 8192}})).await;
    assert_eq!(changed.body["custom_spec"], spec(0.4, 8192));
    let switchable = team.get(&format!("{target}/flavors")).await;
    assert_eq!((&switchable["total"], &switchable["data"][0]["id"]), (&json!(1), &json!("atelier.cpu.small")));
    let changed = team.call("PUT", &target, json!({"flavor": "atelier.cpu.small"})).await.body;
    assert_eq!((&changed["flavor"], changed.get("custom_spec")), (&json!("atelier.cpu.small"), None));
}

#[tokio::test]
async fn an_instance_may_be_in_a_pool_too() {
    let team = Team::open().await;
    let make = async |pool: Value| {
        let body = json!({
            "name": "legacy", "profile_id": "Multi-Engine 1.0 (python3)-cpu", "flavor": "atelier.cpu.small",
            "spec": {"storage": {"type": "evs"}}, "pool": pool,
        });
        team.call("POST", "demanager/instances", body).await
    };
    assert_eq!(make(json!({"id": "team-c"})).await.code(), "ModelArts.6336");
    let pool = json!({"id": "team-a", "name": "Team A", "type": "USER_DEFINED"});
    let instance = make(pool.clone()).await.body;
    assert_eq!((&instance["pool"], &instance["flavor_details"]["status"]), (&pool, &json!("onSale")));
    let custom = team.make(json!({"pool_id": "team-a", "flavor": null, "custom_spec": {"cpu": 1, "memory": 600}}));
    custom.await;
    let list = async |query: &str| team.get(&format!("demanager/instances?de_type=Notebook{query}")).await;
    let listed = list("&pool_id=team-a&sortby=creation_timestamp").await;
    assert_eq!(listed["total_count"], 2);
    for instance in listed["instances"].as_array().unwrap() {
        assert_eq!((&instance["pool"], &instance["flavor_details"]["status"]), (&pool, &json!("onSale")), "{instance}");
    }
    assert_eq!(list("&pool_id=team-b").await["total_count"], 0);
}
