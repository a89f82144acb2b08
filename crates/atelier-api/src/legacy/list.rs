//! What a list of instances is asked for.

use atelier_core::notebook::Notebook;
use atelier_core::refusal::{Code, Refusal};
use atelier_store::{NotebookFilter, SortKey};

use crate::legacy::status;
use crate::query::Query;

/// The only kind of development environment.
pub(crate) const NOTEBOOK: &str = "Notebook";
/// The only way of deploying one.
pub(crate) const DOCKER: &str = "Docker";
/// The only project of the kind that groups instances.
pub(crate) const AI_PROJECT: &str = "default-ai-project";

const SORT_KEYS: [(&str, SortKey); 2] = [("name", SortKey::Name), ("creation_timestamp", SortKey::CreateAt)];

/// A wish for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) status: Option<&'static str>,
    pub(crate) sort_key: SortKey,
    pub(crate) descending: bool,
    /// Also those of others.
    pub(crate) everybodys: bool,
    /// What the store can tell apart: those in one pool.
    pub(crate) filter: NotebookFilter,
    /// Asked for a project of which there is none.
    nothing_matches: bool,
    offset: u32,
    /// 0: all of them.
    limit: u32,
}

impl Wanted {
    pub(crate) fn of(query: &Query) -> Result<Self, Refusal> {
        query.word("de_type", &[NOTEBOOK])?.ok_or_else(|| Refusal::bad_query("de_type", NOTEBOOK))?;
        query.word("provision_type", &[DOCKER])?;
        let most = i32::MAX.unsigned_abs();
        let wanted = Self {
            status: query.word("status", &status::WORDS)?,
            sort_key: sort_key(query)?,
            descending: query.word("order", &["asc", "desc"])? == Some("desc"),
            everybodys: query.flag("show_self")? == Some(false),
            filter: NotebookFilter { pool_id: query.pool("pool_id")?.map(str::to_owned), ..NotebookFilter::NONE },
            nothing_matches: ai_project(query)?,
            offset: query.number_within("offset", 0, most)?.unwrap_or(0),
            limit: query.number_within("limit", 0, most)?.unwrap_or(0),
        };
        query.workspace()?;
        Ok(wanted)
    }

    /// Whether the list shows a notebook that its filter lets through.
    pub(crate) fn shows(&self, notebook: &Notebook) -> bool {
        let status = notebook.status();
        !self.nothing_matches
            && status::is_listed(status)
            && self.status.is_none_or(|wanted| wanted == status::word(status))
    }

    /// The records of the page.
    pub(crate) fn cut<T>(&self, records: Vec<T>) -> Vec<T> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit as usize };
        records.into_iter().skip(self.offset as usize).take(limit).collect()
    }
}

fn sort_key(query: &Query) -> Result<SortKey, Refusal> {
    let Some(text) = query.text("sortby")? else { return Ok(SortKey::Name) };
    let found = SORT_KEYS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, key)| *key).ok_or_else(|| {
        Refusal::new(Code::BadSortKey, "query parameter `sortby` must be one of name, creation_timestamp")
    })
}

/// Whether another project than the only one was asked for, in either spelling.
fn ai_project(query: &Query) -> Result<bool, Refusal> {
    let mut other = false;
    for name in ["ai_project", "ai_project_id"] {
        other |= query.text(name)?.is_some_and(|id| id != AI_PROJECT);
    }
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str) -> Result<Wanted, Code> {
        Wanted::of(&Query::of(query)).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_documented_defaults_hold() {
        let plain = wanted("de_type=Notebook").unwrap();
        assert_eq!((plain.sort_key, plain.descending, plain.everybodys), (SortKey::Name, false, false));
        assert_eq!(plain.cut(vec![1, 2, 3]), [1, 2, 3]);
        assert_eq!(wanted("de_type=Notebook&limit=1&offset=1").unwrap().cut(vec![1, 2, 3]), [2]);
        assert_eq!(wanted("de_type=Notebook&limit=0&offset=2").unwrap().cut(vec![1, 2, 3]), [3]);
        assert!(!wanted("de_type=Notebook&show_self=True").unwrap().everybodys);
        assert!(wanted("de_type=notebook&show_self=false").unwrap().everybodys);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_code() {
        for (query, code) in [
            ("", Code::BadQuery),
            ("de_type=Train", Code::BadQuery),
            ("de_type=Notebook&status=SNAPSHOTTING", Code::BadQuery),
            ("de_type=Notebook&sortby=status", Code::BadSortKey),
            ("de_type=Notebook&order=up", Code::BadQuery),
            ("de_type=Notebook&limit=-1", Code::BadQuery),
            ("de_type=Notebook&workspace_id=1", Code::UnknownWorkspace),
        ] {
            assert_eq!(wanted(query), Err(code), "{query}");
        }
    }
}
