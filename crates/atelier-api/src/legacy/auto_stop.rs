//! The legacy automatic stop, as requests say it: in seconds.

use atelier_core::auto_stop::AutoStop;
use atelier_core::lease::GrantRange;
use atelier_core::refusal::{Code, Refusal};

use crate::fields::Fields;

/// The longest run of the legacy API, in seconds. Its shortest is that of every lease.
const LONGEST_S: i64 = 86_400;

/// `auto_stop` of an object; nothing when it has none. Switched on, it needs a duration (6348).
pub(crate) fn of(fields: &Fields, grants: &GrantRange) -> Result<Option<AutoStop>, Refusal> {
    let Some(fields) = fields.object("auto_stop")? else { return Ok(None) };
    let (enable, prompt) = (fields.flag("enable")?, fields.flag("prompt")?);
    let duration_ms = fields.integer("duration")?.map(|s| in_range(s, grants, &fields)).transpose()?;
    if enable == Some(true) && duration_ms.is_none() {
        let path = fields.path_of("duration");
        let message = format!("`{path}` is required, in seconds, when the automatic stop is switched on");
        return Err(Refusal::new(Code::AutoStopWithoutDuration, message));
    }
    Ok(Some(AutoStop { enable, duration_ms, prompt }))
}

/// Seconds as milliseconds. The server's own bounds hold, too.
fn in_range(seconds: i64, grants: &GrantRange, fields: &Fields) -> Result<i64, Refusal> {
    let (least, most) = ((grants.min_ms + 999) / 1000, LONGEST_S.min(grants.max_ms / 1000));
    if (least..=most).contains(&seconds) {
        return Ok(seconds * 1000);
    }
    let message = format!("`{}` must be {least} to {most} s", fields.path_of("duration"));
    Err(Refusal::new(Code::LeaseOutOfRange, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<AutoStop>, Code> {
        let fields = Fields::of_body(format!("{{\"auto_stop\": {json}}}").as_bytes()).unwrap();
        of(&fields, &GrantRange::CONTRACT).map_err(|refusal| refusal.code())
    }

    #[test]
    fn durations_are_seconds_within_a_day() {
        let read_ms = |json: &str| read(json).unwrap().unwrap().duration_ms;
        assert_eq!(read_ms(r#"{"enable": true, "duration": 3600}"#), Some(3_600_000));
        assert_eq!(read_ms(r#"{"duration": 86400}"#), Some(86_400_000));
        for bad in ["3599", "86401", "-1", "0", "3600000"] {
            assert_eq!(read(&format!("{{\"duration\": {bad}}}")), Err(Code::LeaseOutOfRange), "{bad}");
        }
        assert_eq!(read(r#"{"enable": true}"#), Err(Code::AutoStopWithoutDuration));
        assert_eq!(read("{}"), Ok(Some(AutoStop::default())));
        assert_eq!(read("null"), Ok(None));
    }
}
