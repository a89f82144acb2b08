-- What the whole notebook contract knows of a notebook.

-- What a notebook is; all that were made before are ordinary ones.
alter table notebooks add column feature text not null default 'NOTEBOOK' check (feature in ('NOTEBOOK', 'DEFAULT'));

-- An object of texts.
alter table notebooks add column tags text not null default '{}' check (json_valid(tags) and json_type(tags) = 'object');

-- The lease that the next start writes when it is asked for none. Null kind: the terms of the present lease; null grant
-- beside a kind: no automatic stop.
alter table notebooks add column next_lease_kind text check (next_lease_kind in ('TIMING', 'IDLE'));
alter table notebooks add column next_lease_grant_ms integer
    check (next_lease_grant_ms is null or next_lease_kind is not null);

-- What only the legacy API says.
alter table notebooks add column legacy_profile_id text;
alter table notebooks add column legacy_prompt integer not null default 1 check (legacy_prompt in (0, 1));
