//! Numbers and names as JSON spells them.

use std::borrow::Cow;

use smallvec::SmallVec;

/// Why a number is no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotACount {
    /// Negative, broken, or no number.
    Malformed,
    /// More tokens than a response can have.
    Overflow,
}

/// A JSON number as a count: a whole number from 0 on, in whatever spelling (`28`, `28.0`, `2.8e1`).
pub(super) fn count(number: &[u8]) -> Result<u32, NotACount> {
    if !number.is_empty() && number.len() < 10 {
        let (value, is_decimal) = number.iter().fold((0_u32, true), |(value, is_decimal), byte| {
            let digit = byte.wrapping_sub(b'0');
            (value.wrapping_mul(10).wrapping_add(digit.into()), is_decimal & (digit < 10))
        });
        if is_decimal {
            return Ok(value);
        }
    }
    // JSON has no `+1`, `.5` or `inf`, which `f64` would take.
    let is_json = matches!(number.first(), Some(b'0'..=b'9' | b'-')) && !number.ends_with(b".");
    let value = std::str::from_utf8(number)
        .ok()
        .filter(|_| is_json)
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|value| *value >= 0.0 && (value.fract() == 0.0 || value.is_infinite()))
        .ok_or(NotACount::Malformed)?;
    if value > f64::from(u32::MAX) { Err(NotACount::Overflow) } else { Ok(value as u32) }
}

/// A JSON string as a name: escapes resolved, control characters removed, trimmed, at most `max` bytes.
pub(super) fn name(raw: &[u8], max: usize) -> Cow<'_, [u8]> {
    // Without an end before the last byte, so that the compiler makes vectors of it.
    let is_plain = |all: bool, byte: &u8| all & (*byte > b' ') & (*byte < 0x7F) & (*byte != b'\\');
    if raw.len() <= max && raw.iter().fold(true, is_plain) {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(clean(&unescape(raw), max).into_bytes())
}

/// A name without control characters and what cannot be seen, trimmed, at most `max` bytes.
pub(super) fn clean(text: &str, max: usize) -> String {
    let clean = text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect::<String>();
    let clean = clean.trim();
    let end = (0..=max.min(clean.len())).rev().find(|end| clean.is_char_boundary(*end)).unwrap_or(0);
    clean[..end].trim_end().to_owned()
}

/// A JSON string as a word of a provider's vocabulary: what is no letter, digit or mark of a name becomes `_`.
pub(super) fn word(raw: &[u8], max: usize) -> SmallVec<[u8; 64]> {
    let is_word =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/');
    raw.iter().take(max).map(|byte| if is_word(byte) { *byte } else { b'_' }).collect()
}

/// Characters that are not seen but change how text around them looks.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// What a JSON string says. An escape that is none is left out; a character that is not seen becomes a newline.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    if !text.contains('\\') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(escape) = rest.chars().next() else { break };
        rest = &rest[escape.len_utf8()..];
        match escape {
            'u' => {
                let mut units = [0; 2];
                let mut len = 0;
                // A second unit only for the second half of a pair.
                while len == 0 || len == 1 && (0xD800..0xDC00).contains(&units[0]) && rest.starts_with("\\u")
                {
                    let digits = &rest[if len == 0 { 0 } else { 2 }..];
                    let hex =
                        digits.get(..4).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                    let Some(unit) = hex.and_then(|hex| u16::from_str_radix(hex, 16).ok()) else { break };
                    units[len] = unit;
                    len += 1;
                    rest = &digits[4..];
                }
                out.push_str(&String::from_utf16_lossy(&units[..len]));
            }
            'b' | 'f' | 'n' | 'r' | 't' => out.push('\n'),
            other => out.push(other),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_a_count_however_it_is_spelled() {
        for (number, expected) in [
            ("0", 0),
            ("17", 17),
            ("999999999", 999_999_999),
            ("4294967295", u32::MAX),
            ("28.0", 28),
            ("1e3", 1000),
            ("1.5E+1", 15),
            ("-0", 0),
            ("-0.0", 0),
        ] {
            assert_eq!(count(number.as_bytes()), Ok(expected), "{number}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_no_count() {
        for number in
            ["", "-", "-1", "1.5", "1e", "0x10", "1-2", "+1", ".5", "5.", "1_000", "--1", "Infinity"]
        {
            assert_eq!(count(number.as_bytes()), Err(NotACount::Malformed), "{number}");
        }
        for number in ["4294967296", "99999999999999999999999999", "1e300", "1e999"] {
            assert_eq!(count(number.as_bytes()), Err(NotACount::Overflow), "{number}");
        }
    }

    fn named(raw: &str) -> String {
        String::from_utf8(name(raw.as_bytes(), 20).into_owned()).unwrap()
    }

    #[test]
    fn a_name_has_its_escapes_resolved_and_what_cannot_be_seen_removed() {
        for (raw, expected) in [
            ("gpt-4o", "gpt-4o"),
            (r"openai\/gpt-4o", "openai/gpt-4o"),
            (r"a\u00e9\ud83d\ude00b", "aé😀b"),
            (r"lone\ud83dhalf", "lone\u{FFFD}half"),
            (r"short\u12", "short12"),
            (r"sign\u+123", "sign+123"),
            ("  \\t two words \\n", "two words"),
            ("a\u{202e}b\u{0}c\\u0007d", "abcd"),
            ("", ""),
            ("\\", ""),
            ("áááááááááááááááááááá", "áááááááááá"),
        ] {
            assert_eq!(named(raw), expected, "{raw}");
        }
    }
}
