-- Who had a shared volume last: its removal is told in that notebook's history. Null: nobody has let go of it since this is known.
alter table shared_volumes add column last_notebook_id blob check (length(last_notebook_id) = 16);
alter table shared_volumes add column last_project_id text check ((last_project_id is null) = (last_notebook_id is null));

drop trigger shared_volumes_joined;
create trigger shared_volumes_joined after insert on notebooks when new.volume_kind is 'SHARED' begin
    insert into shared_volumes (id, in_use, in_trash) values (new.volume_id, 1, 0)
        on conflict do update set in_use = in_use + 1;
end;

drop trigger shared_volumes_left;
create trigger shared_volumes_left after delete on notebooks when old.volume_kind is 'SHARED' begin
    update shared_volumes set in_use = in_use - 1, last_notebook_id = old.id, last_project_id = old.project_id
        where id = old.volume_id;
end;

drop trigger shared_volumes_trashed;
create trigger shared_volumes_trashed after insert on trash when new.shared_volume_id is not null begin
    insert into shared_volumes (id, in_use, in_trash) values (new.shared_volume_id, 0, 1)
        on conflict do update set in_trash = in_trash + 1;
end;

drop trigger shared_volumes_untrashed;
create trigger shared_volumes_untrashed after delete on trash when old.shared_volume_id is not null begin
    update shared_volumes
        set in_trash = in_trash - 1, last_notebook_id = old.notebook_id, last_project_id = old.project_id
        where id = old.shared_volume_id;
end;
