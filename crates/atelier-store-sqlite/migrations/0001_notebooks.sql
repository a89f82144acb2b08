-- What is kept about notebooks.
--
-- Times are milliseconds since 1970 UTC. Identifiers of 16 bytes are UUIDs. Sealed columns hold ciphertext only.
-- Sorting is by bytes, which for UTF-8 is by code point.

-- What belongs to the database as a whole.
create table meta (
    name text not null primary key,
    value blob not null
) strict;

create table notebooks (
    id blob not null primary key check (length(id) = 16),
    project_id text not null check (length(project_id) = 32),
    user_id text not null check (length(user_id) = 32),
    user_name text not null,
    domain_id text not null check (length(domain_id) = 32),
    domain_name text not null,
    name text not null,
    description text not null,
    -- The flavor and the image as they were when the notebook was made.
    flavor_id text not null,
    flavor_description text not null,
    flavor_cpu_millis integer not null check (flavor_cpu_millis between 0 and 4294967295),
    flavor_memory_mib integer not null check (flavor_memory_mib >= 0),
    flavor_free integer not null check (flavor_free in (0, 1)),
    image_id blob not null check (length(image_id) = 16),
    image_name text not null,
    image_tag text not null,
    image_namespace text not null,
    image_description text not null,
    image_swr_path text not null,
    image_size_bytes integer check (image_size_bytes >= 0),
    volume_id blob not null check (length(volume_id) = 16),
    volume_capacity_gib integer not null check (volume_capacity_gib between 0 and 4294967295),
    workspace_id text not null,
    status text not null check (status in (
        'INIT', 'CREATING', 'STARTING', 'STOPPING', 'DELETING', 'RUNNING', 'STOPPED', 'SNAPSHOTTING',
        'CREATE_FAILED', 'START_FAILED', 'DELETE_FAILED', 'ERROR', 'DELETED', 'FROZEN'
    )),
    fail_reason text,
    create_at integer not null,
    update_at integer not null,
    lease_kind text not null check (lease_kind in ('TIMING', 'IDLE')),
    lease_update_at integer not null,
    -- Null when there is no automatic stop.
    lease_grant_ms integer,
    -- The end that follows from the two above, written with them so that it can be searched for.
    lease_end_at integer check ((lease_end_at is null) = (lease_grant_ms is null)),
    token_sealed blob not null,
    upstream_secret_sealed blob not null,
    ever_ran integer not null check (ever_ran in (0, 1)),
    progress text not null check (json_valid(progress)),
    generation integer not null check (generation >= 0)
) strict;

-- Lists show one user's notebooks in one project; the quota counts them.
create index notebooks_by_create_at on notebooks (project_id, user_id, create_at, id);
create index notebooks_by_update_at on notebooks (project_id, user_id, update_at, id);
create index notebooks_by_name on notebooks (project_id, user_id, name, id);
-- Holds everything that the sum over what is held, and the list of all ids, need.
create index notebooks_by_status on notebooks (status, id, flavor_cpu_millis, flavor_memory_mib);
create index notebooks_lease_ends on notebooks (status, lease_end_at, id)
    where status = 'RUNNING' and lease_end_at is not null;

-- No foreign key to notebooks: an operation and an event outlive their notebook.
create table operations (
    seq integer not null primary key autoincrement,
    id blob not null unique check (length(id) = 16),
    notebook_id blob not null check (length(notebook_id) = 16),
    kind text not null check (kind in ('create', 'start', 'stop', 'delete')),
    actor text not null check (actor in ('user', 'lease', 'system')),
    actor_user_id text check (length(actor_user_id) = 32),
    actor_user_name text,
    request_id text,
    why text not null,
    state text not null check (state in ('running', 'undoing', 'done', 'failed', 'cancelled')),
    began_at integer not null,
    ended_at integer,
    error text,
    check ((actor = 'user') = (actor_user_id is not null)),
    check ((actor = 'user') = (actor_user_name is not null))
) strict;

create index operations_of_notebook on operations (notebook_id, seq);
create index operations_unfinished on operations (seq) where state in ('running', 'undoing');

create table operation_steps (
    operation_id blob not null references operations (id) on delete cascade,
    position integer not null check (position >= 0),
    name text not null check (name in (
        'prepare-storage', 'prepare-compute', 'configure-network', 'initialize-instance', 'stop-instance',
        'remove-storage'
    )),
    state text not null check (state in ('waiting', 'began', 'done', 'failed', 'undone')),
    attempts integer not null check (attempts between 0 and 4294967295),
    began_at integer,
    ended_at integer,
    note text,
    primary key (operation_id, position)
) strict, without rowid;

create table events (
    seq integer not null primary key autoincrement,
    id blob not null unique check (length(id) = 16),
    notebook_id blob not null check (length(notebook_id) = 16),
    project_id text not null check (length(project_id) = 32),
    happened_at integer not null,
    what text not null,
    actor text not null check (actor in ('user', 'lease', 'system')),
    actor_user_id text check (length(actor_user_id) = 32),
    actor_user_name text,
    request_id text,
    why text not null,
    check ((actor = 'user') = (actor_user_id is not null)),
    check ((actor = 'user') = (actor_user_name is not null))
) strict;

create index events_of_notebook on events (notebook_id, seq);
