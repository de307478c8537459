//! The text of a `server.properties`, by Java's rules.
//!
//! `#` and `!` begin comments; `=`, `:` or space ends a key; a backslash escapes what follows, and
//! at the end of a line joins the next one; `\uXXXX` is a UTF-16 unit.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// Where the key stands, from 1.
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits that make a character")]
pub struct BadEscape {
    pub line: u32,
}

/// In the order of the text. When a key is there twice, the later one counts.
pub fn parse(text: &str) -> Result<Vec<Property>, BadEscape> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.split('\n'));
    while let Some((line, natural)) = lines.next() {
        let start = natural.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_in_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        found.push(property(&logical, line)?);
    }
    Ok(found)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn ends_in_backslash(line: &str) -> bool {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

fn property(logical: &str, line: u32) -> Result<Property, BadEscape> {
    let mut rest = logical.chars().peekable();
    let key = unescaped(&mut rest, line, |c| matches!(c, '=' | ':') || is_blank(c))?;
    while rest.next_if(|c| is_blank(*c)).is_some() {}
    if rest.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while rest.next_if(|c| is_blank(*c)).is_some() {}
    }
    let value = unescaped(&mut rest, line, |_| false)?;
    Ok(Property { key, value, line })
}

/// Text up to the first character for which `ends` holds, escapes undone.
fn unescaped(
    rest: &mut Peekable<Chars<'_>>,
    line: u32,
    ends: impl Fn(char) -> bool,
) -> Result<String, BadEscape> {
    let mut text = String::new();
    while let Some(c) = rest.next_if(|c| !ends(*c)) {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            None => {}
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('f') => text.push('\x0c'),
            Some('u') => text.push(unicode(rest).ok_or(BadEscape { line })?),
            Some(other) => text.push(other),
        }
    }
    Ok(text)
}

/// The character after `\u`: one UTF-16 unit, or two that make a pair.
fn unicode(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    let high = unit(rest)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high.into());
    }
    if rest.next() != Some('\\') || rest.next() != Some('u') {
        return None;
    }
    let low = unit(rest)?;
    char::decode_utf16([high, low]).next()?.ok()
}

fn unit(rest: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit << 4 | rest.next()?.to_digit(16)? as u16;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text).unwrap();
        properties.into_iter().map(|property| (property.key, property.value)).collect()
    }

    fn pair(text: &str) -> (String, String) {
        let mut pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?}");
        pairs.remove(0)
    }

    fn owned(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_key_ends_at_an_equals_sign_a_colon_or_a_space() {
        for text in ["a=b", "a:b", "a b", " \t a = b", "a\t:\tb", "a   b"] {
            assert_eq!(pair(text), owned("a", "b"), "{text:?}");
        }
        assert_eq!(pair("a==b"), owned("a", "=b"));
        assert_eq!(pair("a = : b"), owned("a", ": b"));
        assert_eq!(pair("a"), owned("a", ""));
        assert_eq!(pair("=b"), owned("", "b"));
        assert_eq!(pair("listeners=PLAINTEXT://:9092"), owned("listeners", "PLAINTEXT://:9092"));
    }

    #[test]
    fn comments_and_blank_lines_are_nothing() {
        assert_eq!(pairs("# a=b\n  ! c=d\n\n \t\n"), []);
        assert_eq!(pair("a=b # no comment here"), owned("a", "b # no comment here"));
    }

    #[test]
    fn a_backslash_joins_lines_and_escapes() {
        assert_eq!(pair("a=b,\\\n   c"), owned("a", "b,c"));
        assert_eq!(pair("a=b,\\\r\n   c"), owned("a", "b,c"));
        assert_eq!(pairs("a=b\\\\\nc=d"), [owned("a", "b\\"), owned("c", "d")]);
        assert_eq!(pair("a=b\\"), owned("a", "b"));
        assert_eq!(pair("a\\=b\\:c\\ d=e"), owned("a=b:c d", "e"));
        assert_eq!(pair("a=\\tb\\nc\\qd"), owned("a", "\tb\ncqd"));
        assert_eq!(pair("a=b\\\n# c"), owned("a", "b# c"), "no comment inside a value");
    }

    #[test]
    fn unicode_is_written_in_utf_16() {
        assert_eq!(pair("a=\\u00e9"), owned("a", "é"));
        assert_eq!(pair("a=\\ud83d\\ude00!"), owned("a", "😀!"));
        for text in ["\na=\\u12", "\na=\\ud83d", "\na=\\ud83d\\u0041", "\na=\\uzzzz"] {
            assert_eq!(parse(text), Err(BadEscape { line: 2 }), "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_however_they_end() {
        let lines = |text| parse(text).unwrap().iter().map(|p| p.line).collect::<Vec<_>>();
        assert_eq!(lines("a=1\nb=2\n\nc=3"), [1, 2, 4]);
        assert_eq!(lines("a=1\r\nb=2\r\n\r\nc=3"), [1, 2, 4]);
        assert_eq!(lines("a=1\\\n2\nb=3"), [1, 3]);
        assert_eq!(lines("a=1\\\r\n2\r\nb=3"), [1, 3]);
    }

    /// Writes a property as Java would store it.
    fn stored(text: &str) -> String {
        text.chars()
            .map(|c| match c {
                ' ' | '=' | ':' | '#' | '!' | '\\' => format!("\\{c}"),
                '\t' => "\\t".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\x0c' => "\\f".to_owned(),
                c if c.is_ascii_graphic() => c.to_string(),
                c => {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                }
            })
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn what_java_stores_is_read_back(key in ".{1,20}", value in ".{0,40}") {
            let text = format!("{}={}\n", stored(&key), stored(&value));
            proptest::prop_assert_eq!(pair(&text), (key, value));
        }

        #[test]
        fn no_text_is_too_strange(text in "(?s).{0,200}") {
            drop(parse(&text));
        }
    }
}
