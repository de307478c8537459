//! Reads the tables of `schema/` (notation: at the head of `schema/header.schema`).
//!
//! Part of the build script and of the codec's tests, not of the crate: std only, and it panics
//! with file and line at what it does not understand.

/// First and last version, both included.
pub type Versions = (i16, i16);

/// Stands for the upper end of `3+`.
pub const OPEN: i16 = i16::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    Metadata,
    Remote,
    Key,
    Value,
    Data,
}

#[derive(Clone, Debug)]
pub struct Api {
    pub key: i16,
    pub name: String,
    /// `None` once retired.
    pub versions: Option<Versions>,
    pub flexible_from: i16,
    pub unstable_from: i16,
    pub on_broker: bool,
    pub on_controller: bool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    /// -1 where the message has none.
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    pub flexible_from: i16,
    pub fields: Vec<Field>,
    /// The structures that several fields share.
    pub shared: Vec<Struct>,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub array: bool,
    /// Where null is allowed; `None` for nowhere.
    pub nullable: Option<Versions>,
    pub versions: Versions,
    pub tag: Option<u32>,
    pub default: Option<String>,
    pub plain: bool,
    pub ignorable: bool,
    /// The fields of a structure that is defined where it is used.
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U16,
    U32,
    F64,
    Uuid,
    Text,
    Bytes,
    Records,
    Struct(String),
}

impl Message {
    pub fn flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Every structure of the message but itself.
    pub fn structs(&self) -> Vec<Struct> {
        fn collect(fields: &[Field], found: &mut Vec<Struct>) {
            for field in fields {
                if let (Type::Struct(name), false) = (&field.ty, field.fields.is_empty()) {
                    found.push(Struct { name: name.clone(), fields: field.fields.clone() });
                    collect(&field.fields, found);
                }
            }
        }
        let mut found = vec![];
        collect(&self.fields, &mut found);
        for shared in &self.shared {
            found.push(shared.clone());
            collect(&shared.fields, &mut found);
        }
        found
    }
}

impl Field {
    pub fn present(&self, version: i16) -> bool {
        contains(self.versions, version)
    }

    pub fn null_allowed(&self, version: i16) -> bool {
        self.nullable.is_some_and(|nullable| contains(nullable, version))
    }
}

fn contains((from, to): Versions, version: i16) -> bool {
    (from..=to).contains(&version)
}

/// All APIs by key, and all messages in the order of the files.
pub fn parse(files: &[(String, String)]) -> (Vec<Api>, Vec<Message>) {
    let mut tables = Tables { apis: vec![], messages: vec![] };
    for (file, text) in files {
        for (number, line) in text.lines().enumerate() {
            let at = format!("{file}:{}: {line}", number + 1);
            let line = line.split('#').next().expect("split yields at least one").trim_end();
            match line.chars().take_while(|c| *c == ' ').count() {
                _ if line.is_empty() => {}
                0 => tables.heading(line, &at),
                indent => tables.field(indent, line, &at),
            }
        }
    }
    tables.apis.sort_by_key(|api| api.key);
    (tables.apis, tables.messages)
}

struct Tables {
    apis: Vec<Api>,
    messages: Vec<Message>,
}

impl Tables {
    fn heading(&mut self, line: &str, at: &str) {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("{at}: a word is missing"));
        let kind = match next() {
            "api" => {
                let (key, name) = (number(next(), at), next().to_string());
                let rest: Vec<&str> = words.collect();
                self.apis.push(api(key, name, &rest, at));
                return;
            }
            "request" => return self.half(Kind::Request, "Request"),
            "response" => return self.half(Kind::Response, "Response"),
            "header" => Kind::Header,
            "metadata" => Kind::Metadata,
            "remote" => Kind::Remote,
            "key" => Kind::Key,
            "value" => Kind::Value,
            "data" => Kind::Data,
            other => panic!("{at}: what is {other}?"),
        };
        let keyed = !matches!(kind, Kind::Header | Kind::Data);
        let key = if keyed { number(next(), at) } else { -1 };
        let (name, versions) = (next().to_string(), range(next(), at));
        let rest: Vec<&str> = words.collect();
        let flexible_from = option(&rest, "flexible", at);
        self.messages.push(Message {
            kind,
            key,
            name,
            versions,
            flexible_from,
            fields: vec![],
            shared: vec![],
        });
    }

    /// A request or a response takes key and versions from the API above it.
    fn half(&mut self, kind: Kind, suffix: &str) {
        let api = self.apis.last().expect("`api` comes before `request` and `response`");
        self.messages.push(Message {
            kind,
            key: api.key,
            name: format!("{}{suffix}", api.name),
            versions: api.versions.expect("a retired API has no fields"),
            flexible_from: api.flexible_from,
            fields: vec![],
            shared: vec![],
        });
    }

    fn field(&mut self, indent: usize, line: &str, at: &str) {
        assert!(indent.is_multiple_of(2), "{at}: odd indent");
        let message = self.messages.last_mut().unwrap_or_else(|| panic!("{at}: of no message"));
        if let Some(name) = line.strip_prefix("  struct ") {
            message.shared.push(Struct { name: name.trim().to_string(), fields: vec![] });
            return;
        }
        let mut depth = indent / 2;
        let mut into = &mut message.fields;
        if let Some(shared) = message.shared.last_mut() {
            into = &mut shared.fields;
            depth -= 1;
        }
        for _ in 1..depth {
            into = &mut into.last_mut().unwrap_or_else(|| panic!("{at}: of no field")).fields;
        }
        into.push(field(line, at));
    }
}

fn api(key: i16, name: String, rest: &[&str], at: &str) -> Api {
    let versions = (rest[0] != "retired").then(|| range(rest[0], at));
    let listeners = rest.iter().position(|word| *word == "on").map_or(&[][..], |on| &rest[on..]);
    assert!(versions.is_none() || listeners.len() > 1, "{at}: on which listener?");
    Api {
        key,
        name,
        versions,
        flexible_from: option(rest, "flexible", at),
        unstable_from: option(rest, "unstable", at),
        on_broker: listeners.contains(&"broker"),
        on_controller: listeners.contains(&"controller"),
    }
}

fn field(line: &str, at: &str) -> Field {
    let mut words = line.split_whitespace();
    let name = words.next().expect("the line is not empty").to_string();
    let spelled = words.next().unwrap_or_else(|| panic!("{at}: of which type?"));
    let (spelled, nullable) = match spelled.split_once('?') {
        None => (spelled, None),
        Some((spelled, "")) => (spelled, Some((0, OPEN))),
        Some((spelled, versions)) => (spelled, Some(range(versions, at))),
    };
    let element = spelled.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let mut field = Field {
        name,
        ty: ty(element.unwrap_or(spelled), at),
        array: element.is_some(),
        nullable,
        versions: (0, OPEN),
        tag: None,
        default: None,
        plain: false,
        ignorable: false,
        fields: vec![],
    };
    while let Some(word) = words.next() {
        match word {
            "~" => field.ignorable = true,
            "plain" => field.plain = true,
            "=" => field.default = Some(words.next().expect("a default follows").to_string()),
            _ => match word.strip_prefix('@') {
                Some(tag) => field.tag = Some(number(tag, at) as u32),
                None => field.versions = range(word, at),
            },
        }
    }
    field
}

fn ty(spelled: &str, at: &str) -> Type {
    match spelled {
        "bool" => Type::Bool,
        "i8" => Type::I8,
        "i16" => Type::I16,
        "i32" => Type::I32,
        "i64" => Type::I64,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "f64" => Type::F64,
        "uuid" => Type::Uuid,
        "string" => Type::Text,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Struct(name.into()),
        other => panic!("{at}: {other} is no type"),
    }
}

/// `3-5`, `5`, `3+` or `-5`.
fn range(word: &str, at: &str) -> Versions {
    let (from, to) = if let Some(from) = word.strip_suffix('+') {
        (number(from, at), OPEN)
    } else if let Some((from, to)) = word.split_once('-') {
        (if from.is_empty() { 0 } else { number(from, at) }, number(to, at))
    } else {
        (number(word, at), number(word, at))
    };
    assert!(from <= to, "{at}: {word} is empty");
    (from, to)
}

/// The number after `word`, or "never".
fn option(words: &[&str], word: &str, at: &str) -> i16 {
    let position = words.iter().position(|candidate| *candidate == word);
    position.map_or(i16::MAX, |i| number(words.get(i + 1).expect("a version follows"), at))
}

fn number(word: &str, at: &str) -> i16 {
    word.parse().unwrap_or_else(|_| panic!("{at}: {word} is no number"))
}
