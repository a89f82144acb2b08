//! Hooks on the command line: scripts of this machine, whose text is sent.

use std::path::Path;

use atelier_core::hook::MAX_SCRIPT_BYTES;
use atelier_wire::{ContainerHooks, CustomHooks, HookConfig};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::args::{HookArgs, HookMode};
use crate::failure::Failure;

/// The hooks that a notebook is to have: those that were named over those that it has. `None` when none were named.
pub(crate) fn wanted(args: &HookArgs, now: Option<CustomHooks>) -> Result<Option<CustomHooks>, Failure> {
    if args.pre_start.is_none() && args.post_start.is_none() {
        return Ok(None);
    }
    let now = now.and_then(|hooks| hooks.container_hooks).unwrap_or_default();
    let read = |file: &Option<_>| file.as_deref().map(|file| hook(file, args.hook_mode)).transpose();
    let container = ContainerHooks {
        pre_start: read(&args.pre_start)?.or(now.pre_start),
        post_start: read(&args.post_start)?.or(now.post_start),
    };
    Ok(Some(CustomHooks { container_hooks: Some(container) }))
}

fn hook(file: &Path, mode: HookMode) -> Result<HookConfig, Failure> {
    let failed = |why: String| Failure::new(format!("`{}`: {why}", file.display()));
    let text = std::fs::read(file).map_err(|e| failed(e.to_string()))?;
    if text.len() > MAX_SCRIPT_BYTES {
        let hint = "put it into the notebook's volume, and have a short one run it";
        return Err(failed(format!("a script may have {MAX_SCRIPT_BYTES} bytes")).hint(hint));
    }
    let mode = match mode {
        HookMode::Block => "BLOCK",
        HookMode::Async => "ASYNC",
    };
    Ok(HookConfig { script: BASE64_STANDARD.encode(text), kind: Some("COMMAND".into()), mode: Some(mode.into()) })
}

/// The hooks in one line.
pub(crate) fn line(hooks: &CustomHooks) -> String {
    let container = hooks.container_hooks.clone().unwrap_or_default();
    let named = [("pre_start", container.pre_start), ("post_start", container.post_start)];
    let lines = named.into_iter().filter_map(|(name, hook)| Some(format!("{name} ({})", outline(&hook?))));
    lines.collect::<Vec<_>>().join(", ")
}

fn outline(hook: &HookConfig) -> String {
    let (kind, mode) = (hook.kind.as_deref().unwrap_or("SCRIPT"), hook.mode.as_deref().unwrap_or("ASYNC"));
    if kind == "SCRIPT" { format!("{mode} {kind} {}", hook.script) } else { format!("{mode} {kind}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pre_start: Option<&Path>) -> HookArgs {
        HookArgs { pre_start: pre_start.map(Path::to_owned), post_start: None, hook_mode: HookMode::Block }
    }

    #[test]
    fn what_is_named_goes_over_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prepare.sh");
        std::fs::write(&file, "true\n").unwrap();
        let other = HookConfig { script: "/a.sh".into(), ..HookConfig::default() };
        let there = ContainerHooks { pre_start: Some(other.clone()), post_start: Some(other) };
        let there = Some(CustomHooks { container_hooks: Some(there) });
        assert_eq!(wanted(&named(None), there.clone()).unwrap(), None);
        let wanted = wanted(&named(Some(&file)), there).unwrap().unwrap();
        assert_eq!(line(&wanted), "pre_start (BLOCK COMMAND), post_start (ASYNC SCRIPT /a.sh)");
        assert_eq!(wanted.container_hooks.unwrap().pre_start.unwrap().script, "dHJ1ZQo=");
    }

    #[test]
    fn a_file_that_is_none_or_too_long_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long.sh");
        assert!(wanted(&named(Some(&file)), None).unwrap_err().to_string().contains("long.sh"));
        std::fs::write(&file, vec![b'x'; MAX_SCRIPT_BYTES + 1]).unwrap();
        assert!(wanted(&named(Some(&file)), None).unwrap_err().to_string().contains("16384 bytes"));
    }
}
