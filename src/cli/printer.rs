//! Results on stdout: tables as kubectl prints them, JSON, YAML, names.
//!
//! Everything a verb answers goes through here, so stdout holds data and nothing else. Text from a cluster or a
//! repository never reaches a terminal raw: control characters in cells are replaced. A closed pipe is reported as such
//! ([`std::io::ErrorKind::BrokenPipe`]) and ends the program as a success.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, presets};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::global::Output;

/// What an empty cell holds.
pub const NONE: &str = "<none>";

/// A table. Columns after the normal ones are printed with `-o wide` only.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<&'static str>,
    wide: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&'static str]) -> Table {
        Table {
            columns: columns.to_vec(),
            ..Table::default()
        }
    }

    /// More columns, for `-o wide`.
    pub fn wide(mut self, columns: &[&'static str]) -> Table {
        self.wide = columns.to_vec();
        self
    }

    /// Adds a row: a cell for each column, the wide ones too.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len() + self.wide.len());
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text: upper-case headers, left aligned, three spaces between the columns, nothing at the end of a line.
    pub fn render(&self, wide: bool) -> String {
        let width = self.columns.len() + if wide { self.wide.len() } else { 0 };
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.columns.iter().chain(&self.wide).take(width));
        for row in &self.rows {
            table.add_row(row.iter().take(width).map(|cell| printable(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let mut text = table.trim_fmt();
        text.push('\n');
        text
    }
}

/// A cell without control characters; `<none>` if it is empty.
fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return NONE.to_owned();
    }
    cell.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Text of a repository made safe for a terminal: control characters replaced, except newline and tab.
pub fn safe_text(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            _ if c.is_control() => '\u{fffd}',
            _ => c,
        })
        .collect()
}

/// A list of objects in all the forms it may be printed in.
pub struct Listing {
    /// The table form.
    pub table: Table,
    /// The objects; only looked at for JSON and YAML.
    pub items: Vec<Value>,
    /// `backup.ark.heptio.com/x` and the like.
    pub names: Vec<String>,
    /// Print the object itself, not a list of one: the user named exactly one.
    pub single: bool,
}

/// Writes results.
pub struct Printer {
    format: Output,
    out: Box<dyn Write + Send>,
}

impl Printer {
    /// A printer on stdout.
    pub fn stdout(format: Output) -> Printer {
        Printer::new(format, Box::new(io::stdout()))
    }

    /// A printer on anything.
    pub fn new(format: Output, out: Box<dyn Write + Send>) -> Printer {
        Printer { format, out }
    }

    /// The format asked for.
    pub fn format(&self) -> Output {
        self.format
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Writes a list.
    pub fn list(&mut self, listing: Listing) -> io::Result<()> {
        match self.format {
            // Headers over nothing say nothing; that it is nothing is said on stderr.
            Output::Table | Output::Wide if listing.table.is_empty() => Ok(()),
            Output::Table => self.text(&listing.table.render(false)),
            Output::Wide => self.text(&listing.table.render(true)),
            Output::Name => self.names(&listing.names),
            Output::Json | Output::Yaml => {
                let mut items = listing.items;
                let value = match (listing.single, items.len()) {
                    (true, 1) => items.remove(0),
                    _ => json!({ "apiVersion": "v1", "kind": "List", "items": items }),
                };
                self.value(&value)
            }
        }
    }

    /// Writes one value: as JSON or YAML if asked for, else the text; the name with `-o name`.
    pub fn one<T: Serialize>(
        &mut self,
        value: &T,
        name: &str,
        text: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.format {
            Output::Table | Output::Wide => self.text(&text()),
            Output::Name => self.names(&[name.to_owned()]),
            Output::Json | Output::Yaml => self.value(value),
        }
    }

    /// Writes a value as YAML with `-o yaml`, as JSON with any other format.
    pub fn value<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let text = match self.format {
            Output::Yaml => serde_yaml_ng::to_string(value).map_err(io::Error::other)?,
            _ => {
                let mut text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
                text.push('\n');
                text
            }
        };
        self.text(&text)
    }

    fn names(&mut self, names: &[String]) -> io::Result<()> {
        let text: String = names
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| format!("{}\n", printable(name)))
            .collect();
        self.text(&text)
    }
}

/// `Key:   value` lines as `describe` prints them, aligned at one column.
#[derive(Debug, Default)]
pub struct Description(Vec<(String, String)>);

impl Description {
    /// Adds a line; further lines of the value are indented below the first.
    pub fn field(&mut self, key: &str, value: impl Into<String>) -> &mut Description {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// The text.
    pub fn render(&self) -> String {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 3;
        let mut text = String::new();
        for (key, value) in &self.0 {
            let value = if value.is_empty() { NONE } else { value };
            for (number, line) in value.lines().enumerate() {
                let head = if number == 0 {
                    format!("{key}:")
                } else {
                    String::new()
                };
                text.push_str(format!("{head:width$}{}", safe_text(line)).trim_end());
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn listing(single: bool) -> Listing {
        let mut table = Table::new(&["NAME", "STATUS"]).wide(&["ID"]);
        table.row(vec!["nightly".into(), "Completed".into(), "1f".into()]);
        table.row(vec!["a".into(), String::new(), "2f".into()]);
        Listing {
            table,
            items: match single {
                true => vec![json!({"kind": "Backup"})],
                false => vec![json!({"n": 1}), json!({"n": 2})],
            },
            names: vec!["backup/nightly".into(), "backup/a".into()],
            single,
        }
    }

    fn printed(format: Output, single: bool) -> String {
        let sink = Sink::default();
        let mut printer = Printer::new(format, Box::new(sink.clone()));
        printer.list(listing(single)).unwrap();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn tables_read_as_kubectls() {
        insta::assert_snapshot!(printed(Output::Table, false), @r"
        NAME      STATUS
        nightly   Completed
        a         <none>
        ");
        insta::assert_snapshot!(printed(Output::Wide, false), @r"
        NAME      STATUS      ID
        nightly   Completed   1f
        a         <none>      2f
        ");
        for line in printed(Output::Table, false).lines() {
            assert_eq!(line, line.trim());
        }
    }

    #[test]
    fn other_formats() {
        assert_eq!(printed(Output::Name, false), "backup/nightly\nbackup/a\n");
        assert_eq!(
            printed(Output::Json, true),
            "{\n  \"kind\": \"Backup\"\n}\n"
        );
        assert_eq!(printed(Output::Yaml, true), "kind: Backup\n");
        assert!(printed(Output::Json, false).contains("\"kind\": \"List\""));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(vec!["a\u{1b}[2Jb\nc".into()]);
        let text = table.render(false);
        assert!(!text.contains('\u{1b}'));
        assert_eq!(text.lines().count(), 2);
        assert_eq!(safe_text("a\tb\r\n\u{7}"), "a\tb\u{fffd}\n\u{fffd}");
    }

    #[test]
    fn descriptions_align() {
        let mut description = Description::default();
        description
            .field("Name", "x")
            .field("Namespaces", "a\nb")
            .field("Labels", "");
        insta::assert_snapshot!(description.render(), @r"
        Name:        x
        Namespaces:  a
                     b
        Labels:      <none>
        ");
    }
}
