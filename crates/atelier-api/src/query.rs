//! Reads query strings key by key.
//!
//! What is wrong with a parameter is always 0104 (a sort key: 6303), and the refusal names the parameter. An empty value
//! is the same as none, but where a number is asked for: no number is empty. Keys that nobody asks for are ignored. A key
//! may be repeated with the same value; with different values nobody could say which one counts, so that is refused.

use atelier_core::pool;
use atelier_core::refusal::{Code, Refusal};

use crate::fields::word_in;

/// The contract's limit.
const LONGEST_SORT_KEY: usize = 128;

/// The parameters of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters in a query string, as it stands after the question mark.
    pub(crate) fn of(raw: &str) -> Self {
        Self(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        Self::only(name, self.values(name).filter(|value| !value.is_empty()))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What is given once, or again and again the same.
    fn only<'q>(name: &str, mut values: impl Iterator<Item = &'q str>) -> Result<Option<&'q str>, Refusal> {
        let first = values.next();
        match first {
            Some(first) if values.any(|other| other != first) => {
                Err(Refusal::bad_query(name, "given once, not with several values"))
            }
            found => Ok(found),
        }
    }

    /// A text of at most `longest` characters.
    pub(crate) fn short_text(&self, name: &str, longest: usize) -> Result<Option<&str>, Refusal> {
        match self.text(name)? {
            Some(text) if text.chars().count() > longest => {
                Err(Refusal::bad_query(name, &format!("at most {longest} characters long")))
            }
            found => Ok(found),
        }
    }

    /// A whole number. One beyond 64 bits comes back as the nearest that fits, for a range check to refuse.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = Self::only(name, self.values(name))? else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Refusal::bad_query(name, "an integer"));
        }
        let saturated = if text.starts_with('-') { i64::MIN } else { i64::MAX };
        Ok(Some(text.parse().unwrap_or(saturated)))
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number_within(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, Refusal> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        match u32::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Refusal::bad_query(name, &format!("an integer from {least} to {most}"))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        Ok(self.word(name, &["true", "false"])?.map(|word| word == "true"))
    }

    /// One of the contract's words, in any letter case.
    pub(crate) fn word(&self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wanted = || Refusal::bad_query(name, &format!("one of {}", allowed.join(", ")));
        word_in(text, allowed).map(Some).ok_or_else(wanted)
    }

    /// The workspace asked for, in either spelling. There is only the built-in one.
    pub(crate) fn workspace(&self) -> Result<(), Refusal> {
        for name in ["workspace_id", "workspaceId"] {
            match self.text(name)? {
                None | Some("0") => {}
                Some(other) => return Err(unknown_workspace(name, other)),
            }
        }
        Ok(())
    }

    /// What can be read from its text; refused as anything else than `wanted` says.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, Refusal> {
        let parsed = |text: &str| text.parse().map_err(|_| Refusal::bad_query(name, wanted));
        self.text(name)?.map(parsed).transpose()
    }

    /// The id of a pool, as the contract forms them.
    pub(crate) fn pool(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.text(name)? {
            Some(text) if !pool::is_id(text) => Err(Refusal::bad_query(name, pool::ID_FORM)),
            found => Ok(found),
        }
    }

    /// `sort_key`, several by commas, as some of `allowed`, each the spelling in a query and what it stands for.
    pub(crate) fn sort_keys<T: Copy>(&self, allowed: &[(&str, T)]) -> Result<Vec<T>, Refusal> {
        let Some(text) = self.text("sort_key")? else { return Ok(Vec::new()) };
        let known = |name: &str| allowed.iter().find(|(spelling, _)| *spelling == name).map(|(_, key)| *key);
        let keys: Option<Vec<_>> = text.split(',').map(known).collect();
        keys.filter(|_| text.len() <= LONGEST_SORT_KEY).ok_or_else(|| {
            let names: Vec<_> = allowed.iter().map(|(spelling, _)| *spelling).collect();
            let message =
                format!("query parameter `sort_key` must be one or several, by commas, of {}", names.join(", "));
            Refusal::new(Code::BadSortKey, message)
        })
    }

    /// Whether the largest comes first, which is also the default.
    pub(crate) fn descending(&self) -> Result<bool, Refusal> {
        Ok(self.word("sort_dir", &["ASC", "DESC"])? != Some("ASC"))
    }
}

/// The refusal of every workspace but the built-in one.
pub(crate) fn unknown_workspace(field: &str, id: &str) -> Refusal {
    let shown: String = id.chars().take(40).collect();
    let message = format!("`{field}`: workspace `{shown}` does not exist; there is only `0`");
    Refusal::new(Code::UnknownWorkspace, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_empty_ones_are_none() {
        let query = Query::of("name=my%20nb%2F1&status=&x&limit=10");
        assert_eq!(query.text("name"), Ok(Some("my nb/1")));
        assert_eq!((query.text("status"), query.text("x"), query.text("y")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!(query.number_within("limit", 1, 10), Ok(Some(10)));
    }

    #[test]
    fn numbers_out_of_range_or_of_form_are_refused_by_name() {
        for bad in ["", "0", "11", "-1", "1.0", "x", "+5", "5+", "0x5", "99999999999999999999", "-99999999999999999999"]
        {
            let query = Query::of(&format!("limit={bad}"));
            let refusal = query.number_within("limit", 1, 10).unwrap_err();
            assert_eq!(refusal.code(), Code::BadQuery, "{bad}");
            assert!(refusal.message().contains("`limit`"));
        }
        assert_eq!(Query::of("d=-1").integer("d"), Ok(Some(-1)));
        assert_eq!(Query::of("d=-99999999999999999999").integer("d"), Ok(Some(i64::MIN)));
    }

    #[test]
    fn a_key_with_two_values_is_refused_and_with_one_twice_is_not() {
        assert_eq!(Query::of("a=1&a=2").text("a").unwrap_err().code(), Code::BadQuery);
        assert_eq!(Query::of("a=1&a=1").text("a"), Ok(Some("1")));
    }

    #[test]
    fn several_sort_keys_keep_their_order() {
        let allowed = [("name", 1), ("create_at", 2)];
        let keys = |text: &str| Query::of(&format!("sort_key={text}")).sort_keys(&allowed);
        assert_eq!((keys(""), keys("create_at")), (Ok(vec![]), Ok(vec![2])));
        assert_eq!(keys("create_at,name"), Ok(vec![2, 1]));
        for bad in ["size", "Name", "name,", ",name", "name,,create_at", "name, create_at", &"name,".repeat(30)] {
            let refusal = keys(bad).unwrap_err();
            assert_eq!(refusal.code(), Code::BadSortKey, "{bad}");
            assert!(refusal.message().contains("name, create_at"), "{bad}");
        }
    }

    #[test]
    fn both_spellings_of_the_workspace_are_read() {
        assert_eq!(Query::of("workspace_id=0&workspaceId=0").workspace(), Ok(()));
        for bad in ["workspace_id=1", "workspaceId=ffff", "workspace_id=0&workspaceId=1"] {
            assert_eq!(Query::of(bad).workspace().unwrap_err().code(), Code::UnknownWorkspace, "{bad}");
        }
    }

    #[test]
    fn ids_of_pools_have_the_contract_s_form() {
        for good in ["pool", "p-1-x9", &"p".repeat(64)] {
            assert_eq!(Query::of(&format!("pool_id={good}")).pool("pool_id"), Ok(Some(good)));
        }
        for bad in ["abc", "1pool", "-pool", "pool-", "Pool", "po_ol", "pöol", &"p".repeat(65)] {
            assert_eq!(
                Query::of(&format!("pool_id={bad}")).pool("pool_id").unwrap_err().code(),
                Code::BadQuery,
                "{bad}"
            );
        }
    }
}
