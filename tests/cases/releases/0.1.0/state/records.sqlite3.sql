PRAGMA auto_vacuum=2;
PRAGMA journal_mode=WAL;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE findings (
	stamp BIGINT NOT NULL, 
	parser TEXT NOT NULL, 
	version TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	label TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (stamp), 
	FOREIGN KEY(stamp) REFERENCES records (stamp) ON DELETE CASCADE
);
INSERT INTO "findings" VALUES(1795654317078528001,'unchanged','1/9a8c75d7','nothing','','{}');
INSERT INTO "findings" VALUES(1795654317101056002,'unchanged','1/9a8c75d7','nothing','','{}');
INSERT INTO "findings" VALUES(1795654317122466002,'unchanged','1/9a8c75d7','nothing','','{}');
INSERT INTO "findings" VALUES(1795654319992832002,'unchanged','1/9a8c75d7','nothing','','{}');
CREATE TABLE records (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	stamp BIGINT NOT NULL, 
	owner TEXT NOT NULL, 
	ts_capture BIGINT NOT NULL, 
	machine_id TEXT NOT NULL, 
	machine_type TEXT NOT NULL, 
	arch TEXT NOT NULL, 
	build TEXT NOT NULL, 
	classification TEXT NOT NULL, 
	kernel_version TEXT NOT NULL, 
	severity SMALLINT NOT NULL, 
	record_format_version SMALLINT NOT NULL, 
	payload_format_version INTEGER NOT NULL, 
	system_name TEXT NOT NULL, 
	board_name TEXT NOT NULL, 
	bios_version TEXT NOT NULL, 
	cpu_model TEXT NOT NULL, 
	event_id TEXT NOT NULL, 
	external BOOLEAN NOT NULL, 
	payload BLOB NOT NULL, 
	UNIQUE (stamp)
);
INSERT INTO "records" VALUES(1,1795654317078528001,'36d26f182803887c',1795310843,'36d26f182803887c','no_sv_file|no_pn_file|no_pvr_file','x86_64','12','org.clearlinux/hello/world','6.18.44-fc-v509',1,4,1,'debian','no_bn_file|no_bv_file','no_bv_file','AMD','02ec1066a528a0bf2ca2524614442b46',0,X'7265636F726420300A');
INSERT INTO "records" VALUES(2,1795654317101056002,'03c2a051a489f764',1795310843,'03c2a051a489f764','no_sv_file|no_pn_file|no_pvr_file','x86_64','12','org.clearlinux/hello/world','6.18.44-fc-v509',1,4,1,'debian','no_bn_file|no_bv_file','no_bv_file','AMD','02ec1066a528a0bf2ca2524614442b46',0,X'7265636F726420310A');
INSERT INTO "records" VALUES(3,1795654317122466002,'dadca98e55084b89',1795310843,'dadca98e55084b89','no_sv_file|no_pn_file|no_pvr_file','x86_64','12','org.clearlinux/hello/world','6.18.44-fc-v509',1,4,1,'debian','no_bn_file|no_bv_file','no_bv_file','AMD','02ec1066a528a0bf2ca2524614442b46',0,X'7265636F726420320A');
INSERT INTO "records" VALUES(4,1795654319992832002,'3678be4ba2dc6183',1795310843,'3678be4ba2dc6183','no_sv_file|no_pn_file|no_pvr_file','x86_64','12','org.clearlinux/hello/world','6.18.44-fc-v509',1,4,1,'debian','no_bn_file|no_bv_file','no_bv_file','AMD','02ec1066a528a0bf2ca2524614442b46',0,X'7265636F726420330A');
CREATE INDEX ix_records_owner ON records (owner);
CREATE INDEX ix_records_machine_id ON records (machine_id);
CREATE INDEX ix_records_classification ON records (classification, id);
CREATE INDEX ix_records_build ON records (build, id);
CREATE INDEX ix_findings_label ON findings (kind, label);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('records',4);
COMMIT;
PRAGMA user_version=0;
