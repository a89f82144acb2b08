-- Lists are made in memory; their rows are only walked where notebooks change faster than they are read. For that this
-- index was written at nearly every change.
drop index notebooks_by_update_at;
