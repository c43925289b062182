//! The picture of a running campaign on a terminal: a table with a bar below it, redrawn in place; events scroll above.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second; a campaign is looked at about twice a second, so more would only flicker.
const REDRAWS_PER_SECOND: u8 = 8;

/// A table and a bar on a terminal.
pub(super) struct Live {
    bar: ProgressBar,
}

impl Live {
    /// Takes the lower part of the terminal.
    pub(super) fn new() -> Self {
        let target = ProgressDrawTarget::stdout_with_hz(REDRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{prefix}\n\n{wide_bar} {pos}/{len} {msg}")
            .expect("the template is a constant that has been seen to work");
        bar.set_style(style.progress_chars("━╸─"));
        Self { bar }
    }

    /// Draws the table and the bar.
    pub(super) fn draw(&self, table: &[String], done: usize, all: usize, note: &str) {
        self.bar.set_prefix(table.join("\n"));
        self.bar.set_message(note.to_owned());
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        self.bar.tick();
    }

    /// Writes a line above the picture.
    pub(super) fn line(&self, text: &str) {
        self.bar.println(text);
    }

    /// Takes the picture away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}
