-- Key pairs for SSH: their public halves, as they were sent or made. Private halves are kept nowhere.
create table key_pairs (
    id integer not null primary key,
    project_id text not null references projects (id),
    user_id text not null references users (id),
    name text not null,
    public_key text not null,
    description text not null,
    created_at integer not null,
    updated_at integer not null,
    unique (project_id, user_id, name)
) strict;
