//! What a recipe says while it works, made into one line for people, with counts that are true.
//!
//! The recipe names its own steps (`atelier: …`). Between them apt and dpkg speak, and they are counted: how many
//! packages apt means to install stands in its summary, each download, each package unpacked and each set up has a line.

/// Reads a recipe's output line by line.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: Phase,
    /// What apt's last summary announced.
    announced: u32,
    unpacked: u32,
    set_up: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Other,
    Base,
    Packages,
}

impl Progress {
    /// What people should read from now on, when the line changes it.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        if let Some(text) = line.strip_prefix("atelier: ") {
            self.phase = Phase::Other;
            return Some(text.trim_end().to_owned());
        }
        match line.strip_prefix("I: ") {
            Some(note) => self.note(note),
            None => self.count(line),
        }
    }

    fn note(&mut self, note: &str) -> Option<String> {
        if note.starts_with("extracting archives") {
            return Some("unpacking the base system".into());
        }
        self.phase = match note {
            _ if note.starts_with("installing essential packages") => Phase::Base,
            _ if note.starts_with("installing remaining packages") => Phase::Packages,
            _ => return None,
        };
        (self.unpacked, self.set_up) = (0, 0);
        Some(self.what()?.to_owned())
    }

    fn count(&mut self, line: &str) -> Option<String> {
        if let Some(announced) = announced(line) {
            self.announced = announced;
            return None;
        }
        if let Some(number) = line.strip_prefix("Get:").and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok()) {
            return (number <= self.announced).then(|| format!("downloading packages, {number} of {}", self.announced));
        }
        let (counter, verb) = match line {
            _ if line.starts_with("Unpacking ") => (&mut self.unpacked, "unpacked"),
            _ if line.starts_with("Setting up ") => (&mut self.set_up, "set up"),
            _ => return None,
        };
        *counter = (*counter + 1).min(self.announced);
        let done = *counter;
        Some(format!("{}, {done} of {} {verb}", self.what()?, self.announced))
    }

    fn what(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Base => Some("installing the base system"),
            Phase::Packages => Some("installing packages"),
            Phase::Other => None,
        }
    }
}

/// `1 upgraded, 80 newly installed, 0 to remove …`; a summary of nothing announces nothing.
fn announced(line: &str) -> Option<u32> {
    let (upgraded, rest) = line.split_once(" upgraded, ")?;
    let (fresh, _) = rest.split_once(" newly installed, ")?;
    let sum = upgraded.parse::<u32>().ok()? + fresh.parse::<u32>().ok()?;
    (sum > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted() {
        let said = "\
atelier: reading the package lists
Get:1 http://deb.example bookworm InRelease [151 kB]
I: downloading packages with apt...
1 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.example bookworm/main amd64 dash [1 kB]
Get:3 http://deb.example bookworm/main amd64 bash [1 kB]
I: extracting archives...
I: installing essential packages...
Unpacking dash (0.5) ...
Setting up dash (0.5) ...
0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Setting up bash (5.2) ...
I: installing remaining packages inside the chroot...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Setting up git (2.39) ...
Setting up less (590) ...
I: cleaning package lists and apt cache...
atelier: making the user
Setting up nothing that counts
";
        let mut progress = Progress::default();
        let shown: Vec<_> = said.lines().filter_map(|line| progress.line(line)).collect();
        assert_eq!(
            shown,
            [
                "reading the package lists",
                "downloading packages, 1 of 3",
                "downloading packages, 3 of 3",
                "unpacking the base system",
                "installing the base system",
                "installing the base system, 1 of 3 unpacked",
                "installing the base system, 1 of 3 set up",
                "installing the base system, 2 of 3 set up",
                "installing packages",
                "installing packages, 1 of 2 set up",
                "installing packages, 2 of 2 set up",
                "making the user",
            ]
        );
    }

    #[test]
    fn a_count_never_passes_its_total() {
        let mut progress = Progress::default();
        for line in
            ["0 upgraded, 1 newly installed, 0 to remove", "I: installing essential packages...", "Setting up a"]
        {
            progress.line(line);
        }
        assert_eq!(progress.line("Setting up a again").as_deref(), Some("installing the base system, 1 of 1 set up"));
    }
}
