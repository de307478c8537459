//! Draws the bytes of any message straight from the schema tables: a second, interpreting encoder
//! that shares nothing with the generated code. Every field that a version has gets a value.

use crate::schema::{Field, Message, Type, parse};

/// Numbers that look random and are the same on every run.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub fn messages() -> Vec<Message> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/schema");
    let mut files: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    parse(&files).1
}

/// One body of `message` at `version`. With `tags`, its tagged fields are there too.
pub fn body(message: &Message, version: i16, tags: bool, draw: &mut Draw) -> Vec<u8> {
    let mut body = Body { message, version, tags, draw, out: vec![] };
    body.fields(&message.fields);
    body.out
}

struct Body<'a> {
    message: &'a Message,
    version: i16,
    tags: bool,
    draw: &'a mut Draw,
    out: Vec<u8>,
}

impl Body<'_> {
    fn fields(&mut self, fields: &[Field]) {
        let present: Vec<_> = fields.iter().filter(|field| field.present(self.version)).collect();
        for field in present.iter().filter(|field| field.tag.is_none()) {
            self.field(field);
        }
        if !self.flexible() {
            return;
        }
        let mut tagged: Vec<_> = present.iter().filter(|field| field.tag.is_some()).collect();
        tagged.sort_by_key(|field| field.tag);
        tagged.retain(|_| self.tags);
        self.varint(tagged.len());
        for field in tagged {
            let outer = std::mem::take(&mut self.out);
            self.field(field);
            let inner = std::mem::replace(&mut self.out, outer);
            self.varint(field.tag.unwrap() as usize);
            self.varint(inner.len());
            self.out.extend(inner);
        }
    }

    fn field(&mut self, field: &Field) {
        // A tagged field that has its default is not on the wire, so it must have another value.
        let must_differ = field.tag.is_some();
        let default_is_null = field.default.as_deref() == Some("null");
        let null = field.null_allowed(self.version)
            && if must_differ {
                !default_is_null && self.draw.below(3) == 0
            } else {
                self.draw.below(4) == 0
            };
        if field.array {
            let count = if must_differ { 1 } else { 0 } + self.draw.below(3) as usize;
            self.array_len((!null).then_some(count));
            for _ in 0..if null { 0 } else { count } {
                self.value(field, true);
            }
        } else if null {
            match field.ty {
                Type::Struct(_) if field.tag.is_some() => self.out.push(0),
                Type::Struct(_) => self.out.push(0xff),
                Type::Text => self.text_len(field, None),
                _ => self.array_len(None),
            }
        } else {
            if matches!(field.ty, Type::Struct(_)) && field.null_allowed(self.version) {
                self.out.push(1);
            }
            self.value(field, must_differ);
        }
    }

    fn value(&mut self, field: &Field, not_empty: bool) {
        let number = self.number();
        let len = self.draw.below(9) as usize + usize::from(not_empty);
        match &field.ty {
            Type::Bool => self.out.push(u8::from(not_empty || len % 2 == 1)),
            Type::I8 => self.out.push(number as u8),
            Type::I16 | Type::U16 => self.out.extend((number as u16).to_be_bytes()),
            Type::I32 | Type::U32 => self.out.extend((number as u32).to_be_bytes()),
            Type::I64 => self.out.extend(number.to_be_bytes()),
            Type::F64 => self.out.extend((number as f64).to_be_bytes()),
            Type::Uuid => self.out.extend([number.to_be_bytes(), number.to_be_bytes()].concat()),
            Type::Text => {
                let letters = "Zürich–Łódź".chars().cycle();
                let text: String = letters.skip(len).take(len).collect();
                self.text_len(field, Some(text.len()));
                self.out.extend(text.bytes());
            }
            Type::Bytes | Type::Records => {
                // Sometimes long enough to be a piece of its own.
                let len = if self.draw.below(10) == 0 { 2000 } else { len };
                self.array_len(Some(len));
                self.out.extend((0..len).map(|i| i as u8));
            }
            Type::Struct(name) => {
                let structs = self.message.structs();
                let found = structs.into_iter().find(|s| s.name == *name).unwrap();
                self.fields(&found.fields);
            }
        }
    }

    /// Neither zero nor minus one, in any width; any other default is too rare to be drawn.
    fn number(&mut self) -> u64 {
        (self.draw.next() | 0x2a2a_2a2a_2a2a_2a2a) & !0x0101_0101_0101_0101
    }

    fn flexible(&self) -> bool {
        self.message.flexible(self.version)
    }

    fn text_len(&mut self, field: &Field, len: Option<usize>) {
        match (self.flexible() && !field.plain, len) {
            (true, len) => self.varint(len.map_or(0, |len| len + 1)),
            (false, len) => {
                self.out.extend(len.map_or(-1, |len| len as i16).to_be_bytes());
            }
        }
    }

    fn array_len(&mut self, len: Option<usize>) {
        match (self.flexible(), len) {
            (true, len) => self.varint(len.map_or(0, |len| len + 1)),
            (false, len) => self.out.extend(len.map_or(-1, |len| len as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
