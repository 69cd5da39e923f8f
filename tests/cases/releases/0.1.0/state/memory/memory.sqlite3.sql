PRAGMA auto_vacuum=2;
PRAGMA journal_mode=WAL;
BEGIN TRANSACTION;
CREATE TABLE erased (owner TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "erased" VALUES('cfc4207e233908c0',1795654318092381000);
CREATE TABLE erasure_notices (at_ns INTEGER PRIMARY KEY, owner TEXT NOT NULL, days TEXT NOT NULL);
CREATE TABLE erasures (
        id INTEGER PRIMARY KEY AUTOINCREMENT, asked_ns INTEGER NOT NULL, server TEXT NOT NULL,
        action TEXT NOT NULL, state TEXT NOT NULL, until_ns INTEGER NOT NULL, found TEXT NOT NULL,
        plan TEXT NOT NULL, delayed INTEGER NOT NULL DEFAULT 0
    );
INSERT INTO "erasures" VALUES(1,1795654317403263026,'','opt-out','done',1795654318007525635,'','{"reports": 6, "node_reports": 12, "waiting": 0, "copies": 0, "dead_letters": 0, "days": ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25"], "final_days": ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"], "records": 0}',0);
INSERT INTO "erasures" VALUES(2,1795654318905734193,'4e988c5fe42cac39','erase','queued',0,'','',0);
INSERT INTO "erasures" VALUES(3,1795654319408142726,'fd3c10ef1ce41c17','erase','queued',0,'','',0);
CREATE TABLE let_through (at_ns INTEGER NOT NULL);
INSERT INTO "let_through" VALUES(1795654317403263026);
CREATE TABLE owner_choices (
        owner TEXT PRIMARY KEY, choice TEXT NOT NULL, at_ns INTEGER NOT NULL, told INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "owner_choices" VALUES('cfc4207e233908c0','opt-out',1795654317475649000,1);
CREATE TABLE tag_sightings (
        tag TEXT NOT NULL, value TEXT NOT NULL, sayer BLOB NOT NULL, day INTEGER NOT NULL,
        PRIMARY KEY (tag, value, sayer)
    ) WITHOUT ROWID;
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'15289DEDE519120B',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'26114A5645504D84',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'3878AFAFACBAAB8C',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'60C71911AA122907',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'6817BCC22D5B7800',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'7CD2E8784BE2181D',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'B6D39BF2CCBEE75B',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'CED0D1A721303287',20783);
INSERT INTO "tag_sightings" VALUES('arch','x86_64',X'F51561E34F4B691F',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'0C0D379434824C9C',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'126B11EF1A9871A7',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'167EDC82ACD0380E',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'602A19FEDD74CE99',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'673A7F65BA049C7E',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'76C6EEA92758C463',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'A4A9EEC8BEF191CE',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'B3DAE37CF766B232',20783);
INSERT INTO "tag_sightings" VALUES('asl_version','asl3-3.3.0',X'BDECBAFF20E3F0B0',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'0D2D36409CF3F544',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'124E45A97EA0CC22',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'4883CC8362905B9B',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'5E4D438163EF8D62',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'75CBFCF6D1C282A5',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'95E3813664EF1885',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'CF94A85A6ADCE4A3',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'D3A5DDE8FCAF2F4B',20783);
INSERT INTO "tag_sightings" VALUES('asterisk_version','22.2.0',X'D51A36E778F3A649',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'2DA03B663D462671',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'55DB57343620860A',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'72409D4A33B62566',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'7DFC3728A79ED1DC',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'8051F3721DB25E9E',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'8E9DF812F3D12C2C',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'A292D7375257B54F',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'DF93A71A1A3681F1',20783);
INSERT INTO "tag_sightings" VALUES('channel','simpleusb',X'E50F88487218DD65',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'3375AF84513B7AF5',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'87A84C9F1EDA0E63',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'A40FD462CFD4342C',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'ADBA36079363A332',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'C4F64E2CB5BEAAC1',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'E531DC5AF73436FE',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'EDA6DBACCFA57B70',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'F6BFB10FFCCE097A',20783);
INSERT INTO "tag_sightings" VALUES('distro','Debian',X'FF327751ECD02F49',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'186D34BB5CF41CCF',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'4075698291080EF0',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'40F8B68DE5FCB94E',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'4491CC4365C6C299',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'9673F5F430495D6A',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'9B15F4D43AD963B9',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'CE09749E8151044F',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'E857C00153C361FA',20783);
INSERT INTO "tag_sightings" VALUES('release','12',X'F3C31E8032B421AB',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_arch','x86_64',X'3FC61418E7946431',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_arch','x86_64',X'644061A2ED7DFCDD',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_arch','x86_64',X'7AA2D2A7E25E5BB8',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_arch','x86_64',X'F7F43CF7D640E36B',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_build','12',X'40D0F01F29B0DC5D',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_build','12',X'4227BB037F6EDC82',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_build','12',X'7448F4C5E2534C12',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_build','12',X'92C292B375436D2B',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_domain','org.clearlinux',X'0B3C0161E3A4E1DC',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_domain','org.clearlinux',X'5149CCE01FACE311',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_domain','org.clearlinux',X'E072643A6E3A9A49',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_domain','org.clearlinux',X'EFB02A723AE4D2FA',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_probe','hello',X'2AD2B09B2B3EEFCF',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_probe','hello',X'4C4BB2D21BEB8555',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_probe','hello',X'98897FB452DBFD46',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_probe','hello',X'FB7811B9BEA805FE',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_severity','1',X'03B3660447CB9527',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_severity','1',X'09FE572188500275',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_severity','1',X'2495650F3C54BD75',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_severity','1',X'8D7D9DC29CF0A05C',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_system_name','debian',X'5404095045954B11',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_system_name','debian',X'8B658960DAB34ADE',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_system_name','debian',X'959E93347778355E',20783);
INSERT INTO "tag_sightings" VALUES('telemetrics_system_name','debian',X'B48F8698EAE3F7FC',20783);
CREATE TABLE tag_values (
        tag TEXT NOT NULL, value TEXT NOT NULL, day INTEGER NOT NULL, firm INTEGER NOT NULL,
        PRIMARY KEY (tag, value)
    ) WITHOUT ROWID;
INSERT INTO "tag_values" VALUES('arch','x86_64',20783,0);
INSERT INTO "tag_values" VALUES('asl_version','asl3-3.3.0',20783,0);
INSERT INTO "tag_values" VALUES('asterisk_version','22.2.0',20783,0);
INSERT INTO "tag_values" VALUES('channel','simpleusb',20783,0);
INSERT INTO "tag_values" VALUES('distro','Debian',20783,0);
INSERT INTO "tag_values" VALUES('release','12',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_arch','x86_64',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_build','12',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_domain','org.clearlinux',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_probe','hello',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_severity','1',20783,0);
INSERT INTO "tag_values" VALUES('telemetrics_system_name','debian',20783,0);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('erasures',3);
COMMIT;
PRAGMA user_version=1;
