-- The size that a volume is being given while its notebook runs.
alter table notebooks add column volume_growing_to_gib integer
    check (volume_growing_to_gib is null or volume_growing_to_gib > volume_capacity_gib);
