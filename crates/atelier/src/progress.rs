//! The four steps of a creation or start, as they go: moving lines on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use atelier_wire::JobProgress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::printer::Printer;

/// Shows steps.
pub(crate) struct Steps {
    printer: Printer,
    lines: Option<MultiProgress>,
    bars: BTreeMap<u8, ProgressBar>,
    told: BTreeMap<u8, (String, String)>,
}

impl Steps {
    /// Steps that go through this printer.
    pub(crate) fn new(printer: Printer) -> Self {
        let lines = printer.lively.then(MultiProgress::new);
        Self { printer, lines, bars: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Shows what changed.
    pub(crate) fn update(&mut self, steps: &[JobProgress]) {
        for step in steps {
            let now = (step.status.clone(), step.description.clone());
            if self.told.get(&step.step) != Some(&now) {
                self.told.insert(step.step, now);
                self.tell(step);
            }
        }
    }

    fn tell(&mut self, step: &JobProgress) {
        let Some(lines) = &self.lines else {
            if let Some(line) = plain(step) {
                self.printer.say(&line);
            }
            return;
        };
        let bar = self
            .bars
            .entry(step.step)
            .or_insert_with(|| lines.add(ProgressBar::new_spinner().with_style(style("· {msg}"))));
        bar.set_message(step.description.clone());
        let mark = match step.status.as_str() {
            "PROCESSING" => {
                bar.set_style(style("{spinner} {msg} ({elapsed})"));
                bar.enable_steady_tick(Duration::from_millis(100));
                return;
            }
            "COMPLETED" => "✓",
            "FAILED" => "✗",
            _ => "·",
        };
        bar.disable_steady_tick();
        bar.set_style(style(&format!("{mark} {{msg}}")));
        bar.tick();
    }

    /// The last word: all steps are done, or nobody watches any more.
    pub(crate) fn end(&mut self, done: bool) {
        let open: Vec<_> = self.told.iter().filter(|(_, (status, _))| status != "COMPLETED").map(|(n, _)| *n).collect();
        for number in open.into_iter().filter(|_| done) {
            let description = self.told.get(&number).map(|(_, text)| first_part(text)).unwrap_or_default();
            self.update(&[JobProgress {
                notebook_id: None,
                step: number,
                status: "COMPLETED".into(),
                step_description: description.clone(),
                description,
            }]);
        }
        self.bars.values().for_each(ProgressBar::abandon);
    }
}

/// A step's own name, without what it was doing at last.
fn first_part(text: &str) -> String {
    text.split(':').next().unwrap_or(text).to_owned()
}

fn plain(step: &JobProgress) -> Option<String> {
    let JobProgress { step: number, description, .. } = step;
    match step.status.as_str() {
        "PROCESSING" => Some(format!("{number}/4 {description} ...")),
        "COMPLETED" => Some(format!("{number}/4 {description}: done")),
        "FAILED" => Some(format!("{number}/4 {description}: failed")),
        _ => None,
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// One thing that takes long and says what it is doing.
pub(crate) struct Spinner {
    printer: Printer,
    bar: Option<ProgressBar>,
}

impl Spinner {
    /// Begins with this text.
    pub(crate) fn new(printer: Printer, text: &str) -> Self {
        let bar = printer.lively.then(|| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let spinner = Self { printer, bar };
        spinner.say(text);
        spinner
    }

    /// What it is doing now.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.printer.say(text),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(status: &str) -> JobProgress {
        JobProgress {
            notebook_id: None,
            step: 2,
            status: status.into(),
            description: "prepare compute resources: building the image".into(),
            step_description: String::new(),
        }
    }

    #[test]
    fn plain_lines_say_the_number_the_text_and_how_it_ended() {
        assert_eq!(plain(&step("WAITING")), None);
        assert_eq!(plain(&step("PROCESSING")).unwrap(), "2/4 prepare compute resources: building the image ...");
        assert_eq!(plain(&step("COMPLETED")).unwrap(), "2/4 prepare compute resources: building the image: done");
        assert_eq!(first_part("prepare compute resources: building"), "prepare compute resources");
    }
}
