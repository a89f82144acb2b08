//! `ListImage`.

use std::cmp::Ordering;

use atelier_core::refusal::Refusal;
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::page::Window;
use crate::query::Query;
use crate::shape;

/// List the images that notebooks can be made from.
#[utoipa::path(
    get, path = "/v1/{project_id}/images", operation_id = "ListImage", tag = "images",
    params(
        ("project_id" = String, Path),
        ("name" = Option<String>, Query, description = "a part of the name, or all of it: see `name_fuzzy_match`"),
        ("name_fuzzy_match" = Option<bool>, Query, description = "whether a part of the name is enough; true when absent"),
        ("namespace" = Option<String>, Query),
        ("service_type" = Option<String>, Query),
        ("type" = Option<String>, Query, description = "BUILD_IN or DEDICATED"),
        ("show_name" = Option<String>, Query),
        ("show_tag" = Option<String>, Query),
        ("workspace_id" = Option<String>, Query, description = "0"),
        ("sort_key" = Option<String>, Query, description = "one or several, by commas, of name, size, create_at, update_at"),
        ("sort_dir" = Option<String>, Query, description = "ASC or DESC"),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 200 when absent"),
        ("offset" = Option<u32>, Query, description = "records to skip"),
    ),
    responses((status = 200, body = wire::ImagePage), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn list(State(api): State<Api>, call: Call) -> Answer<wire::ImagePage> {
    let wanted = Wanted::of(&call.query)?;
    let images = api.engine.images().await?;
    Ok(Json(wanted.page(images.iter().map(shape::image).collect())))
}

const DEFAULT_LIMIT: u32 = 200;

#[derive(Clone, Copy)]
enum SortBy {
    Name,
    Size,
    /// Built-in images carry no times: they are all equal, and stay in their order.
    Time,
}

const SORT_KEYS: [(&str, SortBy); 6] = [
    ("name", SortBy::Name),
    ("size", SortBy::Size),
    ("create_at", SortBy::Time),
    ("update_at", SortBy::Time),
    ("createTime", SortBy::Time),
    ("updateTime", SortBy::Time),
];

struct Wanted<'q> {
    window: Window,
    name: Option<&'q str>,
    whole_name: bool,
    namespace: Option<&'q str>,
    service_type: Option<&'static str>,
    kind: Option<&'static str>,
    show_name: Option<&'q str>,
    show_tag: Option<&'q str>,
    sort_by: Vec<SortBy>,
    descending: bool,
}

impl<'q> Wanted<'q> {
    fn of(query: &'q Query) -> Result<Self, Refusal> {
        let wanted = Self {
            window: Window::of(query, Some(DEFAULT_LIMIT))?,
            name: query.short_text("name", 512)?,
            whole_name: query.flag("name_fuzzy_match")? == Some(false),
            namespace: query.short_text("namespace", 64)?,
            service_type: query.word("service_type", &["COMMON", "INFERENCE", "TRAIN", "DEV", "UNKNOWN"])?,
            kind: query.word("type", &["BUILD_IN", "DEDICATED"])?,
            show_name: query.text("show_name")?,
            show_tag: query.text("show_tag")?,
            sort_by: query.sort_keys(&SORT_KEYS)?,
            descending: query.descending()?,
        };
        query.workspace()?;
        Ok(wanted)
    }

    fn matches(&self, image: &wire::Image) -> bool {
        let same = |wanted: Option<&str>, found: Option<&str>| wanted.is_none() || wanted == found;
        let named = |name: &str| if self.whole_name { image.name == name } else { image.name.contains(name) };
        self.name.is_none_or(named)
            && same(self.namespace, image.namespace.as_deref())
            && same(self.service_type, image.service_type.as_deref())
            && same(self.kind, Some(&image.kind))
            && same(self.show_name, image.show_name.as_deref())
            && same(self.show_tag, image.show_tag.as_deref())
    }

    fn page(&self, mut images: Vec<wire::Image>) -> wire::ImagePage {
        images.retain(|image| self.matches(image));
        images.sort_by(|a, b| {
            let by = |key: &SortBy| match key {
                SortBy::Name => a.name.cmp(&b.name),
                SortBy::Size => a.size.cmp(&b.size),
                SortBy::Time => Ordering::Equal,
            };
            let order = self.sort_by.iter().map(by).fold(Ordering::Equal, Ordering::then);
            if self.descending { order.reverse() } else { order }
        });
        let total = images.len() as u64;
        let paging = self.window.paging(total);
        let data = self.window.cut(images);
        wire::ImagePage { current: paging.current, data, pages: paging.pages, size: paging.size, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> Vec<String> {
        let image = |name: &str, namespace: &str, size| wire::Image {
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            kind: shape::BUILD_IN.to_owned(),
            service_type: Some(shape::SERVICE_TYPE.to_owned()),
            show_name: Some(name.to_owned()),
            show_tag: Some("1".to_owned()),
            size,
            ..wire::Image::default()
        };
        let images = vec![image("jupyter", "atelier", Some(5)), image("jupyter-gpu", "atelier", Some(9))];
        let query = Query::of(query);
        Wanted::of(&query).unwrap().page(images).data.into_iter().map(|image| image.name).collect()
    }

    #[test]
    fn names_match_in_part_unless_told_otherwise() {
        assert_eq!(names("name=gpu"), ["jupyter-gpu"]);
        assert_eq!(names("name=jupyter&name_fuzzy_match=false"), ["jupyter"]);
        assert_eq!(names("name=Jupyter"), [""; 0]);
    }

    #[test]
    fn the_other_filters_match_wholly() {
        let query = "namespace=atelier&type=build_in&service_type=common&show_tag=1&workspace_id=0";
        assert_eq!(names(query), ["jupyter", "jupyter-gpu"]);
        for none in ["namespace=atel", "type=DEDICATED", "service_type=TRAIN", "show_name=jup", "show_tag=2"] {
            assert_eq!(names(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn images_sort_by_name_and_size_and_otherwise_stay() {
        assert_eq!(names("sort_key=size"), ["jupyter-gpu", "jupyter"]);
        assert_eq!(names("sort_key=name&sort_dir=ASC"), ["jupyter", "jupyter-gpu"]);
        assert_eq!(names("sort_key=updateTime"), ["jupyter", "jupyter-gpu"]);
        assert_eq!(names("sort_key=updateTime,size"), ["jupyter-gpu", "jupyter"]);
        assert_eq!(names("limit=1&offset=1"), ["jupyter-gpu"]);
    }
}
