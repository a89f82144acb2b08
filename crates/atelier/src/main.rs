//! `atelier`: the one program. It assembles; what it assembles lives in the other crates.
//!
//! As a server (`serve`, `up`, and for a moment `down`) it puts store, identity, runtime, engine, gateway and API
//! behind one door ([`serve`]). As a command line it is a client of its own API like any other ([`client`],
//! [`commands`]): it knows nothing that a program elsewhere could not know.
//!
//! Nothing here ends the process: exit codes are returned, so that every destructor runs.

mod args;
mod backup;
mod certificate;
mod client;
mod commands;
mod config;
mod exec_frames;
mod failure;
mod folder;
mod handed;
mod logging;
mod nearest;
mod places;
mod printer;
mod progress;
mod serve;
mod tables;
mod times;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Arguments, Command};
use crate::commands::{
    Context, audit, backup as backups, catalogue, configuration, doctor, events, hello, key, keypair, login, notebook,
    operations, serve as server, user, volume,
};
use crate::failure::Failure;
use crate::places::Surroundings;
use crate::printer::Printer;

/// How the program is started by itself, to make a container.
const LAUNCH: &str = "launch-instance";

/// How long work in the background is waited for at the end.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

fn main() -> ExitCode {
    // Before any thread exists: the launcher forks, and a fork takes one thread only.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == LAUNCH) {
        return atelier_runtime_local::launcher_main();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout, mistakes to stderr; a reader that went away wants neither.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer::new(arguments.global);
    let mut context = Context { printer, surroundings: Surroundings::of_this_process(), door: None };
    match run(&mut context, arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                printer.error(&failure.to_string());
            }
            failure.exit_code()
        }
    }
}

fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    atelier_engine::failpoint::set_up();
    match command {
        Command::Completion { shell } => completion(context, shell),
        Command::Config(command) => configuration::run(context, command),
        // Before any thread exists: its probes fork.
        Command::Doctor(settings) => doctor::run(context, &settings),
        Command::Serve(_) | Command::Up(_) | Command::Down(_) => {
            if matches!(command, Command::Serve(_)) {
                context.door = handed::listener()?.map(Arc::new);
            }
            within(tokio::runtime::Builder::new_multi_thread(), context, command)
        }
        _ => within(tokio::runtime::Builder::new_current_thread(), context, command),
    }
}

fn within(mut builder: tokio::runtime::Builder, context: &Context, command: Command) -> Result<(), Failure> {
    let runtime = builder.enable_all().build().map_err(|e| Failure::new(format!("no threads can be started: {e}")))?;
    let done = runtime.block_on(dispatch(context, command));
    // Work that hangs in the kernel would be waited for without an end.
    runtime.shutdown_timeout(LAST_WAIT);
    done
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(settings) => server::run(context, &settings).await,
        Command::Up(settings) => hello::up(context, &settings).await,
        Command::Down(settings) => hello::down(context, &settings).await,
        Command::Notebook(command) => notebook::run(context, command).await,
        Command::Image(command) => catalogue::image(context, command).await,
        Command::Flavor(command) => catalogue::flavor(context, command).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Operations(command) => operations::run(context, command).await,
        Command::Volume(command) => volume::run(context, command).await,
        Command::Feature(command) => catalogue::feature(context, command).await,
        Command::Capacity(connection) => operations::capacity(context, &connection).await,
        Command::Login(args) => login::login(context, args).await,
        Command::Logout => login::logout(context).await,
        Command::Token(connection) => login::token(context, connection).await,
        Command::Key(command) => key::run(context, command).await,
        Command::Keypair(command) => keypair::run(context, command).await,
        Command::User(command) => user::run(context, command).await,
        Command::Completion { shell } => completion(context, shell),
        Command::Backup(args) => backups::backup(context, args).await,
        Command::Restore(args) => backups::restored(context, args).await,
        Command::Config(command) => configuration::run(context, command),
        Command::Doctor(settings) => doctor::run(context, &settings),
    }
}

fn completion(context: &Context, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "atelier", &mut script);
    context.printer.bytes(&script)
}
