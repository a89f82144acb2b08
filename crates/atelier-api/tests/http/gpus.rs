//! GPUs: how flavors show them, and what is refused when they are gone.

use serde_json::{Value, json};

use crate::answers::{create, wish};
use crate::house::{House, Plan};

const FLAVOR: &str = "modelarts.vm.gpu.1";

/// A house on a machine with two GPUs, a caller's token, and what all of its calls begin with.
async fn open() -> (House, String, String) {
    let house = House::planned(Plan { gpus: &["NVIDIA L4", "NVIDIA L4"], ..Plan::default() }).await;
    let (token, base) = (house.project_token().await, house.base());
    (house, token, base)
}

#[tokio::test]
async fn a_flavor_shows_its_gpus_and_is_sold_out_when_none_is_free() {
    let (house, token, base) = open().await;
    let listed = async || {
        let answer = house.call(&token, "GET", &format!("{base}/notebooks/flavors?category=GPU"), &Value::Null).await;
        let [flavor] = &answer.body["data"].as_array().unwrap()[..] else { panic!("{}", answer.body) };
        (flavor["gpu"].clone(), flavor["category"].clone(), flavor["sold_out"].clone())
    };
    let gpu = json!({"gpu": 1, "gpu_memory": "0GiB", "type": "NVIDIA L4"});
    assert_eq!(listed().await, (gpu.clone(), json!("GPU"), json!(false)));
    for _ in 0..2 {
        let made = create(&house, &token, json!({"flavor": FLAVOR})).await;
        assert_eq!((&made["flavor"], &made["status"]), (&json!(FLAVOR), &json!("CREATING")));
    }
    assert_eq!(listed().await, (gpu, json!("GPU"), json!(true)));
    let refused = house.call(&token, "POST", &format!("{base}/notebooks"), &wish(json!({"flavor": FLAVOR}))).await;
    assert_eq!(refused.code(), "ModelArts.6716", "{}", refused.message());
}

#[tokio::test]
async fn clusters_and_images_are_for_gpus_too() {
    let (house, token, base) = open().await;
    let clusters = house.call(&token, "GET", &format!("{base}/authoring/clusters?type=MANAGED"), &Value::Null).await;
    let cluster = &clusters.body["data"][0];
    assert_eq!(cluster["resource_categories"], "GPU");
    let flavor = cluster["flavors"].as_array().unwrap().iter().find(|flavor| flavor["id"] == FLAVOR).unwrap();
    assert_eq!((&flavor["category"], &flavor["gpu"]["gpu"]), (&json!("GPU"), &json!(1)));
    let images = house.call(&token, "GET", &format!("{base}/images"), &Value::Null).await;
    assert_eq!(images.body["data"][0]["resource_categories"], json!(["CPU", "GPU"]));
}

/// Where there is none, nobody is shown what nobody can have.
#[tokio::test]
async fn a_machine_without_gpus_lists_no_flavor_with_gpus() {
    let house = House::open().await;
    let (token, base) = (house.project_token().await, house.base());
    let answer = house.call(&token, "GET", &format!("{base}/notebooks/flavors"), &Value::Null).await;
    assert!(answer.body["data"].as_array().unwrap().iter().all(|flavor| flavor["category"] == "CPU"));
    let refused = house.call(&token, "POST", &format!("{base}/notebooks"), &wish(json!({"flavor": FLAVOR}))).await;
    assert_eq!(refused.code(), "ModelArts.6716", "{}", refused.message());
}
