//! Hooks: what a notebook's owner has run in its container at each start.
//!
//! There are two moments for one: before the notebook server is started, and after it serves. A hook that *blocks* holds
//! the start until it has ended, and makes it fail when it fails; any other runs beside, and whoever has asked for it reads
//! how it ended in the events.

use crate::refusal::Refusal;

/// The longest script that is kept here, in bytes. Two of them, as base64, fit into one request.
pub const MAX_SCRIPT_BYTES: usize = 16 * 1024;
/// The longest path of a script, in bytes: the kernel's own bound.
const MAX_PATH_BYTES: usize = 4095;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// Before the notebook server is started.
    PreStart,
    /// After it serves.
    PostStart,
}

impl Moment {
    /// Every moment.
    pub const ALL: [Self; 2] = [Self::PreStart, Self::PostStart];

    /// The API's name of a hook for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::PostStart => "post_start",
        }
    }
}

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A shell runs this text.
    Command(String),
    /// The program at this path in the container is run.
    Script(String),
}

impl Action {
    /// The API's words for what a hook does.
    pub const KINDS: [&str; 2] = ["COMMAND", "SCRIPT"];

    /// Its word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command(_) => Self::KINDS[0],
            Self::Script(_) => Self::KINDS[1],
        }
    }
}

/// Whether a start waits for a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It waits, and fails when the hook fails.
    Block,
    /// It goes on.
    #[default]
    Async,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Block, Self::Async];

    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "BLOCK",
            Self::Async => "ASYNC",
        }
    }
}

/// A hook, its fields checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    action: Action,
    mode: Mode,
}

impl Hook {
    /// A hook that was asked for as the field `path`.
    pub fn new(path: &str, action: Action, mode: Mode) -> Result<Self, Refusal> {
        match &action {
            Action::Command(text) if !is_text(text, MAX_SCRIPT_BYTES) => {
                let wanted = format!("base64 of a script: UTF-8 text of 1 to {MAX_SCRIPT_BYTES} bytes without NUL");
                Err(Refusal::bad_value(path, &wanted))
            }
            Action::Script(file) if !file.starts_with('/') || !is_text(file, MAX_PATH_BYTES) => {
                let wanted = format!("an absolute path in the container, of at most {MAX_PATH_BYTES} bytes");
                Err(Refusal::bad_value(path, &wanted))
            }
            Action::Command(_) | Action::Script(_) => Ok(Self { action, mode }),
        }
    }

    /// What it does.
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// Whether a start waits for it.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains('\0')
}

/// The hooks of a notebook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// The one for [`Moment::PreStart`].
    pub pre_start: Option<Hook>,
    /// The one for [`Moment::PostStart`].
    pub post_start: Option<Hook>,
}

impl Hooks {
    /// The hook for a moment.
    pub const fn at(&self, moment: Moment) -> Option<&Hook> {
        match moment {
            Moment::PreStart => self.pre_start.as_ref(),
            Moment::PostStart => self.post_start.as_ref(),
        }
    }

    /// The moments that have a hook of this mode.
    pub fn of(&self, mode: Mode) -> impl Iterator<Item = Moment> {
        Moment::ALL.into_iter().filter(move |moment| self.at(*moment).is_some_and(|hook| hook.mode == mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        let command = |text: String| Hook::new("h", Action::Command(text), Mode::Block);
        let script = |path: String| Hook::new("h", Action::Script(path), Mode::Async);
        for fine in ["true", "\u{e9}", &"x".repeat(MAX_SCRIPT_BYTES)] {
            assert!(command(fine.to_owned()).is_ok());
        }
        for bad in ["", "a\0b", &"x".repeat(MAX_SCRIPT_BYTES + 1)] {
            let refusal = command(bad.to_owned()).unwrap_err();
            assert!(refusal.message().starts_with("`h` must be base64 of a script"), "{refusal}");
        }
        for fine in ["/a", &format!("/{}", "x".repeat(4094))] {
            assert!(script(fine.to_owned()).is_ok());
        }
        for bad in ["", "a", "~/a", "/a\0", &format!("/{}", "x".repeat(4095))] {
            let refusal = script(bad.to_owned()).unwrap_err();
            assert!(refusal.message().starts_with("`h` must be an absolute path"), "{refusal}");
        }
    }

    #[test]
    fn hooks_are_found_by_their_moment_and_their_mode() {
        let hook = |mode| Hook::new("h", Action::Script("/a".into()), mode).ok();
        let hooks = Hooks { pre_start: hook(Mode::Async), post_start: hook(Mode::Block) };
        assert_eq!(hooks.at(Moment::PreStart).map(Hook::mode), Some(Mode::Async));
        assert_eq!(hooks.of(Mode::Block).collect::<Vec<_>>(), [Moment::PostStart]);
        assert_eq!(Hooks::default().of(Mode::Block).count(), 0);
    }
}
