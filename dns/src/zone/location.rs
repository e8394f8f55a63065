//! The data of LOC records: a place on the Earth (RFC 1876).

/// Thousandths of a second of arc.
const SECOND: u32 = 1000;
/// The equator, and the prime meridian.
const MIDDLE: u32 = 1 << 31;
/// Altitudes begin 100 km below the sphere, in cm.
const LOWEST: i64 = -10_000_000;

/// The data in wire form (RFC 1876, 2): from `42 21 54 N 71 06 18 W -24m 30m`.
///
/// # Errors
/// What is wrong.
pub(super) fn location(words: &[String]) -> Result<[u8; 16], String> {
    let mut left = words;
    let latitude = angle(&mut left, ("N", "S"), 90)?;
    let longitude = angle(&mut left, ("E", "W"), 180)?;
    let altitude = left.first().ok_or("the altitude is missing")?;
    let above = centimetres(altitude)? - LOWEST;
    let above = u32::try_from(above).map_err(|_| format!("`{altitude}` is too low or too high"))?;
    let precisions = left.get(1..).unwrap_or_default();
    if precisions.len() > 3 {
        return Err("too much behind the altitude".to_owned());
    }
    // One meter, 10 km, 10 m (RFC 1876, 3).
    let mut sizes = [0x12, 0x16, 0x13];
    for (size, word) in sizes.iter_mut().zip(precisions) {
        *size = precision(word)?;
    }
    let mut data = [0; 16];
    data[1..4].copy_from_slice(&sizes);
    for (at, number) in [latitude, longitude, above].into_iter().enumerate() {
        data[4 + 4 * at..][..4].copy_from_slice(&number.to_be_bytes());
    }
    Ok(data)
}

/// Degrees, perhaps minutes and seconds, and the half of the Earth.
fn angle(left: &mut &[String], (up, down): (&str, &str), most: u32) -> Result<u32, String> {
    let is_half = |word: &String| word.eq_ignore_ascii_case(up) || word.eq_ignore_ascii_case(down);
    let at = left.iter().position(is_half);
    let at = at.filter(|at| (1..=3).contains(at));
    let at =
        at.ok_or_else(|| format!("expected degrees, minutes and seconds, then {up} or {down}"))?;
    let mut arc = 0;
    for (word, (unit, limit)) in left[..at].iter().zip([(3600, most), (60, 59), (1, 59)]) {
        let wrong = || format!("`{word}` is not from 0 to {limit}");
        let thousandths = match unit {
            1 => decimal(word, 3),
            _ => word
                .parse::<u32>()
                .ok()
                .map(|whole| i64::from(whole) * i64::from(SECOND)),
        };
        let thousandths = thousandths.and_then(|number| u32::try_from(number).ok());
        let number = thousandths.filter(|number| *number < (limit + 1) * SECOND);
        arc += number.ok_or_else(wrong)? * unit;
    }
    if arc > most * 3600 * SECOND {
        return Err(format!("more than {most} degrees"));
    }
    let is_up = left[at].eq_ignore_ascii_case(up);
    *left = &left[at + 1..];
    Ok(if is_up { MIDDLE + arc } else { MIDDLE - arc })
}

fn centimetres(word: &str) -> Result<i64, String> {
    let metres = word.strip_suffix(['m', 'M']).unwrap_or(word);
    decimal(metres, 2).ok_or_else(|| format!("`{word}` is not a length in meters"))
}

/// One digit, and how many zeros follow it, in cm.
fn precision(word: &str) -> Result<u8, String> {
    let mut digit = centimetres(word)?;
    let mut zeros = 0;
    while digit >= 10 {
        (digit, zeros) = (digit / 10, zeros + 1);
    }
    let fits = (0..10).contains(&digit) && zeros < 10;
    let digit = u8::try_from(digit).ok().filter(|_| fits);
    digit
        .map(|digit| digit << 4 | zeros)
        .ok_or_else(|| format!("`{word}` is not from 0 to 90000000 meters"))
}

/// A number with so many digits behind the point, as a whole one.
fn decimal(word: &str, digits: usize) -> Option<i64> {
    let (negative, word) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let (whole, rest) = word.split_once('.').unwrap_or((word, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && whole.len() <= 10 && rest.len() <= digits;
    if !fits || !is_digits(whole) || !is_digits(rest) {
        return None;
    }
    let number: i64 = format!("{whole}{rest:0<digits$}").parse().ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<[u8; 16], String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        location(&words)
    }

    #[test]
    fn places_are_as_the_standard_has_them() {
        // The first example of RFC 1876, 4: cambridge-net.kei.com.
        let cambridge = read("42 21 54 N 71 06 18 W -24m 30m").unwrap();
        assert_eq!(cambridge[..4], [0, 0x33, 0x16, 0x13]);
        let number = |at: usize| u32::from_be_bytes(cambridge[at..at + 4].try_into().unwrap());
        assert_eq!(number(4), MIDDLE + ((42 * 60 + 21) * 60 + 54) * 1000);
        assert_eq!(number(8), MIDDLE - ((71 * 60 + 6) * 60 + 18) * 1000);
        assert_eq!(number(12), 10_000_000 - 2_400);
        let short = read("90 S 180 E 0").unwrap();
        assert_eq!(short[..4], [0, 0x12, 0x16, 0x13]);
        assert_eq!(read("0 0 0.001 N 0 E 1.5m").unwrap()[7], 1);
    }

    #[test]
    fn places_that_are_none_are_refused() {
        for text in [
            "91 N 0 E 0m",
            "90 0 1 N 0 E 0m",
            "1 60 N 0 E 0m",
            "1 N 0 E",
            "1 N 0 E high",
            "1 N 0 E -100001m",
            "1 N 1 N 0m",
            "1 N 1 E 0m 1m 1m 1m 1m",
            "1 N 1 E 0m 900000000m",
            "N 1 E 0m",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
