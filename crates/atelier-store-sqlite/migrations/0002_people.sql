-- What is kept about people, and what proves who they are.
--
-- Passwords and tokens are hashes. Secrets of access keys are sealed.

create table domains (
    id text not null primary key check (length(id) = 32),
    name text not null unique,
    description text not null
) strict;

create table users (
    id text not null primary key check (length(id) = 32),
    domain_id text not null references domains (id),
    name text not null,
    password_hash text,
    enabled integer not null check (enabled in (0, 1)),
    created_at integer not null,
    unique (domain_id, name)
) strict;

create table projects (
    id text not null primary key check (length(id) = 32),
    domain_id text not null references domains (id),
    name text not null,
    description text not null,
    unique (domain_id, name)
) strict;

-- A role holds in one project, or in the domain itself.
create table project_grants (
    user_id text not null references users (id),
    project_id text not null references projects (id),
    role text not null,
    primary key (user_id, project_id, role)
) strict, without rowid;

create table domain_grants (
    user_id text not null references users (id),
    domain_id text not null references domains (id),
    role text not null,
    primary key (user_id, domain_id, role)
) strict, without rowid;

create table access_keys (
    access text not null primary key,
    sealed_secret blob not null,
    user_id text not null references users (id),
    active integer not null check (active in (0, 1)),
    description text not null,
    created_at integer not null,
    -- Both for a temporary key, neither for a permanent one.
    session_token_hash blob check (length(session_token_hash) = 32),
    session_expires_at integer,
    check ((session_token_hash is null) = (session_expires_at is null))
) strict;

create table tokens (
    hash blob not null primary key check (length(hash) = 32),
    user_id text not null references users (id),
    -- Exactly one of the two: where the token counts.
    project_id text references projects (id),
    domain_id text references domains (id),
    -- How its owner proved who they are, separated by blanks.
    methods text not null,
    issued_at integer not null,
    expires_at integer not null,
    check ((project_id is null) <> (domain_id is null))
) strict, without rowid;

create index tokens_by_user on tokens (user_id);
create index tokens_by_end on tokens (expires_at);
