//! One layer of configuration: where values come from, before anybody knows what they mean.
//!
//! Every layer is flattened to `section.key` → value, and every value remembers where it was written, down to the line
//! of a file. A generic deserialiser would stop at the first mistake and would have forgotten the line by then.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

/// The prefix of environment variables that set configuration keys: `ATELIER_SECTION__KEY`.
const PREFIX: &str = "ATELIER_";
/// The table whose keys are names of environment variables: their letter case counts.
const ENVIRONMENT: &str = "local.environment.";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file and a line in it.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// Text from the environment or the command line, which may stand for any type.
    Bare(String),
    /// A quoted text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// A list; each item with its line.
    List(Vec<(Raw, usize)>),
    /// A table inside a list; each value with its line.
    Table(BTreeMap<String, (Raw, usize)>),
    /// Something that no key takes: a date, a fraction, a number beyond 64 bits.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) | Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The value.
    pub raw: Raw,
    /// Where it was written.
    pub source: Source,
}

/// The values of one layer, by `section.key`.
pub(crate) type Layer = BTreeMap<String, Entry>;

/// What is wrong with the spelling of a file: where, and what.
pub(super) type SyntaxError = (Source, String);

/// Reads a TOML file's text. Everything that can be read is returned, also beside mistakes.
pub(super) fn from_toml(path: &std::path::Path, text: &str) -> (Layer, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |offset: usize| Source::File(path.to_owned(), line_of(text, offset));
    let errors = errors
        .into_iter()
        .map(|error| (at(error.span().map_or(0, |span| span.start)), error.message().to_owned()))
        .collect();
    let mut layer = Layer::new();
    flatten(table.get_ref(), "", &mut |key, value, offset| {
        layer.insert(key, Entry { raw: raw(value, text), source: at(offset) });
    });
    (layer, errors)
}

fn flatten(table: &DeTable<'_>, prefix: &str, take: &mut dyn FnMut(String, &DeValue<'_>, usize)) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(inner, &format!("{path}."), take),
            other => take(path, other, key.span().start),
        }
    }
}

fn raw(value: &DeValue<'_>, text: &str) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number beyond 64 bits"), Raw::Integer),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| (raw(item.get_ref(), text), line_of(text, item.span().start))).collect())
        }
        DeValue::Table(table) => Raw::Table(
            table
                .iter()
                .map(|(key, value)| {
                    (key.get_ref().to_string(), (raw(value.get_ref(), text), line_of(text, key.span().start)))
                })
                .collect(),
        ),
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Reads the variables `ATELIER_SECTION__KEY`; all others are somebody else's.
pub(super) fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Layer {
    let set = |(name, value): (String, String)| {
        let (section, key) = name.strip_prefix(PREFIX)?.split_once("__")?;
        let key = key.replace("__", ".");
        let path = match key.split_once('.') {
            Some((table, variable)) => format!("{section}.{table}.").to_lowercase() + variable,
            None => format!("{section}.{key}").to_lowercase(),
        };
        let path = if path.starts_with(ENVIRONMENT) { path } else { path.to_lowercase() };
        Some((path, Entry { raw: Raw::Bare(value), source: Source::Variable(name) }))
    };
    variables.into_iter().filter_map(set).collect()
}

/// The variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_file_is_flattened_and_every_value_knows_its_line() {
        let text = "[server]\nlisten = \"a\"\n\n[lease]\nmin_ms = 0x10\n[[flavors]]\nid = \"x\"\n";
        let (layer, errors) = from_toml(Path::new("f.toml"), text);
        assert_eq!(errors, []);
        assert_eq!(layer["server.listen"].raw, Raw::Text("a".into()));
        assert_eq!(layer["server.listen"].source.to_string(), "f.toml:2");
        assert_eq!(layer["lease.min_ms"].raw, Raw::Integer(16));
        let Raw::List(flavors) = &layer["flavors"].raw else { panic!("{layer:?}") };
        let Raw::Table(flavor) = &flavors[0].0 else { panic!("{layer:?}") };
        assert_eq!(flavor["id"], (Raw::Text("x".into()), 7));
    }

    #[test]
    fn several_spelling_mistakes_are_all_found_and_the_rest_is_read() {
        let (layer, errors) = from_toml(Path::new("f"), "[a]\nx = \ny = 1\nq = 2 2\n");
        let mut lines: Vec<_> = errors.iter().map(|(source, _)| source.to_string()).collect();
        lines.sort();
        assert_eq!(lines, ["f:2", "f:4"], "{errors:?}");
        assert_eq!(layer["a.y"].raw, Raw::Integer(1));
    }

    #[test]
    fn only_variables_with_a_section_set_keys() {
        let layer = from_environment(
            [
                ("ATELIER_LEASE__MIN_MS", "5"),
                ("ATELIER_LOCAL__ENVIRONMENT__PIP_INDEX_URL", "u"),
                ("ATELIER_TOKEN", "secret"),
                ("HOME", "/"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(layer.keys().collect::<Vec<_>>(), ["lease.min_ms", "local.environment.PIP_INDEX_URL"]);
        assert_eq!(layer["lease.min_ms"].source.to_string(), "environment variable ATELIER_LEASE__MIN_MS");
    }

    #[test]
    fn the_variable_of_a_key_sets_that_key() {
        let layer = from_environment([(variable_of("server.data_dir"), "x".to_owned())]);
        assert!(layer.contains_key("server.data_dir"));
    }
}
