-- Written by service/generate.py.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE containers (
    seq BIGSERIAL NOT NULL, 
    id TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    name TEXT NOT NULL, 
    created_at BIGINT NOT NULL, 
    last_active_at BIGINT NOT NULL, 
    expires_minutes BIGINT NOT NULL, 
    memory_limit TEXT, 
    metadata TEXT, 
    network_type TEXT, 
    allowed_domains TEXT, 
    bytes BIGINT DEFAULT '0' NOT NULL, 
    deleted_at BIGINT, 
    PRIMARY KEY (seq), 
    UNIQUE (id)
);

CREATE TABLE domain_secrets (
    seq BIGSERIAL NOT NULL, 
    container_seq BIGINT NOT NULL, 
    domain TEXT NOT NULL, 
    name TEXT NOT NULL, 
    value TEXT NOT NULL, 
    PRIMARY KEY (seq), 
    FOREIGN KEY(container_seq) REFERENCES containers (seq)
);

CREATE INDEX ix_domain_secrets_container_seq ON domain_secrets (container_seq);

CREATE TABLE files (
    seq BIGSERIAL NOT NULL, 
    id TEXT NOT NULL, 
    container_seq BIGINT NOT NULL, 
    path TEXT NOT NULL, 
    bytes BIGINT NOT NULL, 
    created_at BIGINT NOT NULL, 
    source TEXT NOT NULL, 
    filename TEXT NOT NULL, 
    content_type TEXT NOT NULL, 
    sha256 TEXT NOT NULL, 
    blob TEXT NOT NULL, 
    deleted_at BIGINT, 
    PRIMARY KEY (seq), 
    UNIQUE (id), 
    FOREIGN KEY(container_seq) REFERENCES containers (seq)
);

CREATE INDEX containers_by_tenant ON containers (tenant, seq) WHERE deleted_at IS NULL;

CREATE INDEX containers_by_provider ON containers (tenant, provider, seq) WHERE deleted_at IS NULL;

CREATE INDEX containers_by_name ON containers (tenant, name, seq) WHERE deleted_at IS NULL;

CREATE INDEX containers_by_provider_and_name ON containers (tenant, provider, name, seq) WHERE deleted_at IS NULL;

CREATE INDEX files_by_container ON files (container_seq, seq) WHERE deleted_at IS NULL;

CREATE UNIQUE INDEX files_by_path ON files (container_seq, path) WHERE deleted_at IS NULL;

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

-- Running upgrade 0001 -> 0002

ALTER TABLE containers ADD COLUMN key_name TEXT DEFAULT '' NOT NULL;

ALTER TABLE containers ADD COLUMN status TEXT;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE virtual_keys (
    name TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    providers TEXT, 
    requests_per_minute INTEGER, 
    max_in_flight INTEGER, 
    created_at BIGINT NOT NULL, 
    expires_at BIGINT, 
    revoked_at BIGINT, 
    PRIMARY KEY (name)
);

CREATE TABLE key_digests (
    digest BYTEA NOT NULL, 
    name TEXT NOT NULL, 
    valid_until BIGINT, 
    PRIMARY KEY (digest), 
    FOREIGN KEY(name) REFERENCES virtual_keys (name)
);

CREATE INDEX ix_key_digests_name ON key_digests (name);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

CREATE TABLE idempotency (
    tenant TEXT NOT NULL, 
    key BYTEA NOT NULL, 
    operation TEXT NOT NULL, 
    attempt TEXT NOT NULL, 
    owner TEXT NOT NULL, 
    lease_until BIGINT NOT NULL, 
    expires_at BIGINT NOT NULL, 
    fingerprint BYTEA, 
    outcome BYTEA, 
    PRIMARY KEY (tenant, key)
);

CREATE INDEX ix_idempotency_expires_at ON idempotency (expires_at);

CREATE INDEX idempotency_by_owner ON idempotency (owner) WHERE outcome IS NULL;

ALTER TABLE containers ADD COLUMN attempt TEXT;

CREATE UNIQUE INDEX containers_by_attempt ON containers (attempt) WHERE attempt IS NOT NULL;

ALTER TABLE files ADD COLUMN attempt TEXT;

CREATE UNIQUE INDEX files_by_attempt ON files (attempt) WHERE attempt IS NOT NULL;

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

CREATE TABLE blobs (
    key TEXT NOT NULL, 
    sha256 TEXT NOT NULL, 
    bytes BIGINT NOT NULL, 
    holders BIGINT NOT NULL, 
    PRIMARY KEY (key)
);

CREATE INDEX ix_blobs_sha256 ON blobs (sha256);

CREATE TABLE tenants (
    tenant TEXT NOT NULL, 
    bytes BIGINT NOT NULL, 
    PRIMARY KEY (tenant)
);

CREATE TABLE tenant_files (
    seq BIGSERIAL NOT NULL, 
    id TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    filename TEXT NOT NULL, 
    purpose TEXT NOT NULL, 
    bytes BIGINT NOT NULL, 
    created_at BIGINT NOT NULL, 
    expires_at BIGINT, 
    status TEXT NOT NULL, 
    content_type TEXT NOT NULL, 
    sha256 TEXT NOT NULL, 
    blob TEXT NOT NULL, 
    key_name TEXT NOT NULL, 
    attempt TEXT, 
    deleted_at BIGINT, 
    PRIMARY KEY (seq), 
    UNIQUE (id)
);

CREATE INDEX tenant_files_by_tenant ON tenant_files (tenant, seq) WHERE deleted_at IS NULL;

CREATE INDEX tenant_files_by_provider ON tenant_files (tenant, provider, seq) WHERE deleted_at IS NULL;

CREATE INDEX tenant_files_by_purpose ON tenant_files (tenant, purpose, seq) WHERE deleted_at IS NULL;

CREATE INDEX tenant_files_by_provider_and_purpose ON tenant_files (tenant, provider, purpose, seq) WHERE deleted_at IS NULL;

CREATE INDEX tenant_files_by_expiry ON tenant_files (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;

CREATE UNIQUE INDEX tenant_files_by_attempt ON tenant_files (attempt) WHERE attempt IS NOT NULL;

INSERT INTO blobs (key, sha256, bytes, holders)
    SELECT blob, min(sha256), min(bytes), count(*) FROM files WHERE deleted_at IS NULL GROUP BY blob;

INSERT INTO tenants (tenant, bytes) SELECT tenant, sum(bytes) FROM containers WHERE deleted_at IS NULL GROUP BY tenant;

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

ALTER TABLE blobs ADD COLUMN damaged BIGINT DEFAULT '0' NOT NULL;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

-- Running upgrade 0006 -> 0007

CREATE INDEX containers_by_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND key_name = '';

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

-- Running upgrade 0007 -> 0008

ALTER TABLE blobs ADD COLUMN block_sums BYTEA;

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';

-- Running upgrade 0008 -> 0009

CREATE INDEX containers_by_deletion ON containers (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE INDEX files_by_deletion ON files (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE INDEX tenant_files_by_deletion ON tenant_files (deleted_at) WHERE deleted_at IS NOT NULL;

ALTER TABLE domain_secrets ADD COLUMN key_id TEXT;

CREATE TABLE sweep_clock (
    id SERIAL NOT NULL, 
    seen_at BIGINT NOT NULL, 
    steady_since BIGINT NOT NULL, 
    PRIMARY KEY (id)
);

UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';

-- Running upgrade 0009 -> 0010

CREATE TABLE leftovers (
    container_seq BIGINT NOT NULL, 
    PRIMARY KEY (container_seq)
);

UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';

-- Running upgrade 0010 -> 0011

ALTER TABLE containers ADD COLUMN adopted_at BIGINT;

ALTER TABLE containers DROP CONSTRAINT containers_id_key;

ALTER TABLE containers ADD CONSTRAINT containers_id_provider_tenant_key UNIQUE (id, provider, tenant);

ALTER TABLE tenant_files ADD COLUMN adopted_at BIGINT;

ALTER TABLE tenant_files DROP CONSTRAINT tenant_files_id_key;

ALTER TABLE tenant_files ADD CONSTRAINT tenant_files_id_provider_tenant_key UNIQUE (id, provider, tenant);

CREATE INDEX IF NOT EXISTS containers_by_adoption ON containers (tenant, adopted_at, seq) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS tenant_files_by_adoption ON tenant_files (tenant, adopted_at, seq) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;

CREATE INDEX IF NOT EXISTS containers_by_adopted_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;

UPDATE alembic_version SET version_num='0011' WHERE alembic_version.version_num = '0010';

-- Running upgrade 0011 -> 0012

CREATE TABLE usage (
    seq BIGSERIAL NOT NULL, 
    id TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    day BIGINT NOT NULL, 
    provider TEXT NOT NULL, 
    key_name TEXT NOT NULL, 
    containers BIGINT DEFAULT '0' NOT NULL, 
    calls BIGINT DEFAULT '0' NOT NULL, 
    bytes_in BIGINT DEFAULT '0' NOT NULL, 
    bytes_out BIGINT DEFAULT '0' NOT NULL, 
    byte_seconds BIGINT DEFAULT '0' NOT NULL, 
    PRIMARY KEY (seq), 
    UNIQUE (id)
);

CREATE UNIQUE INDEX usage_by_day ON usage (tenant, day, provider, key_name);

CREATE INDEX usage_by_key ON usage (tenant, key_name, day, provider);

CREATE INDEX usage_by_age ON usage (day);

CREATE TABLE usage_minutes (
    usage_seq BIGINT NOT NULL, 
    memory_limit TEXT NOT NULL, 
    containers BIGINT DEFAULT '0' NOT NULL, 
    minutes BIGINT DEFAULT '0' NOT NULL, 
    billed_minutes BIGINT DEFAULT '0' NOT NULL, 
    PRIMARY KEY (usage_seq, memory_limit)
);

CREATE TABLE stored_bytes (
    tenant TEXT NOT NULL, 
    key_name TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    bytes BIGINT DEFAULT '0' NOT NULL, 
    counted_until BIGINT NOT NULL, 
    PRIMARY KEY (tenant, key_name, provider)
);

CREATE TABLE reservations (
    id TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    key_name TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    memory_limit TEXT NOT NULL, 
    expires_at BIGINT NOT NULL, 
    PRIMARY KEY (id)
);

CREATE INDEX reservations_by_key ON reservations (tenant, key_name);

ALTER TABLE containers ADD COLUMN created_by TEXT;

ALTER TABLE containers ADD COLUMN metered_from BIGINT;

ALTER TABLE containers ADD COLUMN counted_minutes BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE containers ADD COLUMN metered_bytes BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE containers ADD COLUMN byte_seconds BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE containers ADD COLUMN bytes_since BIGINT;

ALTER TABLE containers ADD COLUMN meter_open INTEGER;

CREATE INDEX containers_by_meter ON containers (tenant, created_by, seq) WHERE meter_open = 1;

ALTER TABLE tenant_files ADD COLUMN created_by TEXT;

ALTER TABLE virtual_keys ADD COLUMN budget_nano_usd BIGINT;

ALTER TABLE virtual_keys ADD COLUMN budget_period TEXT;

UPDATE alembic_version SET version_num='0012' WHERE alembic_version.version_num = '0011';

-- Running upgrade 0012 -> 0013

CREATE TABLE leases (
    name TEXT NOT NULL, 
    owner TEXT NOT NULL, 
    lease_until BIGINT NOT NULL, 
    PRIMARY KEY (name)
);

ALTER TABLE files DROP CONSTRAINT files_container_seq_fkey;

ALTER TABLE domain_secrets DROP CONSTRAINT domain_secrets_container_seq_fkey;

UPDATE alembic_version SET version_num='0013' WHERE alembic_version.version_num = '0012';

-- Running upgrade 0013 -> 0014

CREATE TABLE execs (
    seq BIGSERIAL NOT NULL, 
    id TEXT NOT NULL, 
    container_seq BIGINT NOT NULL, 
    created_at BIGINT NOT NULL, 
    isolation TEXT NOT NULL, 
    owner TEXT NOT NULL, 
    lease_until BIGINT NOT NULL, 
    cancelled_at BIGINT, 
    attempt TEXT, 
    result BYTEA, 
    PRIMARY KEY (seq), 
    UNIQUE (id)
);

CREATE INDEX execs_by_container ON execs (container_seq, seq);

CREATE UNIQUE INDEX execs_by_attempt ON execs (attempt) WHERE attempt IS NOT NULL;

CREATE TABLE exec_output (
    exec_seq BIGINT NOT NULL, 
    sequence BIGINT NOT NULL, 
    events BYTEA NOT NULL, 
    PRIMARY KEY (exec_seq, sequence)
);

ALTER TABLE files ADD COLUMN modified_at BIGINT;

UPDATE alembic_version SET version_num='0014' WHERE alembic_version.version_num = '0013';

-- Running upgrade 0014 -> 0015

ALTER TABLE execs ADD COLUMN key_name TEXT DEFAULT '' NOT NULL;

ALTER TABLE usage ADD COLUMN execs BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE usage ADD COLUMN exec_ms BIGINT DEFAULT '0' NOT NULL;

UPDATE alembic_version SET version_num='0015' WHERE alembic_version.version_num = '0014';

-- Running upgrade 0015 -> 0016

ALTER TABLE execs ADD COLUMN session TEXT;

UPDATE alembic_version SET version_num='0016' WHERE alembic_version.version_num = '0015';

-- Running upgrade 0016 -> 0017

CREATE INDEX IF NOT EXISTS containers_by_passed_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND adopted_at IS NULL AND key_name != '';

UPDATE alembic_version SET version_num='0017' WHERE alembic_version.version_num = '0016';

