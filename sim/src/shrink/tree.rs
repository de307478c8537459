//! Places in a JSON value, all of one kind at once: `producers/*/bursts` is every producer's list.

use std::ops::Range;

use serde_json::Value;

/// Names of fields; `*` is every element of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Vec<String>);

const EVERY: &str = "*";

impl Pattern {
    pub fn parse(text: &str) -> Pattern {
        Pattern(text.split('/').map(str::to_string).collect())
    }

    /// The last name in it.
    pub fn last(&self) -> &str {
        self.0.iter().rev().find(|name| *name != EVERY).map_or("", |name| name)
    }

    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|part| part == name)
    }

    fn push(&self, name: &str) -> Pattern {
        Pattern(self.0.iter().cloned().chain([name.to_string()]).collect())
    }
}

pub trait Tree {
    /// Patterns of all lists, the outer ones first.
    fn lists(&self) -> Vec<Pattern>;
    fn objects(&self) -> Vec<Pattern>;
    /// Of all that are neither.
    fn leaves(&self) -> Vec<Pattern>;
    /// Of all that have a name in an object.
    fn fields(&self) -> Vec<Pattern>;
    /// How many places a pattern has.
    fn count(&self, pattern: &Pattern) -> usize;
    /// How many elements or fields these places have together.
    fn elements(&self, pattern: &Pattern) -> usize;
    fn change(&mut self, pattern: &Pattern, change: impl FnMut(&mut Value));
    /// Takes fields away.
    fn remove(&mut self, pattern: &Pattern);
    /// Drops elements by their number across all places; `bereave` is called with each that goes
    /// and the one that follows it.
    fn drop_elements(
        &mut self,
        pattern: &Pattern,
        dropped: Range<usize>,
        bereave: impl FnMut(&Value, &mut Value),
    );
    /// Keeps these elements of all lists.
    fn retain(&mut self, keep: &dyn Fn(&Value) -> bool);
}

impl Tree for Value {
    fn lists(&self) -> Vec<Pattern> {
        patterns(self, |value| value.is_array())
    }

    fn objects(&self) -> Vec<Pattern> {
        patterns(self, |value| value.is_object())
    }

    fn leaves(&self) -> Vec<Pattern> {
        patterns(self, |value| !value.is_array() && !value.is_object())
    }

    fn fields(&self) -> Vec<Pattern> {
        let mut patterns = patterns(self, |_| true);
        patterns.retain(|pattern| pattern.0.last().is_some_and(|name| name != EVERY));
        patterns
    }

    fn count(&self, pattern: &Pattern) -> usize {
        let mut count = 0;
        visit(self, &pattern.0, &mut |_| count += 1);
        count
    }

    fn elements(&self, pattern: &Pattern) -> usize {
        let mut count = 0;
        visit(self, &pattern.0, &mut |value| {
            count += value.as_array().map_or(0, Vec::len);
            count += value.as_object().map_or(0, serde_json::Map::len);
        });
        count
    }

    fn change(&mut self, pattern: &Pattern, mut change: impl FnMut(&mut Value)) {
        visit_mut(self, &pattern.0, &mut change);
    }

    fn remove(&mut self, pattern: &Pattern) {
        let Some((name, parents)) = pattern.0.split_last() else { return };
        visit_mut(self, parents, &mut |value| {
            if let Some(fields) = value.as_object_mut() {
                fields.remove(name);
            }
        });
    }

    fn drop_elements(
        &mut self,
        pattern: &Pattern,
        dropped: Range<usize>,
        mut bereave: impl FnMut(&Value, &mut Value),
    ) {
        let mut number = 0;
        let mut goes = || {
            number += 1;
            dropped.contains(&(number - 1))
        };
        visit_mut(self, &pattern.0, &mut |value| match value {
            Value::Array(elements) => {
                let mut rest = std::mem::take(elements).into_iter().peekable();
                while let Some(element) = rest.next() {
                    if !goes() {
                        elements.push(element);
                    } else if let Some(next) = rest.peek_mut() {
                        bereave(&element, next);
                    }
                }
            }
            Value::Object(fields) => fields.retain(|_, _| !goes()),
            _ => {}
        });
    }

    fn retain(&mut self, keep: &dyn Fn(&Value) -> bool) {
        match self {
            Value::Array(elements) => {
                elements.retain(keep);
                elements.iter_mut().for_each(|element| element.retain(keep));
            }
            Value::Object(fields) => fields.values_mut().for_each(|value| value.retain(keep)),
            _ => {}
        }
    }
}

/// Of the places that fit, in the order of depth, each once.
fn patterns(root: &Value, fits: impl Fn(&Value) -> bool) -> Vec<Pattern> {
    let mut found = vec![];
    let mut level = vec![(Pattern(vec![]), vec![root])];
    while !level.is_empty() {
        let mut below: Vec<(Pattern, Vec<&Value>)> = vec![];
        for (pattern, values) in level {
            if !pattern.0.is_empty() && values.iter().any(|value| fits(value)) {
                found.push(pattern.clone());
            }
            let children = values.into_iter().flat_map(children);
            for (name, value) in children {
                let pattern = pattern.push(name);
                match below.iter_mut().find(|(known, _)| *known == pattern) {
                    Some((_, values)) => values.push(value),
                    None => below.push((pattern, vec![value])),
                }
            }
        }
        level = below;
    }
    found
}

fn children(value: &Value) -> Vec<(&str, &Value)> {
    match value {
        Value::Array(elements) => elements.iter().map(|element| (EVERY, element)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (&name[..], value)).collect(),
        _ => vec![],
    }
}

fn visit<'a>(value: &'a Value, path: &[String], found: &mut dyn FnMut(&'a Value)) {
    let Some((name, rest)) = path.split_first() else { return found(value) };
    match value {
        Value::Array(elements) if name == EVERY => {
            elements.iter().for_each(|element| visit(element, rest, found));
        }
        Value::Object(fields) => fields.get(name).into_iter().for_each(|at| visit(at, rest, found)),
        _ => {}
    }
}

fn visit_mut(value: &mut Value, path: &[String], found: &mut dyn FnMut(&mut Value)) {
    let Some((name, rest)) = path.split_first() else { return found(value) };
    match value {
        Value::Array(elements) if name == EVERY => {
            elements.iter_mut().for_each(|element| visit_mut(element, rest, found));
        }
        Value::Object(fields) => {
            fields.get_mut(name).into_iter().for_each(|at| visit_mut(at, rest, found));
        }
        _ => {}
    }
}
