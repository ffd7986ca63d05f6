//! JSON schemas, for editors that complete and check TOML files by them.

use serde_json::{Map, Value, json};

use super::{Fallback, File, Key, Kind, Place, Table};
use crate::config::settings;

/// The schema of a file: draft 7, which all editors know.
pub(in crate::config) fn json_schema(file: &File) -> Value {
    let mut schema = json!({});
    let mut definitions = Map::new();
    for table in file.tables {
        let own = object(table);
        match table.place {
            Place::Root => schema = own,
            Place::Header(header) => insert(&mut schema, header, own),
            Place::Named(header) => {
                let name = json!({ "pattern": NAME });
                let named = json!({
                    "type": "object",
                    "description": table.about,
                    "propertyNames": name,
                    "additionalProperties": own,
                });
                insert(&mut schema, header, named);
            }
            Place::Repeated(header) => {
                let list = json!({ "type": "array", "description": table.about, "items": own });
                insert(&mut schema, header, list);
            }
            Place::Value(name) => {
                definitions.insert(name.to_owned(), own);
            }
        }
    }
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(file.title);
    schema["description"] = json!(file.about);
    if !definitions.is_empty() {
        schema["definitions"] = Value::Object(definitions);
    }
    schema
}

/// What names of servers and profiles look like.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$";

/// Puts the schema of the table with this header into that of the file.
fn insert(schema: &mut Value, header: &str, table: Value) {
    let mut into = schema;
    for part in header.split('.') {
        into = &mut into["properties"][part];
    }
    *into = table;
}

fn object(table: &Table) -> Value {
    let properties: Map<_, _> = table
        .keys()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<_> = table
        .keys()
        .filter(|key| key.default == Fallback::Required)
        .map(|key| key.name)
        .collect();
    let mut object = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut property = match key.kind {
        // Beside a reference nothing counts; what it refers to has a description of its own.
        Kind::Restart => return json!({ "$ref": "#/definitions/restart" }),
        Kind::Flag => setting(key.setting()),
        other => kind(other),
    };
    property["description"] = json!(match key.unit {
        "" => key.about.to_owned(),
        unit => format!("{} Unit: {unit}.", key.about),
    });
    property["examples"] = json!([value(key.example)]);
    if let Fallback::Toml(default) = key.default {
        property["default"] = value(default);
    }
    property
}

/// A value that is written in TOML.
pub(super) fn value(toml: &str) -> Value {
    let table: toml::Table = toml::from_str(&format!("x = {toml}")).expect("it is TOML");
    serde_json::to_value(&table["x"]).expect("it has a form in JSON")
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Path => json!({ "type": "string", "minLength": 1, "pattern": "^[^~]" }),
        Kind::ProfileName => json!({ "type": "string", "pattern": NAME }),
        Kind::Alias => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$" })
        }
        Kind::Address => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+$" }),
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Kind::PortRange => {
            let port = self::kind(Kind::Port);
            json!({ "type": "array", "items": port, "minItems": 2, "maxItems": 2 })
        }
        Kind::Integer(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Time(positive) => json!({ "anyOf": [
            { "type": "integer", "minimum": i32::from(positive) },
            { "type": "string", "pattern": "^\\s*([0-9]+\\s*(ms|s|m|h|d)\\s*)+$" },
        ] }),
        Kind::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^\\s*[0-9]+\\s*([KMGT]iB|[kKMGT]?B)\\s*$" },
        ] }),
        Kind::Words(words) => json!({ "enum": words }),
        Kind::Glob => json!({ "type": "string", "pattern": "^[A-Za-z0-9._:/*?-]+$" }),
        Kind::List(item) => json!({ "type": "array", "items": self::kind(*item) }),
        Kind::OneOrList(item) => {
            let item = self::kind(*item);
            let list = json!({ "type": "array", "items": item, "minItems": 1 });
            json!({ "anyOf": [item, list] })
        }
        Kind::Either(one, other) => json!({ "anyOf": [self::kind(*one), self::kind(*other)] }),
        Kind::Map(item) => {
            json!({ "type": "object", "additionalProperties": self::kind(*item) })
        }
        Kind::Restart | Kind::Flag => unreachable!("these are no part of another kind"),
    }
}

fn setting(kind: &settings::Kind) -> Value {
    let number = |least| json!({ "type": "integer", "minimum": least, "maximum": i32::MAX });
    let text = json!({ "type": "string", "minLength": 1 });
    match kind {
        settings::Kind::Number(least) => number(*least),
        settings::Kind::NumberOr(words) => json!({ "anyOf": [{ "enum": words }, number(0)] }),
        settings::Kind::Word(words) => json!({ "enum": words }),
        settings::Kind::OnOffAuto => {
            json!({ "anyOf": [{ "enum": ["on", "off", "auto"] }, { "type": "boolean" }] })
        }
        settings::Kind::Flag | settings::Kind::Switch { .. } => json!({ "type": "boolean" }),
        settings::Kind::Text => text,
        settings::Kind::Path => self::kind(Kind::Path),
        settings::Kind::Names => json!({ "type": "array", "items": text, "minItems": 1 }),
        settings::Kind::Proportions => {
            json!({ "type": "array", "items": { "type": "number", "minimum": 0 }, "minItems": 1 })
        }
    }
}
