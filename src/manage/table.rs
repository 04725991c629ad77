//! CSV (RFC 4180), for spreadsheets too.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Text(&'a str),
    Owned(String),
    Count(u64),
    Measured(f64),
    Flag(bool),
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Owned(text) => serializer.serialize_str(text),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Measured(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// Rows of cells.
#[derive(Debug, Default)]
pub(super) struct Csv(String);

impl Csv {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for (at, cell) in cells.into_iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            match cell {
                Cell::Empty => {}
                Cell::Text(text) => self.text(text),
                Cell::Owned(text) => self.text(&text),
                Cell::Count(count) => self.display(count),
                Cell::Measured(number) => self.display(number),
                Cell::Flag(flag) => self.display(flag),
            }
        }
        self.0.push_str("\r\n");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        // Into memory: there is nothing that could fail.
        let _ = write!(self.0, "{value}");
    }

    /// Clients choose the names of models. A spreadsheet takes what begins like a formula for one, and runs it; one that
    /// sees an apostrophe in front takes it for text.
    fn text(&mut self, text: &str) {
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
        if !is_formula && !text.contains(['"', ',', '\n', '\r']) {
            self.0.push_str(text);
            return;
        }
        self.0.push('"');
        if is_formula {
            self.0.push('\'');
        }
        for (at, part) in text.split('"').enumerate() {
            if at > 0 {
                self.0.push_str("\"\"");
            }
            self.0.push_str(part);
        }
        self.0.push('"');
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut csv = Csv::new();
        csv.row([Cell::Text(text)]);
        String::from_utf8(csv.finish()).unwrap()
    }

    #[test]
    fn a_cell_is_quoted_where_it_has_to_be_and_never_a_formula() {
        for (text, cell) in [
            ("gpt-4o", "gpt-4o"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-1", "\"'-1\""),
            ("\t=1", "\"'\t=1\""),
            ("'=1", "'=1"),
            ("", ""),
        ] {
            assert_eq!(written(text), format!("{cell}\r\n"));
        }
    }

    proptest! {
        /// Read by a reader that is not ours.
        #[test]
        fn any_text_comes_back(texts in prop::collection::vec("\\PC*|[=+@,\"'\r\n\t-]{0,6}", 1..5)) {
            let mut csv = Csv::new();
            csv.row([Cell::Text("first")].into_iter().chain(texts.iter().map(|text| Cell::Text(text))));
            let bytes = csv.finish();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*bytes);
            let records = reader.records().collect::<Result<Vec<_>, _>>().unwrap();
            prop_assert_eq!(records.len(), 1);
            for (cell, text) in records[0].iter().skip(1).zip(&texts) {
                prop_assert!(cell == text || cell.strip_prefix('\'') == Some(text));
                prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
            }
        }
    }
}
