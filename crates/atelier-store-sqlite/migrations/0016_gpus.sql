-- The GPUs of a notebook's flavor, and of what kind they are; both null for none, the kind null where the flavor leaves it
-- open.
alter table notebooks add column flavor_gpus integer check (flavor_gpus between 1 and 4294967295);
alter table notebooks add column flavor_gpu_kind text
    check (flavor_gpu_kind is null or (flavor_gpu_kind <> '' and flavor_gpus is not null));

-- Few notebooks have any, so what is held is summed up when it is asked for, and only over those.
create index notebooks_with_gpus on notebooks (status, flavor_gpu_kind, flavor_gpus, id) where flavor_gpus is not null;
