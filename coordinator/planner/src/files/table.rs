//! Lines of comma-separated values, by the names of their columns.

use std::fmt::Display;
use std::ops::RangeInclusive;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder, Trim};

use super::InputError;

/// A column: its names, the first of which is ours.
pub(super) type Column = &'static [&'static str];

/// A file with a header.
pub(super) struct Table<'f> {
    file: &'f str,
    text: &'f [u8],
    reader: Reader<&'f [u8]>,
    columns: &'static [Column],
    /// Where each of `columns` stands in a line.
    places: Vec<Option<usize>>,
    record: ByteRecord,
}

/// A line of it.
pub(super) struct Line<'t> {
    file: &'t str,
    number: u64,
    columns: &'static [Column],
    places: &'t [Option<usize>],
    record: &'t ByteRecord,
}

impl<'f> Table<'f> {
    /// Reads the header. All of `columns` but the last `optional` ones must be there, in any order, and no others.
    pub(super) fn open(
        file: &'f str,
        text: &'f [u8],
        columns: &'static [Column],
        optional: usize,
    ) -> Result<Self, InputError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = if header.contains(&b'\t') && !header.contains(&b',') { b'\t' } else { b',' };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).trim(Trim::All).flexible(true).from_reader(text);
        let names: Vec<&str> = columns.iter().map(|names| names[0]).collect();
        let refuse = |what: String| {
            let what = format!("{what}; it should be {}", names.join(","));
            InputError::new(file, 1, "header", &what)
        };
        let header = reader.byte_headers().map_err(|error| refuse(error.to_string()))?.clone();
        let mut places = vec![None; columns.len()];
        for (place, found) in header.iter().enumerate() {
            let found = String::from_utf8_lossy(found);
            let known =
                columns.iter().position(|names| names.iter().any(|name| name.eq_ignore_ascii_case(&found)));
            let column = known.ok_or_else(|| refuse(format!("column '{found}' is not known")))?;
            if places[column].replace(place).is_some() {
                return Err(refuse(format!("column '{found}' stands there twice")));
            }
        }
        let needed = columns.len() - optional;
        if let Some(missing) = places[..needed].iter().position(Option::is_none) {
            return Err(refuse(format!("column '{}' is missing", names[missing])));
        }
        Ok(Self { file, text, reader, columns, places, record: ByteRecord::new() })
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, InputError> {
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| {
            let line = match error.kind() {
                ErrorKind::Utf8 { pos: Some(pos), .. } | ErrorKind::UnequalLengths { pos: Some(pos), .. } => {
                    pos.line()
                }
                _ => self.reader.position().line(),
            };
            InputError::new(self.file, line, "line", &error.to_string())
        })?;
        if !more {
            return Ok(None);
        }
        let line = Line {
            file: self.file,
            number: self.record.position().map_or(0, |position| first_line(self.text, position)),
            columns: self.columns,
            places: &self.places,
            record: &self.record,
        };
        let wanted = self.places.iter().flatten().count();
        if self.record.len() > wanted {
            return Err(line.error_at("line", &format!("{} values for {wanted} columns", self.record.len())));
        }
        Ok(Some(line))
    }
}

/// The line on which a record begins: its position may be that of empty lines before it.
fn first_line(text: &[u8], position: &csv::Position) -> u64 {
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX).min(text.len());
    let empty = text[start..].iter().take_while(|byte| byte.is_ascii_whitespace());
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

impl Line<'_> {
    /// Which line of the file it is.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// What stands in a column; empty if nothing does.
    pub(super) fn text(&self, column: usize) -> Result<&str, InputError> {
        let field = self.places[column].and_then(|place| self.record.get(place)).unwrap_or_default();
        std::str::from_utf8(field).map_err(|_| self.error(column, "is not UTF-8"))
    }

    /// The same, which must not be empty.
    pub(super) fn name(&self, column: usize) -> Result<&str, InputError> {
        let text = self.text(column)?;
        if text.is_empty() { Err(self.error(column, "is empty")) } else { Ok(text) }
    }

    /// A number within `range`, or nothing where nothing stands.
    pub(super) fn number_in(
        &self,
        column: usize,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, InputError> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(None);
        }
        let value: f64 = text.parse().map_err(|_| self.error(column, format!("'{text}' is not a number")))?;
        if range.contains(&value) && value.is_finite() {
            return Ok(Some(value));
        }
        let (low, high) = range.into_inner();
        let wanted =
            if high.is_finite() { format!("between {low} and {high}") } else { format!("{low} or more") };
        Err(self.error(column, format!("{text} is not a number that is {wanted}")))
    }

    pub(super) fn error(&self, column: usize, what: impl Display) -> InputError {
        self.error_at(self.columns[column][0], &what)
    }

    fn error_at(&self, field: &str, what: &dyn Display) -> InputError {
        InputError::new(self.file, self.number, field, &what.to_string())
    }
}
