-- Deleted notebooks whose volumes rest in the trash. Whoever is restored gets back all that the notebook was, so its whole
-- row is kept, as one text: nothing here is searched for but by owner and age, and the columns of notebooks may change.
create table trash (
    notebook_id blob not null primary key check (length(notebook_id) = 16),
    project_id text not null,
    user_id text not null,
    since integer not null,
    -- Its volume is being removed: it cannot be restored any more.
    leaves integer not null default 0 check (leaves in (0, 1)),
    notebook text not null
) strict, without rowid;

create index trash_by_age on trash (since, notebook_id);
