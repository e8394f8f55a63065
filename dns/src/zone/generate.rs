//! `$GENERATE`: a record for each number of a range, as BIND has it.
//!
//! ```text
//! $GENERATE 1-100/2 host${0,3} A 192.0.2.$
//! ```

use super::tokens::Generate;

/// Records of one directive, at most.
const MOST: u64 = 65_536;

/// The records as text of a zone file.
///
/// # Errors
/// What is wrong with the directive.
pub(super) fn expand(generate: &Generate) -> Result<String, String> {
    let rest = std::str::from_utf8(&generate.rest).map_err(|_| "not text")?;
    let rest = rest.trim_start();
    let (range, template) = rest
        .split_once([' ', '\t'])
        .ok_or("expected a range, such as 1-10, a name, a type and data")?;
    let (first, last, step) = bounds(range)?;
    let count = (last - first) / step + 1;
    if count > MOST {
        return Err(format!("{count} records, and {MOST} are the most"));
    }
    let ttl = generate.ttl.as_deref().map(String::from_utf8_lossy);
    let mut text = ttl.map_or_else(String::new, |ttl| format!("$TTL {ttl}\n"));
    let template = template.trim();
    for turn in 0..count {
        substitute(template, first + turn * step, &mut text)?;
        text.push('\n');
    }
    Ok(text)
}

fn bounds(range: &str) -> Result<(u64, u64, u64), String> {
    let wrong = || format!("`{range}` is not a range such as 1-10 or 0-100/2");
    let (ends, step) = range.split_once('/').unwrap_or((range, "1"));
    let (first, last) = ends.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().ok().map(u64::from);
    let numbers = number(first).zip(number(last)).zip(number(step));
    let ((first, last), step) = numbers.ok_or_else(wrong)?;
    match first <= last && step > 0 {
        true => Ok((first, last, step)),
        false => Err(wrong()),
    }
}

/// Writes a template with a number for each `$`.
fn substitute(template: &str, number: u64, out: &mut String) -> Result<(), String> {
    let mut rest = template;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        let found = &rest[at..];
        rest = if let Some(after) = found.strip_prefix("\\$").or(found.strip_prefix("$$")) {
            out.push('$');
            after
        } else if found.starts_with('\\') {
            // It may hide what follows from the reader: both stay.
            let length = found.chars().take(2).map(char::len_utf8).sum();
            out.push_str(&found[..length]);
            &found[length..]
        } else if let Some(inside) = found.strip_prefix("${") {
            let (modifier, after) = inside.split_once('}').ok_or("a `${` without its `}`")?;
            out.push_str(&modified(modifier, number)?);
            after
        } else {
            out.push_str(&number.to_string());
            &found[1..]
        };
    }
    out.push_str(rest);
    Ok(())
}

/// `offset,width,base`: width and base may be left out.
fn modified(modifier: &str, number: u64) -> Result<String, String> {
    let wrong = || format!("`${{{modifier}}}` is not like ${{offset,width,base}}");
    let mut parts = modifier.split(',');
    let offset: i64 = parts
        .next()
        .and_then(|part| part.parse().ok())
        .ok_or_else(wrong)?;
    let width = parts
        .next()
        .map_or(Some(0), |part| part.parse::<usize>().ok());
    let width = width.filter(|width| *width <= 255).ok_or_else(wrong)?;
    let base = parts.next().unwrap_or("d");
    if parts.next().is_some() {
        return Err(wrong());
    }
    let number = i64::try_from(number)
        .ok()
        .and_then(|number| number.checked_add(offset));
    let number = number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(wrong)?;
    match base {
        "d" => Ok(format!("{number:0width$}")),
        "o" => Ok(format!("{number:0width$o}")),
        "x" => Ok(format!("{number:0width$x}")),
        "X" => Ok(format!("{number:0width$X}")),
        "n" => Ok(nibbles(&format!("{number:x}"), width)),
        "N" => Ok(nibbles(&format!("{number:X}"), width)),
        _ => Err(wrong()),
    }
}

/// Digits from the last to the first with dots between them, as in names below `ip6.arpa`; `width` counts the dots.
fn nibbles(digits: &str, width: usize) -> String {
    let zeros = width.div_ceil(2).saturating_sub(digits.len());
    let digits = digits.chars().rev().chain(std::iter::repeat_n('0', zeros));
    let digits: Vec<String> = digits.map(String::from).collect();
    digits.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(rest: &str) -> Result<String, String> {
        expand(&Generate {
            at: 0,
            origin: b"example.".to_vec(),
            ttl: None,
            rest: rest.as_bytes().to_vec(),
        })
    }

    #[test]
    fn numbers_stand_for_dollars() {
        // The examples of the BIND 9 manual, "The $GENERATE Directive".
        assert_eq!(
            generated("1-2 @ NS SERVER$.EXAMPLE.").unwrap(),
            "@ NS SERVER1.EXAMPLE.\n@ NS SERVER2.EXAMPLE.\n"
        );
        assert_eq!(
            generated("5-9/3 $ CNAME $.0").unwrap(),
            "5 CNAME 5.0\n8 CNAME 8.0\n"
        );
        assert_eq!(
            generated(r#" 10-10 h${-10,3}x${0,4,X}o${0,0,o} TXT "\$ $$ \\ $""#).unwrap(),
            "h000x000Ao12 TXT \"$ $ \\\\ 10\"\n"
        );
        assert_eq!(
            generated("18-18 ${0,7,n} PTR a").unwrap(),
            "2.1.0.0 PTR a\n"
        );
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for rest in [
            "",
            "1-2",
            "2-1 a A $",
            "1-2/0 a A $",
            "a-b a A $",
            "1-9999999 a A $",
            "1-2 ${x} A",
            "1-2 ${0 A",
            "1-2 ${-5} A",
        ] {
            assert!(generated(rest).is_err(), "{rest}");
        }
    }
}
