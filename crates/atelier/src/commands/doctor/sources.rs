//! The package sources that the image is made from: really asked, by apt, and proven by the distribution's keyring.

use atelier_runtime_local::image::ask_package_sources;

use super::finding::{Finding, State};
use super::{ok, removed, scratch};
use crate::config::Config;
use crate::failure::Failure;
use crate::serve::image_config;

pub(super) fn look(config: &Config, root: bool) -> Result<Finding, Failure> {
    let topic = "package sources";
    let cost = "the built-in image cannot be made or renewed";
    if !root {
        return Ok(Finding::unseen(topic, cost));
    }
    let scratch = scratch()?;
    let asked = ask_package_sources(&image_config(config), &scratch);
    removed(&scratch)?;
    Ok(match asked {
        Ok(sources) => ok(topic, format!("each answers, signed by the distribution: {}", sources.join(", "))),
        Err(e) => {
            let cure = "mend /etc/apt (install `debian-archive-keyring` or `ubuntu-keyring` for a missing key), or name \
                        sources in `image.sources` and a proxy in `local.environment`";
            Finding::bad(topic, State::Warning, e.to_string(), cost, cure)
        }
    })
}
