"""Tables as Pyncette 1.1.0 creates them, with the data that it had stored in them.

Taken from runs of that release with ``pyncette==1.1.0`` and its drivers in a separate environment: an app with one
task and two instances of a dynamic task ran for three seconds, and ``SHOW CREATE TABLE``, ``pg_indexes`` and
``sqlite_master`` told what was there then. ``{table}`` is the table's name.
"""
# ruff: noqa: S608 - made of constants

SPEC = (
    '{"name": "kept", "schedule": null, "interval": 777600.0, "execute_at": null, "timezone": null, "extra_args": {}}'
)

_IN_TEMPLATE = SPEC.replace("{", "{{").replace("}", "}}")

MYSQL = f"""
CREATE TABLE `{{table}}` (
  `name` varchar(256) NOT NULL,
  `parent_name` varchar(256) DEFAULT NULL,
  `locked_until` double DEFAULT NULL,
  `locked_by` varchar(256) DEFAULT NULL,
  `execute_after` double DEFAULT NULL,
  `task_spec` text,
  PRIMARY KEY (`name`),
  KEY `due_tasks_{{table}}` (`parent_name`,(greatest(coalesce(`locked_until`,0),coalesce(`execute_after`,0))))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci;
INSERT INTO `{{table}}` VALUES ('tick', NULL, NULL, NULL, 1795701931.475901, NULL);
INSERT INTO `{{table}}` VALUES ('work:kept', 'work', NULL, NULL, 1796479528.472468, '{_IN_TEMPLATE}')
"""
"""The table on MySQL. MariaDB has no indexes on expressions, so there 1.1.0 failed after it had created the table."""

MARIADB = f"""
CREATE TABLE `{{table}}` (name VARCHAR(256) PRIMARY KEY, parent_name VARCHAR(256), locked_until DOUBLE,
locked_by VARCHAR(256), execute_after DOUBLE, task_spec TEXT);
INSERT INTO `{{table}}` VALUES ('work:kept', 'work', NULL, NULL, 1796479528.472468, '{_IN_TEMPLATE}')
"""

POSTGRES = f"""
CREATE TABLE {{table}} (
    name text PRIMARY KEY, parent_name text, locked_until timestamptz, locked_by uuid, execute_after timestamptz,
    task_spec json
);
CREATE INDEX due_tasks_{{table}} ON {{table}} USING btree (parent_name, GREATEST(locked_until, execute_after));
INSERT INTO {{table}} VALUES ('tick', NULL, NULL, NULL, '2026-11-26 14:05:35.492872+00', NULL);
INSERT INTO {{table}} VALUES ('work:kept', 'work', NULL, NULL, '2026-12-05 14:05:32.491402+00', '{_IN_TEMPLATE}')
"""

SQLITE = f"""
CREATE TABLE {{table}} (
    name PRIMARY KEY,
    parent_name,
    locked_until timestamp,
    locked_by,
    execute_after timestamp,
    task_spec
);
CREATE INDEX due_tasks_{{table}}
    ON {{table}} (parent_name, MAX(COALESCE(locked_until, 0), COALESCE(execute_after, 0)));
INSERT INTO {{table}} VALUES ('tick', NULL, NULL, 'None', 1795701939.2803, NULL);
INSERT INTO {{table}} VALUES ('work:kept', 'work', NULL, NULL, 1796479536.252926, '{_IN_TEMPLATE}');
"""
