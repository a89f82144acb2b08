-- Volumes that are not a notebook's own. Null: its own. A dedicated one is a folder of the operator's, at an address, with the
-- id that the caller gave it; its capacity is not known and stands as 0.
alter table notebooks add column volume_kind text check (volume_kind in ('SHARED', 'DEDICATED'));
alter table notebooks add column volume_uri text check ((volume_uri is not null) = (volume_kind is 'DEDICATED'));

-- The shared volume of a notebook in the trash.
alter table trash add column shared_volume_id blob check (length(shared_volume_id) = 16);

-- The volumes that notebooks share, and by how many: one without any has to be removed. Triggers keep the numbers, so that
-- they are right within every transaction, whoever writes: a notebook that moves between the two tables within one
-- transaction has its volume all the time.
create table shared_volumes (
    id blob not null primary key check (length(id) = 16),
    in_use integer not null check (in_use >= 0),
    in_trash integer not null check (in_trash >= 0)
) strict, without rowid;

create trigger shared_volumes_joined after insert on notebooks when new.volume_kind is 'SHARED' begin
    insert into shared_volumes values (new.volume_id, 1, 0) on conflict do update set in_use = in_use + 1;
end;

create trigger shared_volumes_left after delete on notebooks when old.volume_kind is 'SHARED' begin
    update shared_volumes set in_use = in_use - 1 where id = old.volume_id;
end;

create trigger shared_volumes_trashed after insert on trash when new.shared_volume_id is not null begin
    insert into shared_volumes values (new.shared_volume_id, 0, 1) on conflict do update set in_trash = in_trash + 1;
end;

create trigger shared_volumes_untrashed after delete on trash when old.shared_volume_id is not null begin
    update shared_volumes set in_trash = in_trash - 1 where id = old.shared_volume_id;
end;
