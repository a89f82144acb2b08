//! The query of the list of projects.

use atelier_store::people::Project;

use crate::canonical::decode;
use crate::refusal::IamRefusal;

/// The last page that can be asked for: what a 32-bit integer holds, as the served document says.
const MOST_PAGES: usize = 2_147_483_647;
/// The largest page of a list.
const MOST_PER_PAGE: usize = 5000;

/// The query of `GET /v3/projects`. Conditions join with *and*; parameters that mean nothing here are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFilter {
    name: Option<String>,
    domain_id: Option<String>,
    parent_id: Option<String>,
    enabled: Option<bool>,
    is_domain: Option<bool>,
    /// The page, from 1, and its size. Without a size there is one page.
    page: usize,
    per_page: Option<usize>,
    /// The query without the page, for the links to its neighbours.
    conditions: String,
}

/// A page of projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectPage {
    /// The projects, by name.
    pub projects: Vec<Project>,
    /// The query that shows the page before.
    pub previous: Option<String>,
    /// The query that shows the next page.
    pub next: Option<String>,
}

impl ProjectFilter {
    /// Reads a query as it came, without the question mark.
    pub fn parse(query: &str) -> Result<Self, IamRefusal> {
        let mut filter = Self { page: 1, ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = String::from_utf8_lossy(&decode(value, true)).into_owned();
            if filter.take(name, value)? {
                let separator = if filter.conditions.is_empty() { "" } else { "&" };
                filter.conditions.push_str(separator);
                filter.conditions.push_str(pair);
            }
        }
        Ok(filter)
    }

    /// Takes one parameter; says whether it is a condition (and not the page).
    fn take(&mut self, name: &str, value: String) -> Result<bool, IamRefusal> {
        match name {
            "name" => self.name = Some(value),
            "domain_id" => self.domain_id = Some(value),
            "parent_id" => self.parent_id = Some(value),
            "enabled" => self.enabled = Some(boolean(name, &value)?),
            "is_domain" => self.is_domain = Some(boolean(name, &value)?),
            "page" => self.page = number(name, &value, MOST_PAGES)?,
            "per_page" => self.per_page = Some(number(name, &value, MOST_PER_PAGE)?),
            _ => {}
        }
        Ok(name != "page" && name != "per_page")
    }

    pub(crate) fn page_of<'a>(&self, projects: impl IntoIterator<Item = &'a Project>) -> ProjectPage {
        let fitting = projects.into_iter().filter(|project| self.fits(project));
        let Some(size) = self.per_page else {
            return ProjectPage { projects: fitting.cloned().collect(), ..ProjectPage::default() };
        };
        let skipped = size.saturating_mul(self.page - 1);
        let mut projects: Vec<_> = fitting.skip(skipped).take(size + 1).cloned().collect();
        let next = (projects.len() > size).then(|| self.query_of_page(self.page + 1, size));
        projects.truncate(size);
        let previous = (self.page > 1).then(|| self.query_of_page(self.page - 1, size));
        ProjectPage { projects, previous, next }
    }

    /// Every project lies in its domain, is enabled, and is no domain.
    fn fits(&self, project: &Project) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.name, &project.name)
            && is(&self.domain_id, project.domain_id.as_str())
            && is(&self.parent_id, project.domain_id.as_str())
            && self.enabled != Some(false)
            && self.is_domain != Some(true)
    }

    fn query_of_page(&self, page: usize, size: usize) -> String {
        let separator = if self.conditions.is_empty() { "" } else { "&" };
        format!("{}{separator}page={page}&per_page={size}", self.conditions)
    }
}

fn boolean(name: &str, value: &str) -> Result<bool, IamRefusal> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(IamRefusal::bad_request(format!("query parameter `{name}` must be `true` or `false`"))),
    }
}

fn number(name: &str, value: &str, most: usize) -> Result<usize, IamRefusal> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        IamRefusal::bad_request(format!("query parameter `{name}` must be a whole number from 1 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projects() -> Vec<Project> {
        let project = |n: usize| Project {
            id: format!("{n:032x}").parse().unwrap(),
            domain_id: "d".repeat(32).parse().unwrap(),
            name: format!("project {n}"),
            description: String::new(),
        };
        (1..=5).map(project).collect()
    }

    fn names(query: &str) -> Vec<String> {
        let page = ProjectFilter::parse(query).unwrap().page_of(&projects());
        page.projects.into_iter().map(|project| project.name).collect()
    }

    #[test]
    fn conditions_join_with_and() {
        assert_eq!(names("").len(), 5);
        assert_eq!(names("name=project%202"), ["project 2"]);
        assert_eq!(names("name=project+2&enabled=True"), ["project 2"]);
        assert_eq!(names("name=project%202&enabled=false").len(), 0);
        assert_eq!(names("name=project").len(), 0);
        assert_eq!(names(&format!("domain_id={}&parent_id={}", "d".repeat(32), "d".repeat(32))).len(), 5);
        assert_eq!(names("parent_id=other").len(), 0);
        assert_eq!(names("is_domain=true").len(), 0);
        assert_eq!(names("is_domain=false&unheard=of").len(), 5);
    }

    #[test]
    fn pages_link_to_their_neighbours_and_keep_the_conditions() {
        let page = |query: &str| ProjectFilter::parse(query).unwrap().page_of(&projects());
        let middle = page("enabled=true&page=2&per_page=2");
        assert_eq!(middle.projects.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["project 3", "project 4"]);
        assert_eq!(middle.previous.as_deref(), Some("enabled=true&page=1&per_page=2"));
        assert_eq!(middle.next.as_deref(), Some("enabled=true&page=3&per_page=2"));
        let last = page("page=3&per_page=2");
        assert_eq!((last.projects.len(), last.next), (1, None));
        assert_eq!(page("page=2&per_page=5").projects.len(), 0);
        assert_eq!(page("per_page=5").next, None);
    }

    #[test]
    fn refusals_name_the_parameter() {
        for query in ["enabled=1", "is_domain=", "page=0", "page=-1", "page=x", "per_page=0", "per_page=5001"] {
            let refusal = ProjectFilter::parse(query).unwrap_err();
            assert_eq!(refusal.http, 400);
            assert!(refusal.message.contains(query.split('=').next().unwrap()), "{query}");
        }
        assert!(ProjectFilter::parse(&format!("page={MOST_PAGES}&per_page=5000")).is_ok());
        assert!(ProjectFilter::parse(&format!("page={}", MOST_PAGES + 1)).is_err());
    }
}
