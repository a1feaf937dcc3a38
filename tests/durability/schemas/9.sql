-- A data folder of schema 9.
BEGIN TRANSACTION;
CREATE TABLE collections (
            name       TEXT PRIMARY KEY,
            model      TEXT NOT NULL,
            created_at TEXT NOT NULL
        , keep TEXT NOT NULL DEFAULT 'original', precision TEXT NOT NULL DEFAULT 'server', identity INTEGER REFERENCES identities (number), previous_identity INTEGER REFERENCES identities (number), may_lag INTEGER NOT NULL DEFAULT 0, version INTEGER, bundle TEXT) STRICT;
INSERT INTO "collections" VALUES('mine','tiny','2026-11-20T08:00:01.000+00:00','original','server',1,2,0,NULL,NULL);
INSERT INTO "collections" VALUES('theirs','tiny','2026-11-20T08:00:02.000+00:00','none','server',1,NULL,0,NULL,NULL);
CREATE TABLE embeddings (
            key       INTEGER NOT NULL REFERENCES images (key) ON DELETE CASCADE,
            identity  INTEGER NOT NULL REFERENCES identities (number),
            embedding BLOB NOT NULL, checksum INTEGER,
            PRIMARY KEY (key, identity)
        ) STRICT;
INSERT INTO "embeddings" VALUES(1,1,X'0000803F00000000',3623288436);
INSERT INTO "embeddings" VALUES(1,2,X'000000000000803F',2876796947);
INSERT INTO "embeddings" VALUES(3,1,X'000000BF0000003F',3192556087);
INSERT INTO "embeddings" VALUES(4,1,X'0000803F00000000',4003111063);
CREATE TABLE identities (number INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, model TEXT, version INTEGER, precision TEXT, decode TEXT, bundle TEXT) STRICT;
INSERT INTO "identities" VALUES(1,'first','tiny',1,'fp32','exact','1111');
INSERT INTO "identities" VALUES(2,'second',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE images (
            key        INTEGER PRIMARY KEY AUTOINCREMENT,
            collection TEXT NOT NULL REFERENCES collections (name),
            id         TEXT NOT NULL,
            sha256     TEXT NOT NULL,
            n_bytes    INTEGER NOT NULL,
            media_type TEXT NOT NULL,
            width      INTEGER NOT NULL,
            height     INTEGER NOT NULL,
            metadata   TEXT NOT NULL,
            created_at TEXT NOT NULL, kept INTEGER NOT NULL DEFAULT 1, checksum INTEGER, picture_hash BLOB,
            UNIQUE (collection, id)
        ) STRICT;
INSERT INTO "images" VALUES(1,'mine','a','1111111111111111111111111111111111111111111111111111111111111111',70,'image/png',4,5,'{"year":2001,"tags":["x","\u00e9"]}','2026-11-20T08:00:03.000+00:00',1,1839332266,X'0102030405060708090A0B');
INSERT INTO "images" VALUES(3,'mine','b','2222222222222222222222222222222222222222222222222222222222222222',71,'image/jpeg',6,7,'{}','2026-11-20T08:00:04.000+00:00',1,3938856125,NULL);
INSERT INTO "images" VALUES(4,'theirs','a','1111111111111111111111111111111111111111111111111111111111111111',70,'image/png',4,5,'{"year":2002}','2026-11-20T08:00:05.000+00:00',0,2209145939,NULL);
CREATE TABLE job_items (
            job      TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            number   INTEGER NOT NULL,
            at       INTEGER NOT NULL,
            n_bytes  INTEGER NOT NULL,
            id       TEXT,
            metadata TEXT,
            status   TEXT,
            error    TEXT,
            file     TEXT,
            PRIMARY KEY (job, number)
        ) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
            id          TEXT NOT NULL UNIQUE,
            collection  TEXT NOT NULL,
            replaces    INTEGER NOT NULL,
            state       TEXT NOT NULL,
            n_items     INTEGER NOT NULL,
            created_at  TEXT NOT NULL,
            finished_at TEXT,
            reason      TEXT NOT NULL
        ) STRICT;
INSERT INTO "jobs" VALUES('job-1','mine',0,'done',1,'2026-11-25T16:00:01.000+00:00','2026-11-25T16:00:02.000+00:00','');
CREATE TABLE recorded_queries (
            number     INTEGER PRIMARY KEY,
            collection TEXT NOT NULL REFERENCES collections (name) ON DELETE CASCADE,
            text       TEXT NOT NULL,
            UNIQUE (collection, text)
        ) STRICT;
CREATE TABLE rollouts (
            id          TEXT NOT NULL UNIQUE,
            model       TEXT NOT NULL,
            version     INTEGER NOT NULL,
            bundle      TEXT NOT NULL,
            state       TEXT NOT NULL,
            created_at  TEXT NOT NULL,
            collection  TEXT,
            precision   TEXT,
            now         INTEGER NOT NULL,
            reason      TEXT NOT NULL,
            finished_at TEXT,
            stays       TEXT NOT NULL,
            comparison  TEXT
        ) STRICT;
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
INSERT INTO "schema_version" VALUES(1,'2026-11-20T08:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(2,'2026-11-25T08:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(3,'2026-11-25T16:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(4,'2026-11-25T20:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(5,'2026-11-25T21:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(6,'2026-11-27T08:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(7,'2026-11-20T08:00:07.000+00:00');
INSERT INTO "schema_version" VALUES(8,'2026-11-28T08:00:00.000000+00:00');
INSERT INTO "schema_version" VALUES(9,'2026-11-28T08:00:00.000+00:00');
CREATE TABLE serving (
            role    TEXT PRIMARY KEY,
            model   TEXT NOT NULL,
            version INTEGER NOT NULL,
            bundle  TEXT NOT NULL
        ) STRICT;
INSERT INTO "serving" VALUES('active','tiny',1,'1111');
CREATE INDEX images_by_sha256 ON images (sha256);
CREATE INDEX images_by_collection ON images (collection, kept, n_bytes);
CREATE INDEX images_by_key ON images (collection);
CREATE INDEX job_items_to_do ON job_items (job, number) WHERE status IS NULL;
CREATE INDEX images_without_checksum ON images (key) WHERE checksum IS NULL;
CREATE INDEX embeddings_without_checksum ON embeddings (key) WHERE checksum IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('images',9);
COMMIT;
