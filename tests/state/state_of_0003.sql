BEGIN TRANSACTION;
CREATE TABLE sao_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT sao_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "sao_alembic_version" VALUES('0003');
CREATE TABLE sao_builds (
	environment VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	relation TEXT NOT NULL, 
	code_version VARCHAR(64) NOT NULL, 
	code_parts TEXT NOT NULL, 
	definition VARCHAR(64) NOT NULL, 
	sql_id VARCHAR(64) NOT NULL, 
	inputs TEXT NOT NULL, 
	definitions TEXT NOT NULL, 
	data_version TEXT NOT NULL, 
	columns TEXT NOT NULL, 
	row_count INTEGER, 
	observed_at VARCHAR(40) NOT NULL, 
	built_at VARCHAR(40) NOT NULL, 
	seconds FLOAT NOT NULL, 
	run_id VARCHAR(255) NOT NULL, 
	sequence INTEGER NOT NULL, build_id VARCHAR(64), 
	PRIMARY KEY (environment, model)
);
INSERT INTO "sao_builds" VALUES('shop.dev','orders','"shop"."main"."orders"','2ef58b9bb359dc7d34502612','{"config":"2b7e0d77c891f5f956fe9583","relation":"143e00e6747424bfac634557","sql":"a270805fb1a52297adaefaa6"}','2ef58b9bb359dc7d34502612','0039cf928469f944d638ba37','{"source:raw.orders":"loaded_at:2026-03-02 08:00:00"}','{}','content:duckdb-2.0.1:b654a195ae41a42c472282ff','[["id","INTEGER"],["customer_id","INTEGER"],["at_","TIMESTAMP"]]',3,'2026-03-02T10:30:00+00:00','2026-03-02T10:30:00+00:00',1.46447299994179047644e-03,'5995e335cdb04060899c6293ce384c88',7,NULL);
INSERT INTO "sao_builds" VALUES('shop.dev','countries','"shop"."main"."countries"','4914b5ec37a79fe4313580cb','{"config":"411cf22ce2a8b70d434c00c5","relation":"b5ce7677ead8dd50308110d5","sql":"b4964781aa237837d18cdfca"}','4914b5ec37a79fe4313580cb','8fbb92eb5ead7dcdbc83f14e','{}','{}','content:duckdb-2.0.1:8086fcb14d840e4c54cf3b24','[["code","VARCHAR"],["name","VARCHAR"]]',2,'2026-03-02T09:30:00+00:00','2026-03-02T09:30:00+00:00',0.0458312969999497,'243cbda800f2450c8fb5852ae60338e6',2,NULL);
INSERT INTO "sao_builds" VALUES('shop.dev','customers','"shop"."main"."customers"','52340dc146708e861947a0bd','{"config":"2b7e0d77c891f5f956fe9583","relation":"3a5498538fb1889c8924f464","sql":"983e4108e7a8df937328663a"}','52340dc146708e861947a0bd','f1547c272bed21541c1a0c97','{"countries":"content:duckdb-2.0.1:8086fcb14d840e4c54cf3b24","source:raw.customers":"content:duckdb-2.0.1:9bc4206366e25c70ea39e9a9"}','{}','content:duckdb-2.0.1:15e988520fa5bf793a9dfe4d','[["id","INTEGER"],["name","VARCHAR"]]',2,'2026-03-02T09:30:00+00:00','2026-03-02T09:30:00+00:00',2.85579809997216216288e-02,'243cbda800f2450c8fb5852ae60338e6',3,NULL);
INSERT INTO "sao_builds" VALUES('shop.dev','log','"shop"."main"."log"','df9d0f79e0ecb0aba7d9899a','{"config":"98a5e1dc720c2bd41ff7e9c7","relation":"919b35ae04815cffd0eb8180","sql":"bc9aea0ceb81f4927c4040c9"}','df9d0f79e0ecb0aba7d9899a','351ab1704591ceadbc2eba30','{"orders":"content:duckdb-2.0.1:b654a195ae41a42c472282ff"}','{}','content:duckdb-2.0.1:35407b735eba64e74a74d4e1','[["id","INTEGER"],["at_","TIMESTAMP"]]',3,'2026-03-02T10:30:00+00:00','2026-03-02T10:30:00+00:00',6.41882899981283117085e-03,'5995e335cdb04060899c6293ce384c88',8,NULL);
INSERT INTO "sao_builds" VALUES('shop.dev','current','"shop"."main"."current"','422c206ab60b4d5f83ce8ab5','{"config":"78fb63851dc4cea0f642b884","relation":"f79adac63abb3580472d9d66","sql":"30e96ec40660ef5d40d120b5"}','422c206ab60b4d5f83ce8ab5','986c164ee8df1ab017136539','{"orders":"schema:90ecffa31ab624f5b633a2cf"}','{}','view-definition:b9b313b429053b1421d1fc3e','[["id","INTEGER"],["customer_id","INTEGER"]]',NULL,'2026-03-02T09:30:00+00:00','2026-03-02T09:30:00+00:00',3.82783399982145056128e-03,'243cbda800f2450c8fb5852ae60338e6',5,NULL);
INSERT INTO "sao_builds" VALUES('shop.dev','priced','"shop"."main"."priced"','9592c7cd5502086427487338','{"config":"2b7e0d77c891f5f956fe9583","relation":"0813c6ef2e09c8e8b73ac77a","sql":"efa6bf6619722c22f2f53970"}','9592c7cd5502086427487338','f880d575b33323abce562d21','{"orders":"content:duckdb-2.0.1:b654a195ae41a42c472282ff","source:raw.prices":"files:74ae9df2d1c77479629dc5cb"}','{"current":"422c206ab60b4d5f83ce8ab5"}','content:duckdb-2.0.1:5338946110b98f054ff749ad','[["id","INTEGER"],["price","BIGINT"]]',3,'2026-03-02T10:30:00+00:00','2026-03-02T10:30:00+00:00',1.88393329999598790891e-02,'5995e335cdb04060899c6293ce384c88',9,NULL);
CREATE TABLE sao_contents (
	environment VARCHAR(255) NOT NULL, 
	stamp VARCHAR(64) NOT NULL, 
	contents TEXT NOT NULL, 
	PRIMARY KEY (environment)
);
INSERT INTO "sao_contents" VALUES('shop.dev','b5acbe260df6242ef5e5c47b','{"\"shop\".\"main\".\"countries\"":"content:duckdb-2.0.1:8086fcb14d840e4c54cf3b24","\"shop\".\"main\".\"customers\"":"content:duckdb-2.0.1:15e988520fa5bf793a9dfe4d","\"shop\".\"main\".\"log\"":"content:duckdb-2.0.1:35407b735eba64e74a74d4e1","\"shop\".\"main\".\"orders\"":"content:duckdb-2.0.1:b654a195ae41a42c472282ff","\"shop\".\"main\".\"priced\"":"content:duckdb-2.0.1:5338946110b98f054ff749ad","\"shop\".\"raw\".\"customers\"":"content:duckdb-2.0.1:9bc4206366e25c70ea39e9a9"}');
CREATE TABLE sao_decisions (
	id INTEGER NOT NULL, 
	run_id VARCHAR(255) NOT NULL, 
	environment VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	reason VARCHAR(32) NOT NULL, 
	evidence TEXT NOT NULL, 
	decided_at VARCHAR(40) NOT NULL, 
	seconds FLOAT NOT NULL, 
	seconds_saved FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sao_decisions" VALUES(1,'243cbda800f2450c8fb5852ae60338e6','shop.dev','orders','built','never_built','{}','2026-03-02T09:30:00+00:00',1.41271000029519200325e-03,0.0);
INSERT INTO "sao_decisions" VALUES(2,'243cbda800f2450c8fb5852ae60338e6','shop.dev','countries','built','never_built','{}','2026-03-02T09:30:00+00:00',0.0458312969999497,0.0);
INSERT INTO "sao_decisions" VALUES(3,'243cbda800f2450c8fb5852ae60338e6','shop.dev','customers','built','never_built','{}','2026-03-02T09:30:00+00:00',2.85579809997216216288e-02,0.0);
INSERT INTO "sao_decisions" VALUES(4,'243cbda800f2450c8fb5852ae60338e6','shop.dev','log','built','never_built','{}','2026-03-02T09:30:00+00:00',1.40789299985044635832e-03,0.0);
INSERT INTO "sao_decisions" VALUES(5,'243cbda800f2450c8fb5852ae60338e6','shop.dev','current','built','never_built','{}','2026-03-02T09:30:00+00:00',3.82783399982145056128e-03,0.0);
INSERT INTO "sao_decisions" VALUES(6,'243cbda800f2450c8fb5852ae60338e6','shop.dev','priced','built','never_built','{}','2026-03-02T09:30:00+00:00',1.61871489999612094834e-02,0.0);
INSERT INTO "sao_decisions" VALUES(7,'243cbda800f2450c8fb5852ae60338e6','shop.dev','unique_orders_id','ran','never_run','{"verdict":"pass"}','2026-03-02T09:29:58.505279+00:00',9.83783000037874444387e-04,0.0);
INSERT INTO "sao_decisions" VALUES(8,'243cbda800f2450c8fb5852ae60338e6','shop.dev','not_null_orders_id','ran','never_run','{"verdict":"pass"}','2026-03-02T09:29:58.505279+00:00',9.83783000037874444387e-04,0.0);
INSERT INTO "sao_decisions" VALUES(9,'243cbda800f2450c8fb5852ae60338e6','shop.dev','not_null_current_id','ran','never_run','{"verdict":"pass"}','2026-03-02T09:29:58.505279+00:00',1.21377799996480462141e-03,0.0);
INSERT INTO "sao_decisions" VALUES(10,'5995e335cdb04060899c6293ce384c88','shop.dev','countries','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T10:30:00+00:00',0.0,0.0458312969999497);
INSERT INTO "sao_decisions" VALUES(11,'5995e335cdb04060899c6293ce384c88','shop.dev','customers','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T10:30:00+00:00',0.0,2.85579809997216216288e-02);
INSERT INTO "sao_decisions" VALUES(12,'5995e335cdb04060899c6293ce384c88','shop.dev','orders','built','new_data','{"news":[{"input":"source:raw.orders","new":"loaded_at:2026-03-02 08:00:00","old":"loaded_at:2026-03-02 00:00:00"}]}','2026-03-02T10:30:00+00:00',1.46447299994179047644e-03,0.0);
INSERT INTO "sao_decisions" VALUES(13,'5995e335cdb04060899c6293ce384c88','shop.dev','current','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T10:30:00+00:00',0.0,3.82783399982145056128e-03);
INSERT INTO "sao_decisions" VALUES(14,'5995e335cdb04060899c6293ce384c88','shop.dev','log','built','new_data','{"news":[{"input":"orders","new":"content:duckdb-2.0.1:b654a195ae41a42c472282ff","old":"content:duckdb-2.0.1:d0570af4859948fd67b4d311"}]}','2026-03-02T10:30:00+00:00',6.41882899981283117085e-03,0.0);
INSERT INTO "sao_decisions" VALUES(15,'5995e335cdb04060899c6293ce384c88','shop.dev','priced','built','new_data','{"news":[{"input":"orders","new":"content:duckdb-2.0.1:b654a195ae41a42c472282ff","old":"content:duckdb-2.0.1:d0570af4859948fd67b4d311"}]}','2026-03-02T10:30:00+00:00',1.88393329999598790891e-02,0.0);
INSERT INTO "sao_decisions" VALUES(16,'5995e335cdb04060899c6293ce384c88','shop.dev','unique_orders_id','ran','new_data','{"inputs":["orders"],"verdict":"pass"}','2026-03-02T10:29:59.832875+00:00',2.23532499990142241585e-03,0.0);
INSERT INTO "sao_decisions" VALUES(17,'5995e335cdb04060899c6293ce384c88','shop.dev','not_null_orders_id','ran','new_data','{"inputs":["orders"],"verdict":"pass"}','2026-03-02T10:29:59.832875+00:00',2.23532499990142241585e-03,0.0);
INSERT INTO "sao_decisions" VALUES(18,'5995e335cdb04060899c6293ce384c88','shop.dev','not_null_current_id','ran','new_data','{"inputs":["current"],"verdict":"pass"}','2026-03-02T10:29:59.832875+00:00',1.58368610000252374447e-02,0.0);
INSERT INTO "sao_decisions" VALUES(19,'3e953eeb26704b18aef8d0136b14552f','shop.dev','countries','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,0.0458312969999497);
INSERT INTO "sao_decisions" VALUES(20,'3e953eeb26704b18aef8d0136b14552f','shop.dev','orders','reused','no_new_data','{"built_at":"2026-03-02T10:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,1.46447299994179047644e-03);
INSERT INTO "sao_decisions" VALUES(21,'3e953eeb26704b18aef8d0136b14552f','shop.dev','customers','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,2.85579809997216216288e-02);
INSERT INTO "sao_decisions" VALUES(22,'3e953eeb26704b18aef8d0136b14552f','shop.dev','current','reused','no_new_data','{"built_at":"2026-03-02T09:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,3.82783399982145056128e-03);
INSERT INTO "sao_decisions" VALUES(23,'3e953eeb26704b18aef8d0136b14552f','shop.dev','log','reused','no_new_data','{"built_at":"2026-03-02T10:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,6.41882899981283117085e-03);
INSERT INTO "sao_decisions" VALUES(24,'3e953eeb26704b18aef8d0136b14552f','shop.dev','priced','reused','no_new_data','{"built_at":"2026-03-02T10:30:00+00:00"}','2026-03-02T11:30:00+00:00',0.0,1.88393329999598790891e-02);
INSERT INTO "sao_decisions" VALUES(25,'3e953eeb26704b18aef8d0136b14552f','shop.dev','unique_orders_id','reused','no_new_data','{"run_at":"2026-03-02T10:30:00+00:00","run_id":"5995e335cdb04060899c6293ce384c88","verdict":"pass"}','2026-03-02T11:29:59.802314+00:00',0.0,2.23532499990142241585e-03);
INSERT INTO "sao_decisions" VALUES(26,'3e953eeb26704b18aef8d0136b14552f','shop.dev','not_null_orders_id','reused','no_new_data','{"run_at":"2026-03-02T10:30:00+00:00","run_id":"5995e335cdb04060899c6293ce384c88","verdict":"pass"}','2026-03-02T11:29:59.802314+00:00',0.0,2.23532499990142241585e-03);
INSERT INTO "sao_decisions" VALUES(27,'3e953eeb26704b18aef8d0136b14552f','shop.dev','not_null_current_id','reused','no_new_data','{"run_at":"2026-03-02T10:30:00+00:00","run_id":"5995e335cdb04060899c6293ce384c88","verdict":"pass"}','2026-03-02T11:29:59.802314+00:00',0.0,1.58368610000252374447e-02);
CREATE TABLE sao_leases (
	environment VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	fence INTEGER NOT NULL, 
	holder VARCHAR(64), 
	run_id VARCHAR(255), 
	taken_at FLOAT, 
	expires_at FLOAT, seconds FLOAT, 
	PRIMARY KEY (environment, model)
);
INSERT INTO "sao_leases" VALUES('shop.dev','countries',1,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sao_leases" VALUES('shop.dev','orders',2,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sao_leases" VALUES('shop.dev','customers',1,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sao_leases" VALUES('shop.dev','current',1,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sao_leases" VALUES('shop.dev','log',2,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sao_leases" VALUES('shop.dev','priced',2,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE sao_marks (
	environment VARCHAR(255) NOT NULL, 
	scope VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	mark VARCHAR(255) NOT NULL, 
	PRIMARY KEY (environment, scope, name)
);
INSERT INTO "sao_marks" VALUES('shop.dev','shown by shop_evaluator','orders','5f1c 2026-03-02');
CREATE TABLE sao_runs (
	run_id VARCHAR(255) NOT NULL, 
	environment VARCHAR(255) NOT NULL, 
	mode VARCHAR(32) NOT NULL, 
	started_at VARCHAR(40) NOT NULL, 
	finished_at VARCHAR(40) NOT NULL, 
	summary TEXT NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "sao_runs" VALUES('243cbda800f2450c8fb5852ae60338e6','shop.dev','state-aware','2026-03-02T09:29:58.505279+00:00','2026-03-02T09:30:00+00:00','{"built":6,"failed":0,"reused":0,"seconds":1.82,"seconds_saved":0.0,"skipped":0,"test_statements":2,"tests_proven":0,"tests_ran":3,"tests_reused":0}');
INSERT INTO "sao_runs" VALUES('5995e335cdb04060899c6293ce384c88','shop.dev','state-aware','2026-03-02T10:29:59.832875+00:00','2026-03-02T10:30:00+00:00','{"built":3,"failed":0,"reused":3,"seconds":0.323,"seconds_saved":-0.022,"skipped":0,"test_statements":2,"tests_proven":0,"tests_ran":3,"tests_reused":0}');
INSERT INTO "sao_runs" VALUES('3e953eeb26704b18aef8d0136b14552f','shop.dev','state-aware','2026-03-02T11:29:59.802314+00:00','2026-03-02T11:30:00+00:00','{"built":0,"failed":0,"reused":6,"seconds":0.201,"seconds_saved":0.026,"skipped":0,"test_statements":0,"tests_proven":0,"tests_ran":0,"tests_reused":3}');
CREATE TABLE sao_sql (
	id VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sao_sql" VALUES('0039cf928469f944d638ba37','["select id, customer_id, at_ from \"shop\".\"raw\".\"orders\"", null]');
INSERT INTO "sao_sql" VALUES('8fbb92eb5ead7dcdbc83f14e','["", null]');
INSERT INTO "sao_sql" VALUES('f1547c272bed21541c1a0c97','["select c.id, n.name from \"shop\".\"raw\".\"customers\" as c join \"shop\".\"main\".\"countries\" as n on n.code = c.country", null]');
INSERT INTO "sao_sql" VALUES('351ab1704591ceadbc2eba30','["\nselect id, at_ from \"shop\".\"main\".\"orders\"", "\nselect id, at_ from \"shop\".\"main\".\"orders\" where at_ > (select max(at_) from \"shop\".\"main\".\"log\")"]');
INSERT INTO "sao_sql" VALUES('986c164ee8df1ab017136539','["\nselect id, customer_id from \"shop\".\"main\".\"orders\"", null]');
INSERT INTO "sao_sql" VALUES('f880d575b33323abce562d21','["select o.id, p.price from \"shop\".\"main\".\"current\" as o left join read_csv(''/srv/shop/in/*.csv'', header = true) as p on p.id = o.id", null]');
CREATE TABLE sao_tests (
	environment VARCHAR(255) NOT NULL, 
	test VARCHAR(255) NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	inputs TEXT NOT NULL, 
	verdict VARCHAR(16) NOT NULL, 
	failures INTEGER NOT NULL, 
	run_at VARCHAR(40) NOT NULL, 
	seconds FLOAT NOT NULL, 
	run_id VARCHAR(255) NOT NULL, 
	PRIMARY KEY (environment, test)
);
INSERT INTO "sao_tests" VALUES('shop.dev','not_null_orders_id','464ada3aef95ccf5bb688ff9','{"orders":"content:duckdb-2.0.1:b654a195ae41a42c472282ff"}','pass',0,'2026-03-02T10:30:00+00:00',2.23532499990142241585e-03,'5995e335cdb04060899c6293ce384c88');
INSERT INTO "sao_tests" VALUES('shop.dev','unique_orders_id','15daef59638cd5359e98af25','{"orders":"content:duckdb-2.0.1:b654a195ae41a42c472282ff"}','pass',0,'2026-03-02T10:30:00+00:00',2.23532499990142241585e-03,'5995e335cdb04060899c6293ce384c88');
INSERT INTO "sao_tests" VALUES('shop.dev','not_null_current_id','12f535e14f05359d1b8aabbd','{"current":"view:3fee820cbd4f6b83f4233b5b"}','pass',0,'2026-03-02T10:30:00+00:00',1.58368610000252374447e-02,'5995e335cdb04060899c6293ce384c88');
CREATE TABLE sao_versions (
	id INTEGER NOT NULL, 
	environment VARCHAR(255) NOT NULL, 
	relation VARCHAR(255) NOT NULL, 
	version TEXT NOT NULL, 
	seen_at VARCHAR(40) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sao_versions" VALUES(1,'shop.dev','source:raw.orders','loaded_at:2026-03-02 00:00:00','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(2,'shop.dev','source:raw.prices','files:74ae9df2d1c77479629dc5cb','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(3,'shop.dev','source:raw.customers','content:duckdb-2.0.1:9bc4206366e25c70ea39e9a9','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(4,'shop.dev','orders','content:duckdb-2.0.1:d0570af4859948fd67b4d311','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(5,'shop.dev','countries','content:duckdb-2.0.1:8086fcb14d840e4c54cf3b24','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(6,'shop.dev','customers','content:duckdb-2.0.1:15e988520fa5bf793a9dfe4d','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(7,'shop.dev','log','content:duckdb-2.0.1:7cf7188d083a28859be2f304','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(8,'shop.dev','current','view-definition:b9b313b429053b1421d1fc3e','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(9,'shop.dev','priced','content:duckdb-2.0.1:2b9c96c52c8f3ab8408b319d','2026-03-02T09:30:00+00:00');
INSERT INTO "sao_versions" VALUES(10,'shop.dev','source:raw.orders','loaded_at:2026-03-02 08:00:00','2026-03-02T10:30:00+00:00');
INSERT INTO "sao_versions" VALUES(11,'shop.dev','orders','content:duckdb-2.0.1:b654a195ae41a42c472282ff','2026-03-02T10:30:00+00:00');
INSERT INTO "sao_versions" VALUES(12,'shop.dev','log','content:duckdb-2.0.1:35407b735eba64e74a74d4e1','2026-03-02T10:30:00+00:00');
INSERT INTO "sao_versions" VALUES(13,'shop.dev','priced','content:duckdb-2.0.1:5338946110b98f054ff749ad','2026-03-02T10:30:00+00:00');
CREATE TABLE sao_waiters (
	id INTEGER NOT NULL, 
	environment VARCHAR(255) NOT NULL, 
	model VARCHAR(255) NOT NULL, 
	holder VARCHAR(64) NOT NULL, 
	run_id VARCHAR(255) NOT NULL, 
	asked_at FLOAT NOT NULL, 
	expires_at FLOAT NOT NULL, seconds FLOAT, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_sao_builds_sequence ON sao_builds (sequence);
CREATE INDEX ix_sao_versions_relation ON sao_versions (relation);
CREATE INDEX ix_sao_versions_environment ON sao_versions (environment);
CREATE INDEX ix_sao_runs_environment ON sao_runs (environment);
CREATE INDEX ix_sao_decisions_run_id ON sao_decisions (run_id);
CREATE INDEX ix_sao_decisions_model ON sao_decisions (model);
CREATE INDEX ix_sao_waiters_place ON sao_waiters (environment, model, id);
COMMIT;
