//! `ListNotebooks`, `ListAllNotebooks`.
//!
//! Filters join with *and*. One that nothing here can match, such as the address of a node that notebooks are not told
//! of, is a question like any other, and its answer is an empty page.

use std::net::Ipv4Addr;

use atelier_core::feature::Feature;
use atelier_core::id::UserId;
use atelier_core::limits::MAX_NAME_CHARS;
use atelier_core::notebook::Notebook;
use atelier_core::refusal::Refusal;
use atelier_core::status::Status;
use atelier_engine::ListNotebooks;
use atelier_store::{NotebookFilter, NotebookPage, Searched, SortKey};
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::page::{Paging, Window};
use crate::query::Query;
use crate::shape;

/// What both lists can be asked, for the document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; parameters are read one by one, so that a refusal names the one")]
struct Parameters {
    /// a part of the name
    name: Option<String>,
    /// a part of the description
    description: Option<String>,
    /// a part of the flavor's id
    flavor: Option<String>,
    /// a part of the image's `swr_path`
    swr_path: Option<String>,
    /// a part of the name of the user it belongs to
    username: Option<String>,
    /// a part of the name of the pool
    pool_name: Option<String>,
    /// this notebook
    id: Option<String>,
    /// made from this image
    image_id: Option<String>,
    /// in this pool
    pool_id: Option<String>,
    status: Option<String>,
    /// NOTEBOOK or DEFAULT; NOTEBOOK when absent
    feature: Option<String>,
    /// COMPUTE, STORAGE or ALL: charged for this at present
    billing: Option<String>,
    /// the IPv4 address of the node
    ip: Option<String>,
    /// with all of these: `key|value,key|value`
    tags: Option<String>,
    /// the id of a user: only theirs; another's than one's own for administrators
    owner: Option<String>,
    /// 0
    workspace_id: Option<String>,
    /// the same
    #[param(rename = "workspaceId")]
    other_workspace_id: Option<String>,
    /// one or several, by commas, of `create_at` (createTime), `update_at` (updateTime), name, status, flavor; the first when
    /// absent
    sort_key: Option<String>,
    /// ASC or DESC
    sort_dir: Option<String>,
    /// 1 to 1000; 10 when absent
    limit: Option<u32>,
    /// records to skip
    offset: Option<u32>,
}

/// List the caller's own notebooks.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks", operation_id = "ListNotebooks", tag = "notebooks",
    params(("project_id" = String, Path), Parameters),
    responses((status = 200, body = wire::NotebookPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn own(State(api): State<Api>, call: Call) -> Answer<wire::NotebookPage> {
    let wanted = Wanted::of(&call.query)?;
    match &wanted.owner {
        Some(owner) if *owner != call.caller.user_id => {
            call.administrator()?;
            of_project(&api, &call, wanted).await
        }
        _ => {
            let page = if wanted.nothing { empty() } else { api.engine.list(&call.caller, wanted.list).await? };
            Ok(Json(page_of(&api, &call, wanted.window, &page)))
        }
    }
}

/// List everybody's notebooks in the project. For users who hold the role `admin` in it. What opens a notebook stands
/// only in the caller's own ones.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/all", operation_id = "ListAllNotebooks", tag = "notebooks",
    params(("project_id" = String, Path), Parameters),
    responses((status = 200, body = wire::NotebookPage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn all(State(api): State<Api>, call: Call) -> Answer<wire::NotebookPage> {
    call.administrator()?;
    of_project(&api, &call, Wanted::of(&call.query)?).await
}

async fn of_project(api: &Api, call: &Call, wanted: Wanted) -> Answer<wire::NotebookPage> {
    let page =
        if wanted.nothing { empty() } else { api.engine.list_all(&call.caller, wanted.owner, wanted.list).await? };
    Ok(Json(page_of(api, call, wanted.window, &page)))
}

const fn empty() -> NotebookPage {
    NotebookPage { items: Vec::new(), total: 0 }
}

fn page_of(api: &Api, call: &Call, window: Window, page: &NotebookPage) -> wire::NotebookPage {
    let shown = |notebook: &Notebook| {
        let token_is_theirs = notebook.owner.user_id != call.caller.user_id;
        let shown = shape::notebook(notebook, &api.config.notebooks);
        if token_is_theirs { wire::Notebook { token: None, ..shown } } else { shown }
    };
    let data = page.items.iter().map(shown).collect();
    let Paging { current, pages, size } = window.paging(page.total);
    wire::NotebookPage { current, data, pages, size, total: page.total }
}

/// Records on a page when nothing is said.
const DEFAULT_LIMIT: u32 = 10;

const SORT_KEYS: [(&str, SortKey); 7] = [
    ("create_at", SortKey::CreateAt),
    ("update_at", SortKey::UpdateAt),
    ("name", SortKey::Name),
    ("status", SortKey::Status),
    ("flavor", SortKey::Flavor),
    ("createTime", SortKey::CreateAt),
    ("updateTime", SortKey::UpdateAt),
];

/// Texts that are searched for a part, and how long that can be.
const SEARCHED: [(&str, usize, Searched); 6] = [
    ("name", MAX_NAME_CHARS, Searched::Name),
    ("description", 512, Searched::Description),
    ("flavor", 256, Searched::Flavor),
    ("swr_path", 2048, Searched::SwrPath),
    ("username", 256, Searched::UserName),
    ("pool_name", 64, Searched::PoolName),
];

/// What a list was asked for.
#[derive(Debug)]
struct Wanted {
    window: Window,
    owner: Option<UserId>,
    list: ListNotebooks,
    /// A filter that no notebook here can match.
    nothing: bool,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let window = Window::of(query, Some(DEFAULT_LIMIT))?;
        let (status, uncharged) = status(query)?;
        let feature = query.word("feature", &Feature::ALL.map(Feature::as_str))?;
        let mut keys = query.sort_keys(&SORT_KEYS)?.into_iter();
        let descending = query.descending()?;
        query.workspace()?;
        let filter = NotebookFilter {
            contains: contains(query)?,
            id: query.parsed("id", UUID)?,
            status,
            workspace_id: Some("0".to_owned()),
            feature: Some(feature.and_then(|word| word.parse().ok()).unwrap_or_default()),
            image_id: query.parsed("image_id", UUID)?,
            pool_id: query.pool("pool_id")?.map(str::to_owned),
            tags: tags(query)?,
        };
        let of_a_node = query.parsed::<Ipv4Addr>("ip", "an IPv4 address")?.is_some();
        let list = ListNotebooks {
            filter,
            sort_key: keys.next().unwrap_or(SortKey::CreateAt),
            then_by: keys.collect(),
            descending,
            offset: window.offset,
            limit: window.limit.unwrap_or(DEFAULT_LIMIT),
        };
        let owner = query.parsed("owner", "32 hexadecimal digits, lower case")?;
        Ok(Self { window, owner, list, nothing: of_a_node || uncharged })
    }
}

const UUID: &str = "a UUID";

fn contains(query: &Query) -> Result<Vec<(Searched, String)>, Refusal> {
    let mut contains = Vec::new();
    for (name, longest, which) in SEARCHED {
        contains.extend(query.short_text(name, longest)?.map(|part| (which, part.to_owned())));
    }
    Ok(contains)
}

/// The status asked for, also by what it is charged for; and whether no status is charged so.
fn status(query: &Query) -> Result<(Option<Status>, bool), Refusal> {
    let status = query.word("status", &Status::ALL.map(Status::as_str))?.and_then(|word| word.parse().ok());
    let billing = query.word("billing", &["STORAGE", shape::COMPUTE, "ALL"])?;
    let charged = |status: &Status| billing.is_none_or(|item| shape::billing_items(*status).contains(&item));
    match (status, billing) {
        (Some(status), _) => Ok((Some(status), !charged(&status))),
        (None, None) => Ok((None, false)),
        // What is charged is charged in one status at most: the answers say so too.
        (None, Some(_)) => {
            let status = Status::ALL.into_iter().find(charged);
            Ok((status, status.is_none()))
        }
    }
}

fn tags(query: &Query) -> Result<Vec<(String, String)>, Refusal> {
    let wanted = || Refusal::bad_query("tags", "pairs `key|value`, joined by commas");
    let pair = |pair: &str| match pair.split_once('|') {
        Some((key, value)) if !key.is_empty() && !value.contains('|') => Ok((key.to_owned(), value.to_owned())),
        _ => Err(wanted()),
    };
    query.text("tags")?.map_or(Ok(Vec::new()), |text| text.split(',').map(pair).collect())
}

#[cfg(test)]
mod tests {
    use atelier_core::refusal::Code;

    use super::*;

    fn of(query: &str) -> Wanted {
        Wanted::of(&Query::of(query)).unwrap()
    }

    #[test]
    fn tags_are_pairs_of_which_all_must_match() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of("tags=team%7Ca%2Fb,x%7C").list.filter.tags, [pair("team", "a/b"), pair("x", "")]);
        assert_eq!(of("tags=").list.filter.tags, []);
        for bad in ["team", "|a", "a|b|c", ",a|b", "a|b,", "a|b,,c|d", "a||b"] {
            let refusal = Wanted::of(&Query::of(&format!("tags={bad}"))).unwrap_err();
            assert_eq!(refusal.code(), Code::BadQuery, "{bad}");
            assert!(refusal.message().contains("`tags`"));
        }
    }

    #[test]
    fn what_is_charged_is_what_answers_say() {
        assert_eq!((of("").list.filter.status, of("").nothing), (None, false));
        let compute = of("billing=compute");
        assert_eq!((compute.list.filter.status, compute.nothing), (Some(Status::Running), false));
        for none in ["billing=STORAGE", "billing=ALL", "billing=COMPUTE&status=STOPPED", "ip=10.0.0.1"] {
            assert!(of(none).nothing, "{none}");
        }
        assert!(!of("billing=COMPUTE&status=RUNNING").nothing);
    }

    #[test]
    fn several_keys_sort_one_after_the_other() {
        let list = of("sort_key=flavor,updateTime,name&sort_dir=asc").list;
        assert_eq!((list.sort_key, list.then_by), (SortKey::Flavor, vec![SortKey::UpdateAt, SortKey::Name]));
        assert!(!list.descending);
        assert_eq!(of("").list.sort_key, SortKey::CreateAt);
    }
}
