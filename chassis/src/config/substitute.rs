//! `${VAR}`, `${VAR:-default}` and `${file:PATH}` in strings; `$${` stands for a plain `${`.
//!
//! Values are filled in after TOML was parsed, so a value can never become syntax.

use std::path::Path;

use super::diagnostic::Diagnostic;
use super::source::{Place, Sources};
use crate::files;

/// The text with its variables filled in, or none when it has none.
pub(super) fn substitute(
    text: &str,
    place: Place,
    sources: &mut Sources,
) -> Result<Option<String>, Diagnostic> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let end = tail.find('}').ok_or_else(|| {
            Diagnostic::new(place, "a variable without its closing brace")
                .label("`${` is never closed")
                .help("write `${NAME}`, or `$${` for a plain `${`")
        })?;
        out.push_str(&value_of(&tail[..end], place, sources)?);
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn value_of(expression: &str, place: Place, sources: &mut Sources) -> Result<String, Diagnostic> {
    if let Some(path) = expression.strip_prefix("file:") {
        let path = sources.resolve(Path::new(path), place);
        let text = files::read_text(&path);
        let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        let wrong = |error| format!("cannot read `{}`: {error}", path.display());
        let text = text.map_err(|error| Diagnostic::new(place, wrong(error)));
        sources.values.push(path);
        return text;
    }
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    let is_name = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        return Err(
            Diagnostic::new(place, format!("`{name}` is not a name of a variable"))
                .help("write `${NAME}`, `${NAME:-default}` or `${file:PATH}`"),
        );
    }
    match (std::env::var(name), default) {
        (Ok(value), _) if !value.is_empty() || default.is_none() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Err(std::env::VarError::NotUnicode(_)), None) => Err(Diagnostic::new(
            place,
            format!("the environment variable `{name}` is not UTF-8"),
        )),
        _ => Err(Diagnostic::new(
            place,
            format!("the environment variable `{name}` is not set"),
        )
        .help(format!("set it, or write `${{{name}:-default}}`"))),
    }
}
