-- A data folder of schema 11.
BEGIN TRANSACTION;
CREATE TABLE collections (
        name              TEXT PRIMARY KEY,
        model             TEXT NOT NULL,
        created_at        TEXT NOT NULL,
        keep              TEXT NOT NULL DEFAULT 'original',
        identity          INTEGER REFERENCES identities (number),
        previous_identity INTEGER REFERENCES identities (number),
        version           INTEGER,
        bundle            TEXT
    ) STRICT;
INSERT INTO "collections" VALUES('mine','tiny','2026-11-20T08:00:01.000+00:00','original',2,1,1,'1111');
INSERT INTO "collections" VALUES('theirs','tiny','2026-11-20T08:00:02.000+00:00','none',2,NULL,1,'1111');
CREATE TABLE embeddings (
        key       INTEGER NOT NULL REFERENCES images (key) ON DELETE CASCADE,
        identity  INTEGER NOT NULL REFERENCES identities (number),
        embedding BLOB NOT NULL,
        checksum  INTEGER,
        PRIMARY KEY (key, identity)
    ) STRICT;
INSERT INTO "embeddings" VALUES(1,2,X'0000803F00000000',459079402);
INSERT INTO "embeddings" VALUES(1,1,X'000000000000803F',1741844621);
INSERT INTO "embeddings" VALUES(3,2,X'000000BF0000003F',1927318185);
INSERT INTO "embeddings" VALUES(4,2,X'0000803F00000000',1612031860);
CREATE TABLE identities (
        number    INTEGER PRIMARY KEY,
        identity  TEXT NOT NULL UNIQUE,
        model     TEXT,
        version   INTEGER,
        precision TEXT,
        decode    TEXT,
        bundle    TEXT
    ) STRICT;
INSERT INTO "identities" VALUES(1,'second',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "identities" VALUES(2,'first','tiny',1,'fp32','exact','1111');
CREATE TABLE images (
        key          INTEGER PRIMARY KEY AUTOINCREMENT,
        collection   TEXT NOT NULL REFERENCES collections (name),
        id           TEXT NOT NULL,
        sha256       TEXT NOT NULL,
        n_bytes      INTEGER NOT NULL,
        media_type   TEXT NOT NULL,
        width        INTEGER NOT NULL,
        height       INTEGER NOT NULL,
        metadata     TEXT NOT NULL,
        created_at   TEXT NOT NULL,
        kept         INTEGER NOT NULL DEFAULT 1,
        checksum     INTEGER,
        picture_hash BLOB,
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
        metadata_differs INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, number)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "job_items" VALUES('ended',0,0,9,'a',NULL,NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('ended',1,9,9,'c','{"n":1}',NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('of-gone-1',0,0,9,'a',NULL,NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('of-gone-1',1,9,9,'c','{"n":1}',NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('of-gone-2',0,0,9,'a',NULL,NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('of-gone-2',1,9,9,'c','{"n":1}',NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('open',0,0,9,'a',NULL,NULL,NULL,NULL,0);
INSERT INTO "job_items" VALUES('open',1,9,9,'c','{"n":1}',NULL,NULL,NULL,0);
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
INSERT INTO "jobs" VALUES('ended','mine',0,'done',2,'2026-11-20T08:00:08.000+00:00','2026-11-20T08:00:09.000+00:00','');
INSERT INTO "jobs" VALUES('of-gone-1','gone (dropped)',0,'failed',2,'2026-11-20T08:00:11.000+00:00','2026-11-20T08:00:12.000+00:00','collection ''gone'' was dropped');
INSERT INTO "jobs" VALUES('of-gone-2','gone',0,'failed',2,'2026-11-20T08:00:14.000+00:00','2026-11-20T08:00:15.000+00:00','collection ''gone'' was dropped');
INSERT INTO "jobs" VALUES('open','theirs',0,'queued',2,'2026-11-20T08:00:16.000+00:00',NULL,'');
CREATE TABLE rollouts (
        id          TEXT NOT NULL UNIQUE,
        model       TEXT NOT NULL,
        version     INTEGER NOT NULL,
        bundle      TEXT NOT NULL,
        precision   TEXT NOT NULL DEFAULT 'fp32',
        decode      TEXT NOT NULL DEFAULT 'exact',
        state       TEXT NOT NULL,
        created_at  TEXT NOT NULL,
        reason      TEXT NOT NULL,
        finished_at TEXT,
        stays       TEXT NOT NULL,
        comparison  TEXT
    ) STRICT;
INSERT INTO "rollouts" VALUES('r','tiny',1,'1111','fp32','exact','active','2026-11-20T08:00:06.000+00:00','','2026-11-20T08:00:07.000+00:00','{}',NULL);
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
INSERT INTO "schema_version" VALUES(11,'2026-11-20T08:00:00.000000+00:00');
CREATE TABLE serving (
        role      TEXT PRIMARY KEY,
        model     TEXT NOT NULL,
        version   INTEGER NOT NULL,
        bundle    TEXT NOT NULL,
        precision TEXT NOT NULL DEFAULT 'fp32',
        decode    TEXT NOT NULL DEFAULT 'exact',
        wanted    TEXT NOT NULL DEFAULT 'fp32'
    ) STRICT;
INSERT INTO "serving" VALUES('active','tiny',1,'1111','fp32','exact','fp32');
CREATE INDEX images_by_collection ON images (collection, kept, n_bytes);
CREATE INDEX images_by_key ON images (collection);
CREATE INDEX images_by_sha256 ON images (sha256);
CREATE INDEX job_items_to_do ON job_items (job, number) WHERE status IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('images',9);
COMMIT;
