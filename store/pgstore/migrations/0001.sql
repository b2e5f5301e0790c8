-- Names are prefixed, so that they can live in any schema. Everything that is
-- text elsewhere is bytea here: no encoding and no collation can refuse or
-- reorder it. Times are milliseconds since 1970.

CREATE TABLE rescind_ledger (
	one    boolean PRIMARY KEY DEFAULT true CHECK (one),
	format integer NOT NULL, -- the last migration
	needs  integer NOT NULL, -- the lowest format that a node must understand
	epoch  bytea   NOT NULL,
	config bigint  NOT NULL DEFAULT 0
);

-- fillfactor leaves room on each page for the next version of its rows. No index
-- but the primary key: an update of a row is then one on its own page, without
-- a new entry in any index.
CREATE TABLE rescind_session (
	id          bytea  PRIMARY KEY,
	version     bigint NOT NULL,
	birth       bigint NOT NULL,
	last_active bigint NOT NULL,
	idle        bigint NOT NULL,
	ended_at    bigint,
	reason      bytea,
	client      bytea  NOT NULL,
	record      bytea  NOT NULL
) WITH (
	fillfactor = 80, vacuum_truncate = off,
	autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05
);
ALTER TABLE rescind_session ALTER record SET STORAGE MAIN;

-- 1 and a tag, 2 and the name of a client, or 3.
CREATE TABLE rescind_cutoff (
	key      bytea  PRIMARY KEY,
	position bigint NOT NULL,
	at       bigint NOT NULL
) WITH (fillfactor = 80, vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE rescind_counter (
	tag bytea  PRIMARY KEY,
	n   bigint NOT NULL
) WITH (fillfactor = 80, vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05);

-- The first row is the tail: the last ending that is forgotten, emptied.
CREATE TABLE rescind_feed (
	position bigint PRIMARY KEY,
	body     bytea  NOT NULL
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

CREATE TABLE rescind_event (
	seq  bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	body bytea  NOT NULL
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

CREATE TABLE rescind_document (
	kind  bytea NOT NULL,
	id    bytea NOT NULL,
	value bytea NOT NULL,
	PRIMARY KEY (kind, id)
);

-- The highest time that was told, to about a tenth of a second.
CREATE TABLE rescind_clock (
	one  boolean PRIMARY KEY DEFAULT true CHECK (one),
	told bigint  NOT NULL
) WITH (fillfactor = 10);

INSERT INTO rescind_feed (position, body) VALUES (0, '');
INSERT INTO rescind_clock (told) VALUES (0);
