//! Reading files, and `include = ["routes/*.toml"]`.
//!
//! Included files are merged into one configuration: tables join, arrays
//! append, and a value that is set twice is an error.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::diagnostic::Diagnostic;
use super::node::{Node, Value};
use super::source::{Place, Sources};
use crate::files;

/// Reads the first file and everything that it includes.
pub(super) fn read_root(path: &Path, sources: &mut Sources) -> Result<Node, Diagnostic> {
    read(path, Place::default(), sources)
}

fn read(path: &Path, named_at: Place, sources: &mut Sources) -> Result<Node, Diagnostic> {
    let text = files::read_text(path);
    // Also a file that is missing is one to watch: it may come back.
    let file = sources.add(path.to_owned(), text.as_deref().unwrap_or_default());
    let text = text.map_err(|error| {
        let place = match named_at == Place::NOWHERE {
            true => Place::new(file, 0..0),
            false => named_at,
        };
        Diagnostic::new(place, format!("cannot read {}: {error}", path.display()))
    })?;
    let table = DeTable::parse(&text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Diagnostic::new(Place::new(file, span), error.message().trim())
            .label("this is not valid TOML")
    })?;
    let mut node = Node::from_table(file, &table, sources)?;
    if let Some(include) = node.take("include") {
        for (pattern, place) in patterns(&include)? {
            for found in matches(&pattern, place, sources)? {
                let is_read = |seen: &Path| same_file(seen, &found);
                if sources.files.iter().any(|source| is_read(&source.path)) {
                    return Err(Diagnostic::new(
                        place,
                        format!("{} is included twice", found.display()),
                    ));
                }
                let included = read(&found, place, sources)?;
                merge(&mut node, included, sources)?;
            }
        }
    }
    Ok(node)
}

fn patterns(include: &Node) -> Result<Vec<(String, Place)>, Diagnostic> {
    let wrong = |place| Diagnostic::new(place, "`include` is a list of file names or patterns");
    let Value::Array(items) = &include.value else {
        return Err(wrong(include.place));
    };
    items
        .iter()
        .map(|item| match &item.value {
            Value::Text { text, .. } => Ok((text.clone(), item.place)),
            _ => Err(wrong(item.place)),
        })
        .collect()
}

/// The files that a pattern names, sorted; a plain name must exist.
fn matches(pattern: &str, place: Place, sources: &mut Sources) -> Result<Vec<PathBuf>, Diagnostic> {
    let path = sources.resolve(Path::new(pattern), place);
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path]);
    }
    if let Some(folder) = path.parent().filter(|folder| folder.is_dir()) {
        sources.folders.push(folder.to_owned());
    }
    let found = glob::glob(&path.to_string_lossy())
        .map_err(|error| Diagnostic::new(place, format!("not a pattern: {}", error.msg)))?;
    found
        .map(|entry| entry.map_err(|error| Diagnostic::new(place, error.to_string())))
        .collect()
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn merge(into: &mut Node, from: Node, sources: &Sources) -> Result<(), Diagnostic> {
    let (Value::Table(entries), Value::Table(added)) = (&mut into.value, from.value) else {
        return Ok(());
    };
    for (key, node) in added {
        let Some((first, existing)) = entries.iter_mut().find(|(k, _)| k.name == key.name) else {
            entries.push((key, node));
            continue;
        };
        match (&mut existing.value, &node.value) {
            (Value::Table(_), Value::Table(_)) => merge(existing, node, sources)?,
            (Value::Array(items), Value::Array(_)) => {
                if let Value::Array(more) = node.value {
                    items.extend(more);
                }
            }
            _ => {
                let first = sources.locate(first.place);
                return Err(
                    Diagnostic::new(key.place, format!("`{}` is set twice", key.name))
                        .label("set again here")
                        .help(format!("it was set first at {first}")),
                );
            }
        }
    }
    Ok(())
}
