//! What the demo says: numbered steps, the commands, facts, and the table at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark::cli::size::{grouped, human_size};

use crate::folder::Change;

/// Talks to the user, on stdout.
pub struct Voice {
    colour: bool,
    steps: AtomicUsize,
}

impl Voice {
    pub fn new() -> Voice {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Voice {
            colour,
            steps: AtomicUsize::new(0),
        }
    }

    /// A step begins: what it does, in one line.
    pub fn step(&self, what: &str) {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        println!("\n{}", self.paint("1", &format!("{number:>2}  {what}")));
    }

    /// The command that a step runs.
    pub fn command(&self, line: &str) {
        println!("    {}", self.paint("36", &format!("$ {line}")));
    }

    /// What came out.
    pub fn fact(&self, text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    /// A claim that was checked.
    pub fn holds(&self, claim: &str) {
        println!("    {} {claim}", self.paint("32", "✓"));
    }

    /// The last word.
    pub fn end(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What one step cost.
pub struct Row {
    pub step: String,
    pub seconds: f64,
    /// Requests to the apiserver, where the step makes any.
    pub api: Option<u64>,
    /// Requests to the store, as ark counted them.
    pub store: Option<String>,
    /// What the step did to the repository's folder, as the demo counted it.
    pub change: Change,
}

/// The table at the end.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "STEP",
            "SECONDS",
            "API REQUESTS",
            "STORE REQUESTS",
            "WRITTEN",
            "DELETED",
            "REPOSITORY",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let none = || "-".to_owned();
    let amount = |objects: usize, bytes: u64| match objects {
        0 => "-".to_owned(),
        1 => format!("{} in 1 file", human_size(bytes)),
        n => format!("{} in {} files", human_size(bytes), grouped(n as u64)),
    };
    for row in rows {
        lines.push(vec![
            row.step.clone(),
            format!("{:.1}", row.seconds),
            row.api.map_or_else(none, grouped),
            row.store.clone().unwrap_or_else(none),
            amount(row.change.new_objects, row.change.new_bytes),
            amount(row.change.gone_objects, row.change.gone_bytes),
            human_size(row.change.total_bytes),
        ]);
    }
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            // Names and lists read from the left, numbers from the right.
            padded.push_str(&match column {
                0 | 3 => format!("{cell:<width$}   "),
                _ => format!("{cell:>width$}   "),
            });
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}
