//! Tags: words that people hang on notebooks, to find them again.
//!
//! A set of tags is valid by its type: keys and values follow the contract's rules, and there are never more than
//! [`MAX_TAGS`]. Whoever holds [`Tags`] need not check anything.

use std::collections::BTreeMap;

use crate::refusal::{Code, Refusal};

/// Tags that a notebook can have.
pub const MAX_TAGS: usize = 20;
/// The longest key, in characters.
pub const MAX_KEY_CHARS: usize = 128;
/// The longest value, in characters.
pub const MAX_VALUE_CHARS: usize = 255;

/// Keys that begin like this belong to the vendor.
const RESERVED: &str = "_sys_";

/// The key of a tag, valid by its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagKey(Box<str>);

impl TagKey {
    /// The key with this text. `field` names it in a refusal.
    pub fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        let chars = text.chars().count();
        if chars == 0 || chars > MAX_KEY_CHARS {
            return Err(Refusal::bad_value(field, "1 to 128 characters long"));
        }
        if text.starts_with(RESERVED) {
            return Err(Refusal::bad_value(field, "without `_sys_` at its beginning"));
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(Refusal::bad_value(field, "without a space at either end"));
        }
        check_characters(field, text, "_ . : = + - @", "")?;
        Ok(Self(text.into()))
    }

    /// Its text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of a tag, valid by its type. It may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagValue(Box<str>);

impl TagValue {
    /// The value with this text. `field` names it in a refusal.
    pub fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        if text.chars().count() > MAX_VALUE_CHARS {
            return Err(Refusal::bad_value(field, "at most 255 characters long"));
        }
        check_characters(field, text, "_ . : / = + - @", "/")?;
        Ok(Self(text.into()))
    }

    /// Its text.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters of any language, digits, the space and a few signs.
fn check_characters(field: &str, text: &str, signs: &str, more: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_alphanumeric() || " _.:=+-@".contains(c) || more.contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(Refusal::new(
            Code::BadValue,
            format!("`{field}` may hold letters, digits, spaces and {signs}, not {c:?}"),
        )),
    }
}

/// The tags of one notebook, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<TagKey, TagValue>);

impl Tags {
    /// No tags.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// These tags; of several with one key the last. Refused when they are too many.
    pub fn new(tags: impl IntoIterator<Item = (TagKey, TagValue)>) -> Result<Self, Refusal> {
        Self::none().with(tags)
    }

    /// The same with these tags besides: an existing key gets its new value. Refused when they become too many.
    pub fn with(&self, tags: impl IntoIterator<Item = (TagKey, TagValue)>) -> Result<Self, Refusal> {
        let mut all = self.0.clone();
        all.extend(tags);
        if all.len() > MAX_TAGS {
            let message = format!("`tags` would be {} on this notebook; there can be {MAX_TAGS}", all.len());
            return Err(Refusal::new(Code::BadValue, message));
        }
        Ok(Self(all))
    }

    /// The same without these keys; what is not there is no matter.
    #[must_use]
    pub fn without<'k>(&self, keys: impl IntoIterator<Item = &'k TagKey>) -> Self {
        let mut rest = self.0.clone();
        for key in keys {
            rest.remove(key);
        }
        Self(rest)
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of a key, when there is such a tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> (TagKey, TagValue) {
        (TagKey::new("key", key).unwrap(), TagValue::new("value", value).unwrap())
    }

    #[test]
    fn keys_follow_the_contract() {
        for good in ["a", "Größe", "团队", "日本", "a b", "x_.:=+-@y", "_syst", &"k".repeat(128), "7"] {
            assert!(TagKey::new("key", good).is_ok(), "{good}");
        }
        for bad in ["", " a", "a ", "_sys_x", "a/b", "a,b", "a|b", "a\tb", "a\n", "😀", &"k".repeat(129)] {
            let refusal = TagKey::new("tags[0].key", bad).unwrap_err();
            assert_eq!(refusal.code(), Code::BadValue, "{bad}");
            assert!(refusal.message().contains("`tags[0].key`"), "{}", refusal.message());
        }
    }

    #[test]
    fn values_may_be_empty_and_have_slashes() {
        for good in ["", " a ", "team/one", "_sys_x", &"v".repeat(255)] {
            assert!(TagValue::new("value", good).is_ok(), "{good}");
        }
        for bad in ["a,b", "a|b", "a\0", &"v".repeat(256)] {
            assert_eq!(TagValue::new("value", bad).unwrap_err().code(), Code::BadValue, "{bad}");
        }
    }

    #[test]
    fn there_are_never_more_than_twenty() {
        let twenty = Tags::new((0..20).map(|n| tag(&format!("k{n}"), "1"))).unwrap();
        assert_eq!(twenty.len(), 20);
        assert_eq!(twenty.with([tag("other", "1")]).unwrap_err().code(), Code::BadValue);
        let changed = twenty.with([tag("k3", "2"), tag("k3", "3")]).unwrap();
        assert_eq!(changed.iter().find(|(key, _)| *key == "k3"), Some(("k3", "3")));
        let rest = changed.without([&tag("k3", "").0, &tag("unknown", "").0]);
        assert_eq!(rest.len(), 19);
        assert!(rest.with([tag("other", "1")]).is_ok());
    }
}
