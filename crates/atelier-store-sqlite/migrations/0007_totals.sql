-- What every creation and every start asks, kept beside the notebooks so that asking costs the same however many there
-- are. Triggers keep them: they are right within every transaction, whoever writes.

-- How many notebooks an owner has in a project.
create table owner_totals (
    project_id text not null,
    user_id text not null,
    notebooks integer not null check (notebooks >= 0),
    primary key (project_id, user_id)
) strict, without rowid;

-- How many notebooks are in a status, and what their flavors add up to.
create table status_totals (
    status text not null primary key,
    notebooks integer not null check (notebooks >= 0),
    cpu_millis integer not null check (cpu_millis >= 0),
    memory_mib integer not null check (memory_mib >= 0)
) strict, without rowid;

insert into owner_totals select project_id, user_id, count(*) from notebooks group by project_id, user_id;
insert into status_totals
    select status, count(*), sum(flavor_cpu_millis), sum(flavor_memory_mib) from notebooks group by status;

create trigger notebooks_inserted after insert on notebooks begin
    insert into owner_totals values (new.project_id, new.user_id, 1)
        on conflict do update set notebooks = notebooks + 1;
    insert into status_totals values (new.status, 1, new.flavor_cpu_millis, new.flavor_memory_mib)
        on conflict do update set notebooks = notebooks + 1, cpu_millis = cpu_millis + excluded.cpu_millis,
            memory_mib = memory_mib + excluded.memory_mib;
end;

create trigger notebooks_deleted after delete on notebooks begin
    update owner_totals set notebooks = notebooks - 1
        where project_id = old.project_id and user_id = old.user_id;
    delete from owner_totals where project_id = old.project_id and user_id = old.user_id and notebooks = 0;
    update status_totals set notebooks = notebooks - 1, cpu_millis = cpu_millis - old.flavor_cpu_millis,
        memory_mib = memory_mib - old.flavor_memory_mib where status = old.status;
end;

create trigger notebooks_handed_over after update of project_id, user_id on notebooks
when old.project_id <> new.project_id or old.user_id <> new.user_id begin
    update owner_totals set notebooks = notebooks - 1
        where project_id = old.project_id and user_id = old.user_id;
    delete from owner_totals where project_id = old.project_id and user_id = old.user_id and notebooks = 0;
    insert into owner_totals values (new.project_id, new.user_id, 1)
        on conflict do update set notebooks = notebooks + 1;
end;

create trigger notebooks_weighed after update of status, flavor_cpu_millis, flavor_memory_mib on notebooks
when old.status <> new.status or old.flavor_cpu_millis <> new.flavor_cpu_millis
    or old.flavor_memory_mib <> new.flavor_memory_mib begin
    update status_totals set notebooks = notebooks - 1, cpu_millis = cpu_millis - old.flavor_cpu_millis,
        memory_mib = memory_mib - old.flavor_memory_mib where status = old.status;
    insert into status_totals values (new.status, 1, new.flavor_cpu_millis, new.flavor_memory_mib)
        on conflict do update set notebooks = notebooks + 1, cpu_millis = cpu_millis + excluded.cpu_millis,
            memory_mib = memory_mib + excluded.memory_mib;
end;
