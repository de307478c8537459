//! `${env:NAME}` and `${file:path:key}` in a value: Kafka's config providers, for secrets.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// An environment variable.
    Env(&'a str),
    /// A key of a properties file.
    File { path: &'a str, key: &'a str },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("${{{0}}}: there are only ${{env:NAME}} and ${{file:PATH:KEY}}")]
    Provider(String),
    #[error("${{{reference}}}: {why}")]
    Missing { reference: String, why: String },
}

/// Where references lead; an error says why to nowhere.
pub type Lookup<'a> = dyn FnMut(Reference<'_>) -> Result<String, String> + 'a;

/// `text` with every reference replaced. What a reference leads to is taken as it is.
pub fn expand(text: &str, lookup: &mut Lookup<'_>) -> Result<String, ReferenceError> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let Some(end) = after.find('}') else { break };
        let inside = &after[..end];
        expanded.push_str(&rest[..start]);
        rest = &after[end + 1..];
        match parse(inside)? {
            None => expanded.push_str(&format!("${{{inside}}}")),
            Some(reference) => expanded.push_str(
                &lookup(reference)
                    .map_err(|why| ReferenceError::Missing { reference: inside.to_owned(), why })?,
            ),
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Without a colon it is no reference.
fn parse(inside: &str) -> Result<Option<Reference<'_>>, ReferenceError> {
    let Some((provider, rest)) = inside.split_once(':') else { return Ok(None) };
    match (provider, rest.rsplit_once(':')) {
        ("env", None) => Ok(Some(Reference::Env(rest))),
        ("file", Some((path, key))) => Ok(Some(Reference::File { path, key })),
        _ => Err(ReferenceError::Provider(inside.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let mut lookup = |reference: Reference<'_>| match reference {
            Reference::Env("HOST") => Ok("example.org".to_owned()),
            Reference::File { path: "/etc/secret", key: "port" } => Ok("9092".to_owned()),
            _ => Err("not there".to_owned()),
        };
        expand(text, &mut lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn references_are_replaced_where_they_stand() {
        assert_eq!(
            expanded("PLAINTEXT://${env:HOST}:${file:/etc/secret:port}/").unwrap(),
            "PLAINTEXT://example.org:9092/"
        );
        for text in ["plain", "$1 and ${x} and ${", "${env:HOST"] {
            assert_eq!(expanded(text).unwrap(), text);
        }
    }

    #[test]
    fn a_reference_to_nothing_is_an_error() {
        assert_eq!(expanded("${env:NONE}").unwrap_err(), "${env:NONE}: not there");
        assert!(expanded("${vault:a:b}").unwrap_err().contains("there are only"));
    }
}
