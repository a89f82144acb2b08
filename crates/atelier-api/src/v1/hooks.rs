//! `hooks`: what is run in a notebook's container at each start.
//!
//! The field is one value: who sends it says all of the notebook's hooks, and `{}` is none.

use atelier_core::hook::{Action, Hook, Hooks, Mode, Moment};
use atelier_core::refusal::Refusal;
use atelier_wire as wire;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fields::Fields;

/// The hooks that a body asks for, if it does.
pub(crate) fn read(fields: &Fields) -> Result<Option<Hooks>, Refusal> {
    let Some(hooks) = fields.object("hooks")? else { return Ok(None) };
    let Some(hooks) = hooks.object("container_hooks")? else { return Ok(Some(Hooks::default())) };
    let at = |moment: Moment| hooks.object(moment.as_str())?.as_ref().map(hook).transpose();
    Ok(Some(Hooks { pre_start: at(Moment::PreStart)?, post_start: at(Moment::PostStart)? }))
}

fn hook(fields: &Fields) -> Result<Hook, Refusal> {
    let kind = fields.word("type", &Action::KINDS)?;
    let mode = fields.word("mode", &Mode::ALL.map(Mode::as_str))?;
    let mode = Mode::ALL.into_iter().find(|known| Some(known.as_str()) == mode).unwrap_or_default();
    let script = fields.required_text("script")?;
    let action = if kind == Some("COMMAND") {
        // What is no text is refused as an empty one is: by what would be one.
        Action::Command(decoded(script).unwrap_or_default())
    } else {
        Action::Script(script.to_owned())
    };
    Hook::new(&fields.path_of("script"), action, mode)
}

fn decoded(script: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(script).ok()?).ok()
}

/// The hooks of a notebook, as a client says them; `None` where there are none.
pub(crate) fn shown(hooks: &Hooks) -> Option<wire::CustomHooks> {
    let at = |moment| hooks.at(moment).map(config);
    let container = wire::ContainerHooks { pre_start: at(Moment::PreStart), post_start: at(Moment::PostStart) };
    (*hooks != Hooks::default()).then_some(wire::CustomHooks { container_hooks: Some(container) })
}

fn config(hook: &Hook) -> wire::HookConfig {
    let script = match hook.action() {
        Action::Command(text) => BASE64_STANDARD.encode(text),
        Action::Script(path) => path.clone(),
    };
    wire::HookConfig {
        script,
        kind: Some(hook.action().kind().to_owned()),
        mode: Some(hook.mode().as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::hook::MAX_SCRIPT_BYTES;
    use atelier_core::refusal::Code;
    use serde_json::{Value, json};

    use super::*;

    fn hooks(value: &Value) -> Result<Option<Hooks>, (Code, String)> {
        let fields = Fields::of_body(json!({ "hooks": value }).to_string().as_bytes()).unwrap();
        read(&fields).map_err(|refusal| (refusal.code(), refusal.message().to_owned()))
    }

    fn pre_start(hook: &Value) -> Result<Option<Hooks>, (Code, String)> {
        hooks(&json!({"container_hooks": {"pre_start": hook}}))
    }

    #[test]
    fn the_field_says_all_hooks_or_is_absent() {
        assert_eq!(hooks(&Value::Null), Ok(None));
        for none in [
            json!({}),
            json!({"container_hooks": null}),
            json!({"container_hooks": {}}),
            json!({"container_hooks": {"pre_start": null, "post_start": null}}),
        ] {
            assert_eq!(hooks(&none), Ok(Some(Hooks::default())), "{none}");
        }
    }

    #[test]
    fn a_hook_has_the_documented_defaults_and_is_shown_as_it_was_said() {
        let read = pre_start(&json!({"script": "/a/b.sh"})).unwrap().unwrap();
        assert_eq!(read.pre_start, Hook::new("h", Action::Script("/a/b.sh".into()), Mode::Async).ok());
        let whole = json!({"container_hooks": {
            "pre_start": {"script": "ZWNobyDDqQo=", "type": "COMMAND", "mode": "BLOCK"},
            "post_start": {"script": "/a/b.sh", "type": "SCRIPT", "mode": "ASYNC"},
        }});
        let read = hooks(&whole).unwrap().unwrap();
        assert_eq!(read.pre_start, Hook::new("h", Action::Command("echo é\n".into()), Mode::Block).ok());
        assert_eq!(serde_json::to_value(shown(&read)).unwrap(), whole);
        assert_eq!(shown(&Hooks::default()), None);
        let lower = pre_start(&json!({"script": "ZWNobyDDqQo=", "type": "command", "mode": "block"})).unwrap();
        assert_eq!(lower.unwrap().pre_start, read.pre_start);
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        let path = "hooks.container_hooks.pre_start";
        let command = |text: &[u8]| json!({"script": BASE64_STANDARD.encode(text), "type": "COMMAND"});
        let long = vec![b'x'; MAX_SCRIPT_BYTES + 1];
        assert!(pre_start(&command(&long[1..])).is_ok());
        for (hook, code, field) in [
            (json!({}), Code::FieldMissing, ".script"),
            (json!({"script": 7}), Code::WrongType, ".script"),
            (json!({"script": ""}), Code::BadValue, ".script"),
            (json!({"script": "a.sh"}), Code::BadValue, ".script"),
            (json!({"script": "/a", "type": "FILE"}), Code::BadValue, ".type"),
            (json!({"script": "/a", "mode": "WAIT"}), Code::BadValue, ".mode"),
            (json!({"script": "echo", "type": "SCRIPT"}), Code::BadValue, ".script"),
            (json!({"script": "ZWNobw", "type": "COMMAND"}), Code::BadValue, ".script"),
            (json!({"script": "ZWNo\nbwo=", "type": "COMMAND"}), Code::BadValue, ".script"),
            (json!({"script": "", "type": "COMMAND"}), Code::BadValue, ".script"),
            (command(b"\xff"), Code::BadValue, ".script"),
            (command(b"a\0"), Code::BadValue, ".script"),
            (command(&long), Code::BadValue, ".script"),
            (json!("x"), Code::WrongType, ""),
        ] {
            let (found, message) = pre_start(&hook).unwrap_err();
            assert_eq!(found, code, "{message}");
            assert!(message.contains(&format!("`{path}{field}`")), "{message}");
        }
        let (_, message) = pre_start(&command(&long)).unwrap_err();
        assert!(message.contains("base64 of a script") && message.contains("16384 bytes"), "{message}");
    }
}
