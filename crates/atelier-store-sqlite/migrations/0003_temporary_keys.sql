-- What a temporary access key was earned with: a token, or a permanent key. It goes when that goes. Keys without either
-- are permanent; temporary ones could not be made before.
alter table access_keys add column session_parent_token blob
    references tokens (hash) on delete cascade
    check (length(session_parent_token) = 32);
alter table access_keys add column session_parent_key text
    references access_keys (access) on delete cascade;

create index access_keys_by_parent_token on access_keys (session_parent_token)
    where session_parent_token is not null;
create index access_keys_by_parent_key on access_keys (session_parent_key)
    where session_parent_key is not null;
