//! `atelier notebook open`, `atelier notebook lab`: the address that opens a notebook, or one's free instance.
//!
//! The address holds the token. It is printed for whoever asked; a browser gets it through a page that only its owner
//! can read, never as an argument, which every user of the machine could see.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use atelier_wire::Notebook;
use serde_json::json;

use super::{Context, encoded, lookup, notebook, record, wait};
use crate::args::{Lab, Open};
use crate::client::Client;
use crate::failure::Failure;
use crate::folder::write_private;

/// Prints the address, and opens it when asked to.
pub(crate) async fn run(context: &Context, args: Open) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    show(context, &record(&lookup::notebook(&client, &args.notebook).await?)?, args.browser)
}

/// Opens the free instance: waits until it runs, then the same.
pub(crate) async fn lab(context: &Context, args: Lab) -> Result<(), Failure> {
    let client = Client::connect(&args.connection, &context.surroundings).await?;
    let asked = notebook::ask_lab(&client, args.image.as_deref()).await?;
    show(context, &record(&wait::until_running(&client, context.printer, asked).await?)?, args.browser)
}

fn show(context: &Context, notebook: &Notebook, browser: bool) -> Result<(), Failure> {
    let address = address(notebook)?;
    if browser {
        browse(context, &address)?;
    }
    context.printer.result(&json!({"url": address}), || address.clone())
}

/// The address that opens a running notebook, its token included.
pub(crate) fn address(notebook: &Notebook) -> Result<String, Failure> {
    match (&notebook.url, &notebook.token) {
        (Some(url), Some(token)) if notebook.status == "RUNNING" => Ok(format!("{url}?token={}", encoded(token))),
        _ => {
            let failure =
                Failure::new(format!("notebook `{}` is {}; only a running one opens", notebook.name, notebook.status));
            Err(match notebook.status.as_str() {
                "STOPPED" | "START_FAILED" | "ERROR" => {
                    failure.hint(format!("atelier notebook start {}", notebook.name))
                }
                _ => failure.hint(format!("atelier notebook show {}", notebook.name)),
            })
        }
    }
}

fn browse(context: &Context, address: &str) -> Result<(), Failure> {
    let page = page_file(context, address)?;
    let shown =
        Command::new("xdg-open").arg(&page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match shown {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("xdg-open could not open a browser ({status})"))),
        Err(e) => Err(Failure::new(format!("no browser can be opened: {e}"))
            .hint("install xdg-utils, or follow the address that is printed without --browser")),
    }
}

fn page_file(context: &Context, address: &str) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = context.surroundings.config_dir();
    let path = folder.join("open.html");
    let page = format!(
        "<!doctype html><meta charset=utf-8><meta name=referrer content=no-referrer>\
         <meta http-equiv=refresh content=\"0;url={address}\"><title>Atelier</title><a href=\"{address}\">open</a>\n"
    );
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    write_private(&path, page.as_bytes())
        .map_err(|e| Failure::new(format!("{} cannot be written: {e}", path.display())))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook(status: &str) -> Notebook {
        serde_json::from_value(json!({
            "id": "1", "name": "a", "status": status, "feature": "NOTEBOOK", "flavor": "f", "workspace_id": "0",
            "image": {"id": "i", "name": "n", "swr_path": "p", "type": "BUILD_IN"},
            "lease": {"create_at": 0, "update_at": 0, "duration": -1, "enable": false, "type": "TIMING"},
            "create_at": 0, "update_at": 0, "url": "http://1.localhost:8080/lab", "token": "t-1",
        }))
        .unwrap()
    }

    #[test]
    fn only_a_running_notebook_has_an_address() {
        assert_eq!(address(&notebook("RUNNING")).unwrap(), "http://1.localhost:8080/lab?token=t-1");
        let told = address(&notebook("STOPPED")).unwrap_err().to_string();
        assert!(told.ends_with("hint: atelier notebook start a") && !told.contains("t-1"), "{told}");
    }
}
