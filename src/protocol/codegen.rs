//! Makes Rust of the schema tables: a module per message, the list of API keys, the list of
//! metadata records.
//!
//! Part of the build script, not of the crate. The code it writes only lists fields; how a value
//! looks on the wire is in `wire.rs`. In it `v` is the version, `r` the reader, `w` the writer.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::schema::{Api, Field, Kind, Message, Struct, Type, Versions};

/// The source of `ApiKey` and its table.
pub fn api_keys(apis: &[Api]) -> String {
    let mut out = String::from(
        "/// What a request asks for. The numbers are Kafka's; retired ones stay refused.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         #[repr(i16)]\npub enum ApiKey {\n",
    );
    for api in apis {
        put(&mut out, format!("    {} = {},", api.name, api.key));
    }
    put(&mut out, "}\n\nconst APIS: &[Api] = &[".into());
    for api in apis {
        let (from, to) = api.versions.unwrap_or((0, -1));
        let Api { name, flexible_from, unstable_from, on_broker, on_controller, .. } = api;
        put(
            &mut out,
            format!(
                "    Api {{ key: ApiKey::{name}, name: \"{name}\", from: {from}, to: {to}, \
                 flexible_from: {flexible_from}, unstable_from: {unstable_from}, \
                 on_broker: {on_broker}, on_controller: {on_controller} }},"
            ),
        );
    }
    put(&mut out, "];".into());
    out
}

/// The source of all messages.
pub fn messages(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        Module::new(message).write(&mut out);
    }
    put(&mut out, "/// Shows every message to `visitor`, in the order of the tables.".into());
    put(&mut out, "pub fn visit_all(visitor: &mut impl super::wire::Visitor) {".into());
    for message in messages {
        put(&mut out, format!("    visitor.visit::<{}>();", path(message)));
    }
    put(&mut out, "}\n".into());
    metadata_record(messages, &mut out);
    out
}

/// One enum over all records of the metadata log.
fn metadata_record(messages: &[Message], out: &mut String) {
    let records: Vec<_> = messages.iter().filter(|m| m.kind == Kind::Metadata).collect();
    let variant = |m: &Message| m.name.strip_suffix("Record").expect("a record").to_string();
    let mut list = |head: &str, row: &dyn Fn(&Message) -> String, tail: &str| {
        put(out, head.into());
        for record in &records {
            put(out, row(record));
        }
        put(out, tail.into());
    };
    list(
        "/// A record of the metadata log. One that this version does not know is kept as it is.\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum MetadataRecord {",
        &|m| format!("    {}({}),", variant(m), path(m)),
        "    Unknown { key: u32, body: Bytes },\n}\n\nimpl MetadataRecord {",
    );
    list(
        "    pub fn name(&self) -> &'static str {\n        match self {",
        &|m| format!("            MetadataRecord::{}(_) => \"{}\",", variant(m), m.name),
        "            MetadataRecord::Unknown { .. } => \"UnknownRecord\",\n        }\n    }\n",
    );
    list(
        "    pub fn key(&self) -> u32 {\n        match self {",
        &|m| format!("            MetadataRecord::{}(_) => {},", variant(m), m.key),
        "            MetadataRecord::Unknown { key, .. } => *key,\n        }\n    }\n",
    );
    list(
        "    /// `None` when this version does not know the record.\n    \
         fn decode_known(r: &mut Reader, key: u32, version: i16) \
         -> Result<Option<Self>, DecodeError> {\n        Ok(Some(match (key, version) {",
        &|m| {
            let (from, to) = m.versions;
            let (key, variant) = (m.key, variant(m));
            let record = format!("MetadataRecord::{variant}(Message::decode(r, version)?)");
            format!("            ({key}, {from}..={to}) => {record},")
        },
        "            _ => return Ok(None),\n        }))\n    }\n",
    );
    list(
        "    fn encode_known(&self, w: &mut Writer, version: i16) \
         -> Result<(), EncodeError> {\n        match self {",
        &|m| format!("            MetadataRecord::{}(m) => m.encode(w, version),", variant(m)),
        "            MetadataRecord::Unknown { body, .. } => {\n                \
         w.put_raw(body);\n                Ok(())\n            }\n        }\n    }\n}",
    );
    for record in &records {
        put(
            out,
            format!(
                "\nimpl From<{path}> for MetadataRecord {{\n    \
                 fn from(m: {path}) -> Self {{\n        MetadataRecord::{}(m)\n    }}\n}}",
                variant(record),
                path = path(record)
            ),
        );
    }
}

const USES: &str = "    use crate::protocol::wire::reader::Reader;
    use crate::protocol::wire::writer::Writer;
    use crate::protocol::wire::{
        DecodeError, EncodeError, Kind, Message, Nullable, Records, Request, Text, Value,
    };
    use crate::types::Uuid;
    use bytes::Bytes;
";

struct Module<'a> {
    message: &'a Message,
    structs: BTreeMap<String, Vec<Field>>,
}

impl<'a> Module<'a> {
    fn new(message: &'a Message) -> Module<'a> {
        let mut structs = BTreeMap::new();
        for Struct { name, fields } in message.structs() {
            let twice = structs.insert(name.clone(), fields).is_some();
            assert!(!twice, "{}: two structures are named {name}", message.name);
        }
        Module { message, structs }
    }

    fn write(&self, out: &mut String) {
        let Message { kind, key, name, versions: (from, to), flexible_from, .. } = self.message;
        put(out, format!("pub mod {} {{", snake(name)));
        put(out, USES.into());
        self.write_struct(name, &self.message.fields, out);
        for (name, fields) in &self.structs {
            self.write_struct(name, fields, out);
        }
        put(
            out,
            format!(
                "impl Message for {name} {{\n    const NAME: &'static str = \"{name}\";\n    \
                 const KIND: Kind = Kind::{kind:?};\n    const KEY: i16 = {key};\n    \
                 const VERSIONS: std::ops::RangeInclusive<i16> = {from}..={to};\n    \
                 const FLEXIBLE_FROM: i16 = {flexible_from};\n}}"
            ),
        );
        if let (Kind::Request, Some(api)) = (kind, name.strip_suffix("Request")) {
            put(
                out,
                format!(
                    "impl Request for {name} {{\n    type Response = \
                     crate::protocol::messages::{}_response::{api}Response;\n    \
                     const API: crate::protocol::api::ApiKey = \
                     crate::protocol::api::ApiKey::{api};\n}}",
                    snake(api)
                ),
            );
        }
        put(out, "}\n".into());
    }

    fn write_struct(&self, name: &str, fields: &[Field], out: &mut String) {
        let plain = fields.iter().all(|field| self.default_is_zero(field));
        let derived = if plain { ", Default" } else { "" };
        put(out, format!("#[derive(Clone, Debug, PartialEq{derived})]\npub struct {name} {{"));
        for field in fields {
            put(out, format!("    pub {}: {},", ident(field), self.rust_type(field)));
        }
        put(out, "}".into());
        if !plain {
            put(
                out,
                format!("impl Default for {name} {{\n    fn default() -> Self {{\n        Self {{"),
            );
            for field in fields {
                put(out, format!("            {}: {},", ident(field), self.default(field)));
            }
            put(out, "        }\n    }\n}".into());
        }
        put(out, format!("impl Value for {name} {{"));
        put(out, format!("    const WIRE_MIN: usize = {};", self.wire_min(fields)));
        self.write_read(name, fields, out);
        self.write_write(name, fields, out);
        put(out, format!("}}\nimpl Nullable for {name} {{}}"));
    }

    fn write_read(&self, name: &str, fields: &[Field], out: &mut String) {
        let head = "    fn read(r: &mut Reader, _: &'static str) -> Result<Self, DecodeError> {";
        let mut body = String::new();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            let mut line = format!("m.{} = {}", ident(field), self.get(name, field));
            if let Some(condition) = self.condition(field.versions) {
                line = format!("if {condition} {{ {line}; }}");
            } else {
                line.push(';');
            }
            put(&mut body, format!("        {line}"));
        }
        let tagged: Vec<_> = fields.iter().filter(|field| field.tag.is_some()).collect();
        if !tagged.is_empty() {
            put(&mut body, "        r.tags(|r, tag| {\n            match tag {".into());
            for field in tagged {
                let tag = field.tag.expect("filtered");
                let guard = self.condition(field.versions).map(|c| format!(" if {c}"));
                let get = self.get(name, field);
                let guard = guard.unwrap_or_default();
                put(
                    &mut body,
                    format!("                {tag}{guard} => m.{} = {get},", ident(field)),
                );
            }
            body.push_str("                _ => return Ok(false),\n            }\n");
            body.push_str("            Ok(true)\n        })?;\n");
        } else if self.ever_flexible() {
            body.push_str("        r.skip_tags()?;\n");
        }
        put(out, head.into());
        if mentions_version(&body) {
            out.push_str("        let v = r.version();\n");
        }
        let mutable = if body.contains("m.") { "let mut m" } else { "let m" };
        put(out, format!("        {mutable} = Self::default();\n{body}        Ok(m)\n    }}"));
    }

    fn write_write(&self, name: &str, fields: &[Field], out: &mut String) {
        let mut body = String::new();
        for field in fields {
            let wanted = self.condition(field.versions);
            let lacking = format!("return Err(w.lacks(\"{name}.{}\"));", field.name);
            let line = match (&wanted, field.tag) {
                (None, Some(_)) => continue,
                (Some(condition), Some(_)) if !field.ignorable => {
                    format!("if !({condition}) && {} {{ {lacking} }}", self.differs(field))
                }
                (Some(_), Some(_)) => continue,
                (None, None) => self.put(name, field),
                (Some(condition), None) => {
                    let mut line = format!("if {condition} {{ {} }}", self.put(name, field));
                    if !field.ignorable {
                        write!(line, " else if {} {{ {lacking} }}", self.differs(field))
                            .expect("strings take everything");
                    }
                    line
                }
            };
            put(&mut body, format!("        {line}"));
        }
        if self.ever_flexible() {
            self.write_tags(name, fields, &mut body);
        }
        put(
            out,
            "    fn write(&self, w: &mut Writer, _: &'static str) -> Result<(), EncodeError> {"
                .into(),
        );
        if mentions_version(&body) {
            out.push_str("        let v = w.version();\n");
        }
        put(out, format!("{body}        Ok(())\n    }}"));
    }

    fn write_tags(&self, name: &str, fields: &[Field], body: &mut String) {
        let mut tagged: Vec<_> = fields.iter().filter(|field| field.tag.is_some()).collect();
        if tagged.is_empty() {
            return body.push_str("        w.no_tags();\n");
        }
        tagged.sort_by_key(|field| field.tag);
        body.push_str("        if w.flexible() {\n            let mut tags = w.tags();\n");
        for field in tagged {
            let (from, tag) = (field.versions.0, field.tag.expect("filtered"));
            assert!(from >= self.message.flexible_from, "{name}.{}: not flexible", field.name);
            let condition = self.condition(field.versions).map(|c| format!("{c} && "));
            put(
                body,
                format!(
                    "            if {}{} {{ w.tag(&mut tags, {tag}, |w| {{ {} Ok(()) }})?; }}",
                    condition.unwrap_or_default(),
                    self.differs(field),
                    self.put(name, field)
                ),
            );
        }
        body.push_str("        }\n");
    }

    fn get(&self, name: &str, field: &Field) -> String {
        let at = format!("\"{name}.{}\"", field.name);
        let get = match self.null_allowed(field) {
            None => format!("r.get({at})"),
            Some(_) if is_tagged_struct(field) => format!("r.nullable_tagged({at})"),
            Some(allowed) => format!("r.nullable({at}, {allowed})"),
        };
        if field.plain { format!("r.plain(|r| {get})?") } else { format!("{get}?") }
    }

    fn put(&self, name: &str, field: &Field) -> String {
        let (at, value) = (format!("\"{name}.{}\"", field.name), format!("&self.{}", ident(field)));
        let put = match self.null_allowed(field) {
            None => format!("w.put({at}, {value})"),
            Some(_) if is_tagged_struct(field) => format!("w.put_nullable_tagged({at}, {value})"),
            Some(allowed) => format!("w.put_nullable({at}, {value}, {allowed})"),
        };
        if field.plain { format!("w.plain(|w| {put})?;") } else { format!("{put}?;") }
    }

    /// The condition under which null is allowed; `None` where the field has no null.
    fn null_allowed(&self, field: &Field) -> Option<String> {
        let nullable = field.nullable?;
        let (from, to) = self.clip(field.versions);
        let always = nullable.0 <= from && nullable.1 >= to;
        Some(if always { "true".into() } else { self.condition(nullable).unwrap_or("true".into()) })
    }

    /// `None` when it always holds.
    fn condition(&self, versions: Versions) -> Option<String> {
        let (first, last) = self.message.versions;
        let (from, to) = self.clip(versions);
        match (from == first, to == last) {
            (true, true) => None,
            _ if from == to => Some(format!("v == {from}")),
            (true, false) => Some(format!("v <= {to}")),
            (false, true) => Some(format!("v >= {from}")),
            (false, false) => Some(format!("({from}..={to}).contains(&v)")),
        }
    }

    fn clip(&self, versions: Versions) -> Versions {
        let (first, last) = self.message.versions;
        let (from, to) = (versions.0.max(first), versions.1.min(last));
        assert!(from <= to, "{}: {versions:?} lies outside the message", self.message.name);
        (from, to)
    }

    fn ever_flexible(&self) -> bool {
        self.message.flexible_from <= self.message.versions.1
    }

    fn rust_type(&self, field: &Field) -> String {
        let base = match &field.ty {
            Type::Struct(name) => {
                assert!(self.structs.contains_key(name), "{}: no {name}", self.message.name);
                name.clone()
            }
            Type::Uuid | Type::Text | Type::Bytes | Type::Records => format!("{:?}", field.ty),
            number => format!("{number:?}").to_lowercase(),
        };
        let base = if field.array { format!("Vec<{base}>") } else { base };
        if field.nullable.is_some() { format!("Option<{base}>") } else { base }
    }

    fn default_is_zero(&self, field: &Field) -> bool {
        match (&field.default, field.nullable) {
            (default, Some(_)) => default.as_deref() == Some("null") || field.ty == Type::Records,
            (default, None) => default.is_none(),
        }
    }

    fn default(&self, field: &Field) -> String {
        match (&field.default, field.nullable) {
            _ if self.default_is_zero(field) => "Default::default()".into(),
            (None, Some(_)) => "Some(Default::default())".into(),
            (Some(literal), None) => literal.clone(),
            (literal, _) => panic!("{}: a nullable {literal:?}", field.name),
        }
    }

    /// The condition that a field has another value than its default.
    fn differs(&self, field: &Field) -> String {
        let this = format!("self.{}", ident(field));
        let sized = field.array || matches!(field.ty, Type::Text | Type::Bytes | Type::Records);
        match (&field.default, field.nullable) {
            (_, Some(_)) if self.default_is_zero(field) => format!("{this}.is_some()"),
            (_, Some(_)) if sized => format!("!{this}.as_ref().is_some_and(|x| x.is_empty())"),
            (_, Some(_)) => format!("{this} != Some(Default::default())"),
            (None, None) if sized => format!("!{this}.is_empty()"),
            (None, None) if field.ty == Type::Bool => this,
            (None, None) => format!("!crate::protocol::wire::is_default(&{this})"),
            (Some(literal), None) if literal == "true" => format!("!{this}"),
            (Some(literal), None) => format!("{this} != {literal}"),
        }
    }

    /// The fewest bytes that the structure takes in any version that has it.
    fn wire_min(&self, fields: &[Field]) -> usize {
        let (first, last) = self.message.versions;
        let sizes = (first..=last).filter(|v| fields.iter().any(|field| field.present(*v)));
        sizes.map(|v| self.wire_min_at(fields, v)).min().unwrap_or(0)
    }

    fn wire_min_at(&self, fields: &[Field], version: i16) -> usize {
        let flexible = self.message.flexible(version);
        let untagged = fields.iter().filter(|f| f.tag.is_none() && f.present(version));
        let sizes = untagged.map(|field| match &field.ty {
            _ if field.array => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Bool | Type::I8 => 1,
            Type::I16 | Type::U16 => 2,
            Type::I32 | Type::U32 => 4,
            Type::I64 | Type::F64 => 8,
            Type::Uuid => 16,
            Type::Text => {
                if flexible && !field.plain {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Struct(_) if field.null_allowed(version) => 1,
            Type::Struct(name) => self.wire_min_at(&self.structs[name], version),
        });
        sizes.sum::<usize>() + usize::from(flexible)
    }
}

fn is_tagged_struct(field: &Field) -> bool {
    field.tag.is_some() && !field.array && matches!(field.ty, Type::Struct(_))
}

fn mentions_version(body: &str) -> bool {
    body.contains("v >=") || body.contains("v <=") || body.contains("v ==") || body.contains("&v)")
}

fn path(message: &Message) -> String {
    format!("{}::{}", snake(&message.name), message.name)
}

fn put(out: &mut String, line: String) {
    out.push_str(&line);
    out.push('\n');
}

fn ident(field: &Field) -> String {
    let keyword = ["type", "match"].contains(&field.name.as_str());
    if keyword { format!("{}_", field.name) } else { field.name.clone() }
}

/// `NoOpRecord` becomes `no_op_record`, `KRaftVersionRecord` `kraft_version_record`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.replace("KRaft", "Kraft").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
