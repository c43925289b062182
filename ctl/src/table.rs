//! Plain tables: columns padded to their widest cell, no lines, so that `awk` and people both read them.

/// A table with a header.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// What stands in a cell that has nothing to say.
pub const EMPTY: &str = "-";

impl Table {
    /// A table with these columns and no rows.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    /// The lines of the table without line ends.
    pub fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.header[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> =
                cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let header = line(&mut self.header.iter().copied());
        std::iter::once(header)
            .chain(self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str))))
            .collect()
    }
}

/// The text of a cell that may be absent.
pub fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| EMPTY.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::new(&["NAME", "PHASE", "NOTE"]);
        table.row(vec!["camera-1".to_owned(), "idle".to_owned(), EMPTY.to_owned()]);
        table.row(vec!["gw".to_owned(), "probation".to_owned(), String::new()]);
        assert_eq!(
            table.lines(),
            ["NAME      PHASE      NOTE", "camera-1  idle       -", "gw        probation",]
        );
    }
}
