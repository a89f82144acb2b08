-- Pools: shares of the machine that are set aside. A notebook keeps the pool that it was made in, under the name that the
-- pool had then; most notebooks are in none.
alter table notebooks add column pool_id text check (pool_id <> '');
alter table notebooks add column pool_name text check ((pool_name is null) = (pool_id is null));

-- What is held is asked of each part of the machine by itself, so it is summed up for each pool. '' is no pool: a
-- primary key has no nulls.
drop trigger notebooks_inserted;
drop trigger notebooks_deleted;
drop trigger notebooks_weighed;
drop table status_totals;

create table status_totals (
    status text not null,
    pool_id text not null,
    notebooks integer not null check (notebooks >= 0),
    cpu_millis integer not null check (cpu_millis >= 0),
    memory_mib integer not null check (memory_mib >= 0),
    primary key (status, pool_id)
) strict, without rowid;

insert into status_totals
    select status, '', count(*), sum(flavor_cpu_millis), sum(flavor_memory_mib) from notebooks group by status;

create trigger notebooks_inserted after insert on notebooks begin
    insert into owner_totals values (new.project_id, new.user_id, 1)
        on conflict do update set notebooks = notebooks + 1;
    insert into status_totals
        values (new.status, coalesce(new.pool_id, ''), 1, new.flavor_cpu_millis, new.flavor_memory_mib)
        on conflict do update set notebooks = notebooks + 1, cpu_millis = cpu_millis + excluded.cpu_millis,
            memory_mib = memory_mib + excluded.memory_mib;
end;

create trigger notebooks_deleted after delete on notebooks begin
    update owner_totals set notebooks = notebooks - 1
        where project_id = old.project_id and user_id = old.user_id;
    delete from owner_totals where project_id = old.project_id and user_id = old.user_id and notebooks = 0;
    update status_totals set notebooks = notebooks - 1, cpu_millis = cpu_millis - old.flavor_cpu_millis,
        memory_mib = memory_mib - old.flavor_memory_mib
        where status = old.status and pool_id = coalesce(old.pool_id, '');
end;

create trigger notebooks_weighed after update of status, flavor_cpu_millis, flavor_memory_mib, pool_id on notebooks
when old.status <> new.status or old.flavor_cpu_millis <> new.flavor_cpu_millis
    or old.flavor_memory_mib <> new.flavor_memory_mib or old.pool_id is not new.pool_id begin
    update status_totals set notebooks = notebooks - 1, cpu_millis = cpu_millis - old.flavor_cpu_millis,
        memory_mib = memory_mib - old.flavor_memory_mib
        where status = old.status and pool_id = coalesce(old.pool_id, '');
    insert into status_totals
        values (new.status, coalesce(new.pool_id, ''), 1, new.flavor_cpu_millis, new.flavor_memory_mib)
        on conflict do update set notebooks = notebooks + 1, cpu_millis = cpu_millis + excluded.cpu_millis,
            memory_mib = memory_mib + excluded.memory_mib;
end;
