//! `atelier config …`, and what every command that needs a configuration says when it is wrong.

use super::Context;
use crate::args::{ConfigCommand, Settings};
use crate::config::{self, Config, Mistake, Places};
use crate::failure::Failure;

/// Runs one of the commands.
pub(crate) fn run(context: &Context, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Default => context.printer.line(config::DEFAULT_FILE),
        ConfigCommand::Check(settings) => check(context, &settings),
    }
}

fn check(context: &Context, settings: &Settings) -> Result<(), Failure> {
    load(&context.surroundings.configuration(settings)?)?;
    context.printer.say("the configuration is right");
    Ok(())
}

/// The configuration, or all that is wrong with it.
pub(crate) fn load(places: &Places) -> Result<Config, Failure> {
    config::load(places).map_err(|mistakes| told(&mistakes))
}

fn told(mistakes: &[Mistake]) -> Failure {
    let count = match mistakes.len() {
        1 => "a mistake".to_owned(),
        several => format!("{several} mistakes"),
    };
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Failure::new(format!("the configuration has {count}\n  {}", lines.join("\n  ")))
        .hint("`atelier config default` shows every key")
}
