-- Who did what.

-- Append-only: see the triggers. Times are milliseconds since 1970 UTC. `hash` is over this record and `previous`, which
-- is the hash of the record before it.
create table audit (
    seq integer not null primary key autoincrement,
    recorded_at integer not null,
    project_id text check (length(project_id) = 32),
    user_id text check (length(user_id) = 32),
    user_name text,
    credential text not null check (credential in ('none', 'password', 'token', 'access-key')),
    access_key text,
    address text,
    operation text not null,
    notebook_id blob check (length(notebook_id) = 16),
    target text,
    request_id text not null,
    status integer not null check (status between 100 and 999),
    code text,
    changes text not null check (json_valid(changes)),
    previous blob not null check (length(previous) = 32),
    hash blob not null check (length(hash) = 32)
) strict;

create index audit_by_request on audit (request_id);
create index audit_by_time on audit (recorded_at);
create index audit_of_notebook on audit (notebook_id, seq) where notebook_id is not null;
create index audit_of_user on audit (user_id, seq) where user_id is not null;

create trigger audit_is_never_changed before update on audit begin
    select raise(abort, 'the audit is append-only');
end;

-- `insert or replace` removes without the trigger below.
create trigger audit_is_never_replaced before insert on audit
when exists (select 1 from audit where seq = new.seq) begin
    select raise(abort, 'the audit is append-only');
end;

-- Pruning says in the same transaction up to which record it removes.
create trigger audit_is_only_pruned before delete on audit
when old.seq > coalesce((select cast(cast(value as text) as integer) from meta where name = 'audit-prune'), 0) begin
    select raise(abort, 'the audit is append-only');
end;

-- Whose notebook an event tells of: the notebook's own row goes with the notebook.
alter table events add column owner_user_id text check (length(owner_user_id) = 32);
update events set owner_user_id = coalesce(
    (select user_id from notebooks where notebooks.id = events.notebook_id),
    (select asked.actor_user_id from events as asked
        where asked.notebook_id = events.notebook_id and asked.what = 'create.asked')
);
create index events_of_project on events (project_id, seq);
create index events_of_owner on events (project_id, owner_user_id, seq);
