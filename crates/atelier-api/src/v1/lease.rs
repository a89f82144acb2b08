//! `ShowLease` and `RenewLease`, and what requests say of leases.

use atelier_core::lease::{Grant, GrantRange, LeaseKind};
use atelier_core::refusal::{Code, Refusal};
use atelier_wire as wire;
use axum::Json;
use axum::extract::State;

use crate::Api;
use crate::answer::Answer;
use crate::call::Call;
use crate::fields::Fields;
use crate::query::Query;
use crate::shape;

/// The words of `type`.
const KINDS: [&str; 2] = [LeaseKind::Timing.as_str(), LeaseKind::Idle.as_str()];

/// Show the automatic stop of a notebook.
#[utoipa::path(
    get, path = "/v1/{project_id}/notebooks/{id}/lease", operation_id = "ShowLease", tag = "lease",
    params(("project_id" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, body = wire::Lease), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn show(State(api): State<Api>, call: Call) -> Answer<wire::Lease> {
    let lease = api.engine.lease(&call.caller, call.notebook()?).await?;
    Ok(Json(shape::lease(lease)))
}

/// Set the automatic stop of a running notebook anew. What was left is replaced, not added to.
#[utoipa::path(
    patch, path = "/v1/{project_id}/notebooks/{id}/lease", operation_id = "RenewLease", tag = "lease",
    params(
        ("project_id" = String, Path), ("id" = String, Path, format = "uuid"),
        ("duration" = Option<i64>, Query, description = "milliseconds from now, or -1; when given, the values in the body do not count"),
    ),
    request_body(content = Option<wire::LeaseReq>),
    responses((status = 200, body = wire::Lease), (status = "default", body = wire::ApiError)),
)]
pub(crate) async fn renew(State(api): State<Api>, call: Call) -> Answer<wire::Lease> {
    let id = call.notebook()?;
    let (grant, kind) = parse_renewal(&call.query, &call.body, &api.engine.grants())?;
    let lease = api.engine.renew(&call.caller, &call.request_id, id, grant, kind).await?;
    Ok(Json(shape::lease(lease)))
}

/// `duration` in the query wins over the body, which then only has to be a lease.
fn parse_renewal(query: &Query, body: &[u8], grants: &GrantRange) -> Result<(Grant, LeaseKind), Refusal> {
    match query.integer("duration")? {
        Some(asked) => {
            check_types(&Fields::of_optional_body(body)?)?;
            Ok((grant(grants, asked, "query parameter `duration`")?, LeaseKind::Timing))
        }
        None => parse(&Fields::of_optional_body(body)?, grants),
    }
}

/// A lease that does not count may hold any values, but of the right types.
pub(crate) fn check_types(fields: &Fields) -> Result<(), Refusal> {
    fields.text("type")?;
    fields.integer("duration")?;
    fields.flag("enable")?;
    Ok(())
}

/// What a start asks for: `None` where it says nothing, and 0 says nothing.
pub(crate) fn parse_start(query: &Query, grants: &GrantRange) -> Result<(Option<Grant>, Option<LeaseKind>), Refusal> {
    let asked = query.integer("duration")?.filter(|asked| *asked != 0);
    let asked = asked.map(|asked| grant(grants, asked, "query parameter `duration`")).transpose()?;
    Ok((asked, query.word("type", &KINDS)?.and_then(|word| word.parse().ok())))
}

/// A lease as an object with `duration`, `type` and `enable`.
pub(crate) fn parse(fields: &Fields, grants: &GrantRange) -> Result<(Grant, LeaseKind), Refusal> {
    let kind = fields.word("type", &KINDS)?.and_then(|word| word.parse().ok()).unwrap_or(LeaseKind::Timing);
    let asked = fields.integer("duration")?;
    let asked = asked.map(|asked| grant(grants, asked, &format!("`{}`", fields.path_of("duration")))).transpose()?;
    let grant = match (fields.flag("enable")?, asked) {
        (None | Some(true), None) => grants.default_grant(),
        (Some(false), None) => Grant::Never,
        (Some(true), Some(Grant::Never)) => {
            return Err(Refusal::bad_value(&fields.path_of("enable"), "false or absent when the duration is -1"));
        }
        (Some(false), Some(Grant::Millis(_))) => {
            return Err(Refusal::bad_value(&fields.path_of("enable"), "true or absent when a duration is given"));
        }
        (_, Some(grant)) => grant,
    };
    Ok((grant, kind))
}

/// The grant for `asked` milliseconds; the refusal calls it `field`.
pub(crate) fn grant(grants: &GrantRange, asked: i64, field: &str) -> Result<Grant, Refusal> {
    grants.grant(asked).map_err(|refusal| {
        let (min, max) = (grants.min_ms, grants.max_ms);
        debug_assert_eq!(refusal.code(), Code::LeaseOutOfRange);
        Refusal::new(refusal.code(), format!("{field} must be {min} to {max} ms, or -1 for no automatic stop"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTS: GrantRange = GrantRange::CONTRACT;

    fn renewal(query: &str, body: &str) -> Result<Grant, Code> {
        parse_renewal(&Query::of(query), body.as_bytes(), &GRANTS).map(|(grant, _)| grant).map_err(|r| r.code())
    }

    #[test]
    fn a_lease_may_end_with_idleness_and_ends_at_a_fixed_time_unless_that_is_said() {
        let kind = |query: &str, body: &str| parse_renewal(&Query::of(query), body.as_bytes(), &GRANTS).unwrap();
        assert_eq!(kind("", r#"{"type": "idle"}"#), (Grant::Millis(3_600_000), LeaseKind::Idle));
        assert_eq!(kind("", r#"{"type": "TIMING"}"#), (Grant::Millis(3_600_000), LeaseKind::Timing));
        assert_eq!(kind("", r#"{"type": null}"#), (Grant::Millis(3_600_000), LeaseKind::Timing));
        let by_query = kind("duration=7200000", r#"{"type": "IDLE"}"#);
        assert_eq!(by_query, (Grant::Millis(7_200_000), LeaseKind::Timing));
        assert_eq!(renewal("", r#"{"type": "IDLE", "duration": 3599999}"#), Err(Code::LeaseOutOfRange));
    }

    #[test]
    fn a_renewal_may_say_nothing_at_all() {
        assert_eq!(renewal("", ""), Ok(Grant::Millis(3_600_000)));
        assert_eq!(renewal("", "{}"), Ok(Grant::Millis(3_600_000)));
    }

    #[test]
    fn the_query_wins_over_the_values_of_the_body() {
        assert_eq!(renewal("duration=7200000", r#"{"duration": 1, "type": "x"}"#), Ok(Grant::Millis(7_200_000)));
        assert_eq!(renewal("duration=7200000", r#"{"type": 7}"#), Err(Code::WrongType));
        assert_eq!(renewal("duration=-1", ""), Ok(Grant::Never));
        assert_eq!(renewal("duration=-1", "nonsense"), Err(Code::BadBody));
    }

    #[test]
    fn a_renewal_out_of_range_is_refused() {
        for (query, body) in [("duration=0", ""), ("duration=3599999", ""), ("", r#"{"duration": 259200001}"#)] {
            assert_eq!(renewal(query, body), Err(Code::LeaseOutOfRange), "{query} {body}");
        }
        assert_eq!(renewal("duration=x", ""), Err(Code::BadQuery));
        assert_eq!(renewal("", r#"{"duration": "1"}"#), Err(Code::WrongType));
        assert_eq!(renewal("", r#"{"type": "x"}"#), Err(Code::BadValue));
    }

    #[test]
    fn enable_must_agree_with_the_duration() {
        assert_eq!(renewal("", r#"{"enable": false}"#), Ok(Grant::Never));
        assert_eq!(renewal("", r#"{"enable": false, "duration": -1}"#), Ok(Grant::Never));
        assert_eq!(renewal("", r#"{"enable": true}"#), Ok(Grant::Millis(3_600_000)));
        assert_eq!(renewal("", r#"{"enable": true, "duration": -1}"#), Err(Code::BadValue));
        assert_eq!(renewal("", r#"{"enable": false, "duration": 3600000}"#), Err(Code::BadValue));
    }

    #[test]
    fn a_start_with_zero_asks_for_nothing() {
        let start = |query: &str| parse_start(&Query::of(query), &GRANTS).map_err(|r| r.code());
        assert_eq!(start(""), Ok((None, None)));
        assert_eq!(start("duration=0&type=timing"), Ok((None, Some(LeaseKind::Timing))));
        assert_eq!(start("duration=-1"), Ok((Some(Grant::Never), None)));
        assert_eq!(start("duration=1"), Err(Code::LeaseOutOfRange));
        assert_eq!(start("type=IDLE"), Ok((None, Some(LeaseKind::Idle))));
        assert_eq!(start("type=x"), Err(Code::BadQuery));
    }
}
