//! Reads request bodies field by field.
//!
//! A derived reader answers "invalid type at line 1 column 34"; the contract wants one of several codes, and a caller
//! wants the name of the field and what would be accepted. So a body is first read as plain JSON, and each field is
//! then asked for by name: missing is 6335, of the wrong JSON type 6332, anything else wrong 6336. `null` is the same
//! as absent. Fields that nobody asks for are not in the contract and are ignored, as it demands.
//!
//! Depth is bounded by the JSON reader (128 levels), size by the limit on bodies.

use atelier_core::refusal::{Code, Refusal};
use serde_json::{Map, Value};

/// An object in a body, and where it is in it.
#[derive(Clone)]
pub(crate) struct Fields {
    object: Map<String, Value>,
    path: String,
}

impl Fields {
    /// The body as an object. Anything else is refused with 6400.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            Refusal::new(Code::BadBody, format!("the body must be a JSON object, but is not JSON at {place}"))
        })?;
        match value {
            Value::Object(object) => Ok(Self { object, path: String::new() }),
            other => {
                Err(Refusal::new(Code::BadBody, format!("the body must be a JSON object, not {}", type_name(&other))))
            }
        }
    }

    /// The same, but no body at all stands for an object without fields.
    pub(crate) fn of_optional_body(body: &[u8]) -> Result<Self, Refusal> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { object: Map::new(), path: String::new() });
        }
        Self::of_body(body)
    }

    /// Where the field is in the body, for example `volume.capacity`.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The field, unless it is absent or `null`.
    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let read = |value: &Value| matches!(value, Value::String(_));
        self.typed(name, "a string", read).map(|found| found.and_then(Value::as_str))
    }

    pub(crate) fn required_text(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::missing(&self.path_of(name)))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, "a boolean", Value::is_boolean).map(|found| found.and_then(Value::as_bool))
    }

    /// A whole number. One beyond 64 bits comes back as the nearest that fits, for a range check to refuse.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.typed(name, "an integer", |value| whole(value).is_some()).map(|found| found.and_then(whole))
    }

    /// A number, whole or not.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        self.typed(name, "a number", Value::is_number).map(|found| found.and_then(Value::as_f64))
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, Refusal> {
        let is_text_list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        let list = self.typed(name, "a list of strings", is_text_list)?.and_then(Value::as_array);
        Ok(list.map(|list| list.iter().filter_map(Value::as_str).collect()))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        let found = self.typed(name, "an object", Value::is_object)?;
        Ok(found.and_then(Value::as_object).map(|object| Self { object: object.clone(), path: self.path_of(name) }))
    }

    pub(crate) fn required_object(&self, name: &str) -> Result<Self, Refusal> {
        self.object(name)?.ok_or_else(|| Refusal::missing(&self.path_of(name)))
    }

    /// The objects of a list; empty when it is absent.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        let list = self.typed(name, "a list", Value::is_array)?.and_then(Value::as_array);
        let item = |(index, value): (usize, &Value)| {
            let path = format!("{}[{index}]", self.path_of(name));
            match value {
                Value::Object(object) => Ok(Self { object: object.clone(), path }),
                _ => Err(Refusal::wrong_type(&path, "an object")),
            }
        };
        list.into_iter().flatten().enumerate().map(item).collect()
    }

    /// One of the contract's words, in any letter case. `allowed` are all that the contract has.
    pub(crate) fn word(&self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        word_in(text, allowed)
            .map(Some)
            .ok_or_else(|| Refusal::bad_value(&self.path_of(name), &format!("one of {}", allowed.join(", "))))
    }

    /// Refuses a field that the contract has and this server does not offer. A value that asks for nothing (`""`,
    /// `[]`, `{}`) is the same as none.
    pub(crate) fn refuse(&self, name: &str) -> Result<(), Refusal> {
        let asks = match self.get(name) {
            None => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(object)) => !object.is_empty(),
            Some(_) => true,
        };
        if asks { Err(Refusal::unsupported(&format!("`{}`", self.path_of(name)))) } else { Ok(()) }
    }

    fn typed(&self, name: &str, wanted: &str, fits: impl Fn(&Value) -> bool) -> Result<Option<&Value>, Refusal> {
        match self.get(name) {
            Some(value) if !fits(value) => Err(Refusal::wrong_type(&self.path_of(name), wanted)),
            found => Ok(found),
        }
    }
}

/// The word of `allowed` that `text` is, in any letter case.
pub(crate) fn word_in(text: &str, allowed: &[&'static str]) -> Option<&'static str> {
    allowed.iter().copied().find(|word| word.eq_ignore_ascii_case(text))
}

/// The value as a whole number; `5.0` is one, as it is in JSON Schema.
#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates, which is what is wanted")]
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    if let Some(exact) = number.as_i64() {
        return Some(exact);
    }
    if number.is_u64() {
        return Some(i64::MAX);
    }
    number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64)
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::of_body(json.as_bytes()).unwrap()
    }

    fn refusal<T>(result: Result<T, Refusal>) -> (Code, String) {
        let refusal = result.err().expect("must be refused");
        (refusal.code(), refusal.message().to_owned())
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in ["", "x", "[]", "1", "null", "\"a\"", "{", "{\"a\":1e999}", "\u{feff}{}"] {
            assert_eq!(refusal(Fields::of_body(body.as_bytes())).0, Code::BadBody, "{body}");
        }
        assert_eq!(refusal(Fields::of_body(b"{\"a\":\"\xff\"}")).0, Code::BadBody);
        assert!(Fields::of_optional_body(b" \r\n").is_ok());
        assert_eq!(refusal(Fields::of_optional_body(b"[]")).0, Code::BadBody);
    }

    #[test]
    fn a_deep_body_is_refused_and_does_not_exhaust_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(refusal(Fields::of_body(deep.as_bytes())).0, Code::BadBody);
    }

    #[test]
    fn refusals_name_the_whole_path() {
        let body = fields(r#"{"volume": {"capacity": "5"}, "endpoints": [{}, 7]}"#);
        let volume = body.required_object("volume").unwrap();
        assert_eq!(
            refusal(volume.integer("capacity")),
            (Code::WrongType, "`volume.capacity` must be an integer".into())
        );
        assert_eq!(
            refusal(volume.required_text("category")),
            (Code::FieldMissing, "`volume.category` is required".into())
        );
        assert_eq!(refusal(body.objects("endpoints")), (Code::WrongType, "`endpoints[1]` must be an object".into()));
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let body = fields(r#"{"name": null}"#);
        assert!(!body.has("name"));
        assert_eq!(body.text("name"), Ok(None));
        assert_eq!(refusal(body.required_text("name")).0, Code::FieldMissing);
    }

    #[test]
    fn whole_numbers_are_read_in_every_spelling_and_saturate() {
        let body = fields(r#"{"a": 5, "b": 5.0, "c": 5.5, "d": 18446744073709551615, "e": -1e300, "f": true}"#);
        assert_eq!((body.integer("a"), body.integer("b")), (Ok(Some(5)), Ok(Some(5))));
        assert_eq!((body.integer("d"), body.integer("e")), (Ok(Some(i64::MAX)), Ok(Some(i64::MIN))));
        assert_eq!(refusal(body.integer("c")).0, Code::WrongType);
        assert_eq!(refusal(body.integer("f")).0, Code::WrongType);
    }

    #[test]
    fn words_are_read_in_any_case() {
        let body = fields(r#"{"a": "Notebook", "b": "x"}"#);
        assert_eq!(body.word("a", &["DEFAULT", "NOTEBOOK"]), Ok(Some("NOTEBOOK")));
        let (code, message) = refusal(body.word("b", &["DEFAULT", "NOTEBOOK"]));
        assert_eq!((code, message.as_str()), (Code::BadValue, "`b` must be one of DEFAULT, NOTEBOOK"));
    }

    #[test]
    fn what_is_not_offered_is_refused_unless_it_asks_for_nothing() {
        let body = fields(
            r#"{"a": "", "b": [], "c": {}, "d": null, "e": "x", "f": [1], "g": {"x": null}, "h": 0, "i": false}"#,
        );
        for name in ["a", "b", "c", "d", "z"] {
            assert_eq!(body.refuse(name), Ok(()), "{name}");
        }
        for name in ["e", "f", "g", "h", "i"] {
            let (code, message) = refusal(body.refuse(name));
            assert_eq!(code, Code::Unsupported);
            assert!(message.contains(&format!("`{name}`")));
        }
    }
}
