-- Written by service/generate.py.
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE domain_secrets (
	seq INTEGER NOT NULL, 
	container_seq INTEGER NOT NULL, 
	domain TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT NOT NULL, key_id TEXT, 
	PRIMARY KEY (seq), 
	FOREIGN KEY(container_seq) REFERENCES containers (seq)
);
CREATE INDEX ix_domain_secrets_container_seq ON domain_secrets (container_seq);
CREATE TABLE files (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	container_seq INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	source TEXT NOT NULL, 
	filename TEXT NOT NULL, 
	content_type TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	blob TEXT NOT NULL, 
	deleted_at BIGINT, attempt TEXT, modified_at BIGINT, 
	UNIQUE (id), 
	FOREIGN KEY(container_seq) REFERENCES containers (seq)
);
CREATE INDEX files_by_container ON files (container_seq, seq) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX files_by_path ON files (container_seq, path) WHERE deleted_at IS NULL;
CREATE TABLE virtual_keys (
	name TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	providers TEXT, 
	requests_per_minute INTEGER, 
	max_in_flight INTEGER, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	revoked_at BIGINT, budget_nano_usd BIGINT, budget_period TEXT, 
	PRIMARY KEY (name)
);
CREATE TABLE key_digests (
	digest BLOB NOT NULL, 
	name TEXT NOT NULL, 
	valid_until BIGINT, 
	PRIMARY KEY (digest), 
	FOREIGN KEY(name) REFERENCES virtual_keys (name)
);
CREATE INDEX ix_key_digests_name ON key_digests (name);
CREATE TABLE idempotency (
	tenant TEXT NOT NULL, 
	"key" BLOB NOT NULL, 
	operation TEXT NOT NULL, 
	attempt TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	lease_until BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	fingerprint BLOB, 
	outcome BLOB, 
	PRIMARY KEY (tenant, "key")
);
CREATE INDEX ix_idempotency_expires_at ON idempotency (expires_at);
CREATE INDEX idempotency_by_owner ON idempotency (owner) WHERE outcome IS NULL;
CREATE UNIQUE INDEX files_by_attempt ON files (attempt) WHERE attempt IS NOT NULL;
CREATE TABLE blobs (
	"key" TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	holders BIGINT NOT NULL, damaged BIGINT DEFAULT '0' NOT NULL, block_sums BLOB, 
	PRIMARY KEY ("key")
);
CREATE INDEX ix_blobs_sha256 ON blobs (sha256);
CREATE TABLE tenants (
	tenant TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	PRIMARY KEY (tenant)
);
CREATE INDEX files_by_deletion ON files (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE TABLE sweep_clock (
	id INTEGER NOT NULL, 
	seen_at BIGINT NOT NULL, 
	steady_since BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE leftovers (
	container_seq BIGINT NOT NULL, 
	PRIMARY KEY (container_seq)
);
CREATE TABLE "containers" (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
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
	deleted_at BIGINT, key_name TEXT DEFAULT '' NOT NULL, status TEXT, attempt TEXT, adopted_at BIGINT, created_by TEXT, metered_from BIGINT, counted_minutes BIGINT DEFAULT '0' NOT NULL, metered_bytes BIGINT DEFAULT '0' NOT NULL, byte_seconds BIGINT DEFAULT '0' NOT NULL, bytes_since BIGINT, meter_open INTEGER, 
	UNIQUE (id, provider, tenant)
);
CREATE INDEX containers_by_tenant ON containers (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX containers_by_provider ON containers (tenant, provider, seq) WHERE deleted_at IS NULL;
CREATE INDEX containers_by_name ON containers (tenant, name, seq) WHERE deleted_at IS NULL;
CREATE INDEX containers_by_provider_and_name ON containers (tenant, provider, name, seq) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX containers_by_attempt ON containers (attempt) WHERE attempt IS NOT NULL;
CREATE INDEX containers_by_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND key_name = '';
CREATE INDEX containers_by_deletion ON containers (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE TABLE "tenant_files" (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
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
	deleted_at BIGINT, adopted_at BIGINT, created_by TEXT, 
	UNIQUE (id, provider, tenant)
);
CREATE INDEX tenant_files_by_tenant ON tenant_files (tenant, seq) WHERE deleted_at IS NULL;
CREATE INDEX tenant_files_by_provider ON tenant_files (tenant, provider, seq) WHERE deleted_at IS NULL;
CREATE INDEX tenant_files_by_purpose ON tenant_files (tenant, purpose, seq) WHERE deleted_at IS NULL;
CREATE INDEX tenant_files_by_provider_and_purpose ON tenant_files (tenant, provider, purpose, seq) WHERE deleted_at IS NULL;
CREATE INDEX tenant_files_by_expiry ON tenant_files (expires_at) WHERE deleted_at IS NULL AND expires_at IS NOT NULL;
CREATE UNIQUE INDEX tenant_files_by_attempt ON tenant_files (attempt) WHERE attempt IS NOT NULL;
CREATE INDEX tenant_files_by_deletion ON tenant_files (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX containers_by_adoption ON containers (tenant, adopted_at, seq) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;
CREATE INDEX tenant_files_by_adoption ON tenant_files (tenant, adopted_at, seq) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;
CREATE INDEX containers_by_adopted_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND adopted_at IS NOT NULL;
CREATE TABLE usage (
	seq INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	day BIGINT NOT NULL, 
	provider TEXT NOT NULL, 
	key_name TEXT NOT NULL, 
	containers BIGINT DEFAULT '0' NOT NULL, 
	calls BIGINT DEFAULT '0' NOT NULL, 
	bytes_in BIGINT DEFAULT '0' NOT NULL, 
	bytes_out BIGINT DEFAULT '0' NOT NULL, 
	byte_seconds BIGINT DEFAULT '0' NOT NULL, execs BIGINT DEFAULT '0' NOT NULL, exec_ms BIGINT DEFAULT '0' NOT NULL, 
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
)
 WITHOUT ROWID

;
CREATE TABLE stored_bytes (
	tenant TEXT NOT NULL, 
	key_name TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	bytes BIGINT DEFAULT '0' NOT NULL, 
	counted_until BIGINT NOT NULL, 
	PRIMARY KEY (tenant, key_name, provider)
)
 WITHOUT ROWID

;
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
CREATE INDEX containers_by_meter ON containers (tenant, created_by, seq) WHERE meter_open = 1;
CREATE TABLE leases (
	name TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	lease_until BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE execs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	container_seq BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	isolation TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	lease_until BIGINT NOT NULL, 
	cancelled_at BIGINT, 
	attempt TEXT, 
	result BLOB, key_name TEXT DEFAULT '' NOT NULL, session TEXT, 
	UNIQUE (id)
);
CREATE INDEX execs_by_container ON execs (container_seq, seq);
CREATE UNIQUE INDEX execs_by_attempt ON execs (attempt) WHERE attempt IS NOT NULL;
CREATE TABLE exec_output (
	exec_seq BIGINT NOT NULL, 
	sequence BIGINT NOT NULL, 
	events BLOB NOT NULL, 
	PRIMARY KEY (exec_seq, sequence)
)
 WITHOUT ROWID

;
CREATE INDEX containers_by_passed_expiry ON containers ((last_active_at + expires_minutes * 60)) WHERE deleted_at IS NULL AND adopted_at IS NULL AND key_name != '';
INSERT INTO alembic_version VALUES ('0017');
