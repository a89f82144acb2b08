-- What a notebook's owner has run in it at each start, as JSON; null for nothing.
alter table notebooks add column hooks text check (hooks <> '');
