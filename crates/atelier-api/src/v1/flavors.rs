//! `ListFlavors`.

use std::cmp::Ordering;

use atelier_core::refusal::Refusal;
use atelier_engine::OfferedFlavor;
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::page::Window;
use crate::query::Query;
use crate::shape;

/// List the flavors that notebooks can have. Without a limit the answer holds all of them.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/flavors", operation_id = "ListFlavors", tag = "flavors",
    params(
        ("project_id" = String, Path),
        ("category" = Option<String>, Query, description = "CPU, GPU or ASCEND"),
        ("type" = Option<String>, Query, description = "MANAGED, which is also the default, or DEDICATED: those of pools"),
        ("feature" = Option<String>, Query, description = "NOTEBOOK"),
        ("flavor_type" = Option<String>, Query),
        ("sort_key" = Option<String>, Query, description = "one or several, by commas, of id, name, vcpus, memory"),
        ("sort_dir" = Option<String>, Query, description = "ASC or DESC"),
        ("limit" = Option<u32>, Query, description = "1 to 1000"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::NotebookFlavorPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<wire::NotebookFlavorPage> {
    let wanted = Wanted::of(&call.query)?;
    let offered = if wanted.dedicated { of_pools(&api).await? } else { api.engine.flavors().await? };
    Ok(Json(wanted.page(offered.iter().map(shape::flavor).collect())))
}

/// The flavors of all pools, each once; sold out where every pool that has it says so.
async fn of_pools(api: &Api) -> Result<Vec<OfferedFlavor>, Refusal> {
    let mut flavors = Vec::<OfferedFlavor>::new();
    let offers = api.engine.offers().await?;
    for offered in offers.into_iter().filter(|offer| offer.pool.is_some()).flat_map(|offer| offer.flavors) {
        match flavors.iter_mut().find(|known| known.flavor.id == offered.flavor.id) {
            Some(known) => known.sold_out &= offered.sold_out,
            None => flavors.push(offered),
        }
    }
    Ok(flavors)
}

/// List the flavors that a notebook can be switched to while it is STOPPED: all that it may have but its own.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/{id}/flavors", operation_id = "ShowSwitchableFlavors", tag = "flavors",
    params(
        ("project_id" = String, Path), ("id" = String, Path, format = "uuid"),
        ("sort_key" = Option<String>, Query, description = "one or several, by commas, of id, name, vcpus, memory"),
        ("sort_dir" = Option<String>, Query, description = "ASC or DESC"),
        ("limit" = Option<u32>, Query, description = "1 to 1000"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::NotebookFlavorPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn switchable(State(api): State<Api>, call: Call) -> Answer<wire::NotebookFlavorPage> {
    let wanted = Wanted::of(&call.query)?;
    let offered = api.engine.switchable_flavors(&call.caller, call.notebook()?).await?;
    Ok(Json(wanted.page(offered.iter().map(shape::flavor).collect())))
}

#[derive(Clone, Copy)]
enum SortBy {
    Id,
    Vcpus,
    Memory,
}

const SORT_KEYS: [(&str, SortBy); 4] =
    [("id", SortBy::Id), ("name", SortBy::Id), ("vcpus", SortBy::Vcpus), ("memory", SortBy::Memory)];

struct Wanted {
    window: Window,
    category: Option<&'static str>,
    feature: Option<&'static str>,
    /// Of pools.
    dedicated: bool,
    /// Asked for an Ascend generation, of which there is none here.
    nothing_matches: bool,
    /// `None`: as configured.
    sort: Option<(Vec<SortBy>, bool)>,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let window = Window::of(query, None)?;
        let category = query.word("category", &["CPU", "GPU", "ASCEND"])?;
        let dedicated = query.word("type", &["MANAGED", "DEDICATED"])? == Some("DEDICATED");
        let ascend = query.word("flavor_type", &["ASCEND_SNT9", "ASCEND_SNT9B", "ASCEND_SNT3"])?.is_some();
        let feature = query.word("feature", &["NOTEBOOK", "DEFAULT"])?;
        let keys = query.sort_keys(&SORT_KEYS)?;
        let descending = query.descending()?;
        let sort = (!keys.is_empty()).then_some((keys, descending));
        Ok(Self { window, category, feature, dedicated, nothing_matches: ascend, sort })
    }

    fn page(&self, mut flavors: Vec<wire::NotebookFlavor>) -> wire::NotebookFlavorPage {
        flavors.retain(|flavor| {
            !self.nothing_matches
                && self.category.is_none_or(|wanted| wanted == flavor.category)
                && self.feature.is_none_or(|wanted| wanted == flavor.feature)
        });
        if let Some((keys, descending)) = &self.sort {
            flavors.sort_by(|a, b| {
                let by = |key: &SortBy| match key {
                    SortBy::Id => a.id.cmp(&b.id),
                    SortBy::Vcpus => a.vcpus.cmp(&b.vcpus),
                    SortBy::Memory => a.memory.cmp(&b.memory),
                };
                keys.iter().map(by).fold(Ordering::Equal, Ordering::then)
            });
            if *descending {
                flavors.reverse();
            }
        }
        let total = flavors.len() as u64;
        let paging = self.window.paging(total);
        let data = self.window.cut(flavors);
        wire::NotebookFlavorPage {
            current: paging.current,
            flavors: data.clone(),
            data,
            pages: paging.pages,
            size: paging.size,
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_core::flavor::Flavor;
    use atelier_core::gpu::{FlavorGpus, GpuKind};

    fn page(query: &str) -> wire::NotebookFlavorPage {
        let gpu_kind = |_: &FlavorGpus| GpuKind { name: "Card".into(), memory_bytes: 79 << 30, count: 1 };
        let offered = Flavor::defaults().into_iter().map(|flavor| OfferedFlavor {
            gpu_kind: flavor.gpus.as_ref().map(gpu_kind),
            flavor,
            sold_out: false,
        });
        let flavors = offered.map(|flavor| shape::flavor(&flavor)).collect();
        Wanted::of(&Query::of(query)).unwrap().page(flavors)
    }

    fn ids(query: &str) -> Vec<String> {
        page(query).data.into_iter().map(|flavor| flavor.id).collect()
    }

    #[test]
    fn without_a_limit_everything_is_on_page_one() {
        let page = page("");
        assert_eq!((page.current, page.pages, page.size, page.total), (1, 1, 5, 5));
        assert_eq!(page.data, page.flavors);
        assert_eq!(page.data[0].memory, 8_388_608);
    }

    #[test]
    fn filters_take_only_what_is_there() {
        assert_eq!(ids("category=cpu&type=MANAGED&feature=notebook").len(), 4);
        assert_eq!(ids("category=gpu"), ["modelarts.vm.gpu.1"]);
        for none in ["category=ASCEND", "flavor_type=ASCEND_SNT9", "feature=DEFAULT"] {
            assert!(ids(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_flavor_with_gpus_says_how_many_and_what_the_machine_has() {
        let [of_the_machine] = page("category=GPU").data.try_into().unwrap();
        let shown = of_the_machine.gpu.unwrap();
        assert_eq!((shown.gpu_memory.as_deref(), shown.kind.as_deref()), (Some("79GiB"), Some("Card")));
        assert_eq!(shown.gpu, 1.into());
        assert!(page("category=CPU").data.iter().all(|flavor| flavor.gpu.is_none()));
        let flavor = Flavor { gpus: FlavorGpus::of(1, Some("Another")), ..Flavor::defaults().remove(0) };
        let shown = shape::flavor(&OfferedFlavor { flavor, sold_out: true, gpu_kind: None }).gpu.unwrap();
        assert_eq!((shown.gpu_memory, shown.kind.as_deref()), (None, Some("Another")));
    }

    #[test]
    fn sorting_and_paging_act_together() {
        let three = ["atelier.cpu.small", "modelarts.vm.cpu.free", "modelarts.vm.cpu.2u"];
        assert_eq!(ids("sort_key=vcpus,memory&sort_dir=ASC&limit=3"), three);
        assert_eq!(ids("sort_key=memory&limit=2"), ["modelarts.vm.cpu.8u", "modelarts.vm.gpu.1"]);
        assert_eq!(ids("sort_key=vcpus&sort_dir=asc&limit=1"), ["atelier.cpu.small"]);
        let second = page("limit=3&offset=3");
        assert_eq!((second.current, second.pages, second.size, second.data.len()), (1, 2, 3, 2));
    }
}
