//! Reads the times that providers write.

use serde_json::Value;

/// Seconds or milliseconds since the epoch, or the form of RFC 3339.
pub fn timestamp(value: &Value) -> Option<u64> {
    match number(value) {
        Some(moment) if moment > 1e11 => Some((moment / 1000.0) as u64),
        Some(moment) if moment > 0.0 => Some(moment as u64),
        Some(_) => None,
        None => rfc3339(value.as_str()?),
    }
}

/// A number, or a text that is one.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// `2026-11-23T01:20:00Z`, with a fraction or an offset.
fn rfc3339(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok().filter(|number| *number >= 0);
    let time = [part(11, 13)?, part(14, 16)?, part(17, 19)?];
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes().first()? {
        b'Z' | b'z' => 0,
        sign @ (b'+' | b'-') => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    u64::try_from(seconds(part(0, 4)?, part(5, 7)?, part(8, 10)?, time)? - offset * 60).ok()
}

/// A date of HTTP in any of its three forms (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`,
/// `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
pub fn http_date(text: &str) -> Option<u64> {
    let mut numbers = Vec::with_capacity(2);
    let (mut month, mut time) = (None, None);
    for word in text.split([' ', ',', '-']).filter(|word| !word.is_empty()).take(7) {
        if let Ok(number) = word.parse::<i64>() {
            numbers.push(number);
        } else if let Some(position) = MONTHS.iter().position(|name| *name == word) {
            month = Some(position as i64 + 1);
        } else if let [hour, minute, second] = word.split(':').collect::<Vec<_>>()[..] {
            time = Some([hour.parse().ok()?, minute.parse().ok()?, second.parse().ok()?]);
        }
    }
    let [day, year] = numbers[..] else { return None };
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    u64::try_from(seconds(year, month?, day, time?)?).ok()
}

/// Seconds since the epoch in the Gregorian calendar, with years that begin in March.
fn seconds(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let fits = (1600..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !fits {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = year.rem_euclid(400);
    let days = year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day
        - 1
        - 719_468;
    Some(days * 86_400 + (hour * 60 + minute) * 60 + second)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_every_form_that_providers_use() {
        for (value, seconds) in [
            (serde_json::json!(1_700_000_000), 1_700_000_000),
            (serde_json::json!("1700000000"), 1_700_000_000),
            (serde_json::json!(1_700_000_000_123_u64), 1_700_000_000),
            (serde_json::json!("2023-11-14T22:13:20Z"), 1_700_000_000),
            (serde_json::json!("2023-11-14T22:13:20.987Z"), 1_700_000_000),
            (serde_json::json!("2023-11-15T00:13:20+02:00"), 1_700_000_000),
            (serde_json::json!("2024-02-29T00:00:00Z"), 1_709_164_800),
            (serde_json::json!("1970-01-01T00:00:00Z"), 0),
        ] {
            assert_eq!(timestamp(&value), Some(seconds), "{value}");
        }
        for bad in ["", "soon", "2023-11-14", "2023-13-14T22:13:20Z", "2023-11-14T22:13:20", "20é3-11-14T22:13:20Z"] {
            assert_eq!(timestamp(&serde_json::json!(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_date_of_http_is_read_in_its_three_forms() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(http_date(date), Some(784_111_777), "{date}");
        }
        for bad in
            ["", "120", "06 Nov 1994", "Sun, 06 Nov 1994 25:49:37 GMT", "é, 06 Nov 1994 08:49 GMT", "1 2 3 4:5:6"]
        {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
