//! Reads the contract: its operations, their parameters, and the fields of their bodies.

use serde_json::Value;

/// The contract, as plain JSON.
pub(crate) fn contract() -> Value {
    let text = include_str!("../../../../contract/devenviron.yaml");
    serde_norway::from_str(text).unwrap()
}

/// One operation of the contract.
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Vec<Field>,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Body,
}

/// One field of a request.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) place: Place,
    /// `volume.capacity`, `endpoints[].service`.
    pub(crate) path: String,
    pub(crate) required: bool,
    pub(crate) schema: Value,
}

/// Every operation.
pub(crate) fn operations() -> Vec<Operation> {
    let contract = contract();
    let mut operations = Vec::new();
    for (path, item) in contract["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                fields: fields(&contract, operation),
            });
        }
    }
    operations
}

fn fields(contract: &Value, operation: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolve(contract, parameter);
        let place = if parameter["in"] == "path" { Place::Path } else { Place::Query };
        fields.push(Field {
            place,
            path: parameter["name"].as_str().unwrap().to_owned(),
            required: parameter["required"] == true,
            schema: resolve(contract, &parameter["schema"]),
        });
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        members(contract, &resolve(contract, body), "", &mut fields);
    }
    fields
}

/// The members of an object, and their members.
fn members(contract: &Value, object: &Value, prefix: &str, fields: &mut Vec<Field>) {
    let required: Vec<_> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, schema) in object["properties"].as_object().into_iter().flatten() {
        let schema = resolve(contract, schema);
        let path = format!("{prefix}{name}");
        let required = required.contains(&name.as_str());
        fields.push(Field { place: Place::Body, path: path.clone(), required, schema: schema.clone() });
        members(contract, &schema, &format!("{path}."), fields);
        let items = resolve(contract, &schema["items"]);
        members(contract, &items, &format!("{path}[]."), fields);
    }
}

/// Follows references; what stands beside one is kept.
fn resolve(contract: &Value, schema: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema.clone() };
    let found = contract.pointer(reference.trim_start_matches('#')).unwrap();
    resolve(contract, found)
}

#[test]
fn the_contract_has_the_fields_that_a_reader_sees_in_it() {
    let operations = operations();
    let create = operations.iter().find(|operation| operation.id == "CreateNotebook").unwrap();
    for path in ["project_id", "name", "volume.capacity", "endpoints[].service", "hooks.container_hooks.pre_start.mode"]
    {
        assert!(create.fields.iter().any(|field| field.path == path), "{path}");
    }
    let capacity = create.fields.iter().find(|field| field.path == "volume.capacity").unwrap();
    assert_eq!((&capacity.schema["minimum"], &capacity.schema["maximum"]), (&5.into(), &4096.into()));
}
