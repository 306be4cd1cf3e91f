"""The DICOM handler of the configuration becomes a rule of routing with its destination.

If the configuration in force hands complete series to a folder or to Celery workers, a new version
of the rules does so from now on: its first rule, which goes on to those after it. A new version of
the configuration lacks the section `handler`. An archive that handed nothing over loses the
section only.

Each series is handed over once. Those that consumer `handler` of the change feed had before it
are delivered by the rule; those behind it are not. Where there were no rules, routing starts at
its position. Where there were some, whose decisions must not be made again, deliveries are made
for what lies between both positions: pending ones for what the handler did not reach, and ended
ones for what routing has not reached yet.

An indexer of the release before holds a lock while it hands over. While one does, nothing happens
here and it goes on: this release's indexers call the function until it gets the lock. From then on
those of the release before hand nothing over, whatever configuration they still know: their
consumer stands behind every change that there will be. Should a release before have been back, its
settings become a rule again, or go on as the one that there is.

Locks and duration: keeps everybody from changing configuration and rules for a moment, and routing
from deciding. Reads the changes between both positions, of which there are few unless the handler
was behind.
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

HANDLER_LOCK = 3542143348280269743
"""What an indexer of the release before holds while it hands over: its hash of `handler`."""
BEYOND = 2**63 - 1
"""A position that no change ever has."""
NAME = "DICOM handler"
GIVE_UP_DAYS = 90
"""The longest that there is: the handler tried for ever."""
MAX_RULES = 200
MAX_DESTINATIONS = 100
MAX_CHARACTERS = 256 * 1024
COMMENT = "the handler of the configuration is a rule of routing now"
NO_ROOM = (
    "the rules of routing have no room for the handler of the configuration: remove a rule or a"
    " destination, then migrate again"
)

AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
SETTINGS = """
    SELECT c.document -> 'handler' INTO handler FROM server_config c
        ORDER BY c.version DESC LIMIT 1;
"""
# `..` is resolved as it is when a document of rules is saved.
PLACE = """
    IF handler -> 'auto_import' = 'true' OR handler -> 'copy_to_folder' = 'true' THEN
        FOREACH part IN ARRAY string_to_array(coalesce(handler ->> 'folder', ''), '/') LOOP
            IF part = '..' THEN
                parts := parts[1:cardinality(parts) - 1];
            ELSIF part NOT IN ('', '.') THEN
                parts := parts || part;
            END IF;
        END LOOP;
        IF handler ->> 'folder' LIKE '/%' AND cardinality(parts) > 0 THEN
            place := jsonb_build_object(
                'path', '/' || array_to_string(parts, '/'),
                'files', CASE WHEN handler -> 'copy_to_folder' = 'true' THEN 'copy' ELSE 'link' END,
                'ready_marker', '');
        END IF;
    END IF;
"""
DESTINATION = f"""
    IF handler -> 'trigger_processing' = 'true' AND handler ->> 'celery_task' ~ '[^[:space:]]' THEN
        destination := jsonb_build_object(
            'kind', 'celery',
            'task', handler ->> 'celery_task',
            'queue', CASE WHEN handler ->> 'celery_queue' ~ '[^[:space:]]'
                THEN handler ->> 'celery_queue' ELSE 'celery' END,
            'place', place);
    ELSIF place IS NOT NULL THEN
        destination := jsonb_build_object('kind', 'folder') || place;
    ELSE
        RETURN false;
    END IF;
    destination := destination || '{{"give_up_after_days": {GIVE_UP_DAYS}}}';
"""
# After a way back and forth the rule may be there already.
DOCUMENT = f"""
    SELECT d.version, d.document INTO in_force, written FROM routing_documents d
        ORDER BY d.version DESC LIMIT 1;
    without_rules := in_force IS NULL;
    rules := coalesce(written -> 'rules', '[]');
    destinations := coalesce(written -> 'destinations', '[]');
    SELECT e ->> 'name', r ->> 'name' INTO place_name, rule_name
        FROM jsonb_array_elements(destinations) e, jsonb_array_elements(rules) r
        WHERE e - 'name' = destination AND r @> jsonb_build_object('active', true,
            'trigger', 'series_complete', 'when', NULL,
            'destinations', jsonb_build_array(e -> 'name'))
        LIMIT 1;
    IF rule_name IS NULL THEN
        rule_name := '{NAME}';
        WHILE EXISTS (SELECT FROM jsonb_array_elements(rules || destinations) e
            WHERE lower(e ->> 'name') = lower(rule_name)) LOOP
            number := number + 1;
            rule_name := '{NAME} ' || number;
        END LOOP;
        place_name := rule_name;
        written := coalesce(written, '{{}}') || jsonb_build_object(
            'destinations', destinations || jsonb_build_array(
                destination || jsonb_build_object('name', place_name)),
            'rules', jsonb_build_array(jsonb_build_object('name', rule_name, 'active', true,
                'trigger', 'series_complete', 'when', NULL,
                'destinations', jsonb_build_array(place_name), 'stop', false)) || rules);
        IF jsonb_array_length(rules) >= {MAX_RULES}
            OR jsonb_array_length(destinations) >= {MAX_DESTINATIONS}
            OR length(written::text) > {MAX_CHARACTERS} THEN
            RAISE EXCEPTION '{NO_ROOM}';
        END IF;
        in_force := coalesce(in_force, 0) + 1;
        INSERT INTO routing_documents (version, document, created_by, comment)
            VALUES (in_force, written, 'system', '{COMMENT}');
    END IF;
"""  # noqa: S608 - our own words
# A position beyond everything is that of a handler that has handed nothing over since.
POSITIONS = f"""
    SELECT coalesce(max(sequence), 0) INTO newest FROM changes;
    INSERT INTO feed_positions (consumer, sequence)
        VALUES ('handler', newest), ('routing', newest) ON CONFLICT DO NOTHING;
    SELECT sequence INTO decided FROM feed_positions WHERE consumer = 'routing' FOR UPDATE;
    SELECT sequence INTO handed FROM feed_positions WHERE consumer = 'handler';
    UPDATE feed_positions SET sequence = {BEYOND}, updated_at = now() WHERE consumer = 'handler';
    IF handed = {BEYOND} THEN
        RETURN true;
    END IF;
    IF without_rules THEN
        UPDATE feed_positions SET sequence = handed, updated_at = now()
            WHERE consumer = 'routing';
        RETURN true;
    END IF;
"""  # noqa: S608 - our own words
DELIVERIES = f"""
    WITH between_both AS (
        SELECT c.sequence, s.study_instance_uid, r.series_instance_uid, r.instance_count
        FROM changes c JOIN series r ON r.series_instance_uid = c.series_instance_uid
        JOIN studies s ON s.id = r.study_pk
        WHERE c.kind = 'series.stable'
            AND c.sequence > least(handed, decided) AND c.sequence <= greatest(handed, decided)),
    made AS (
        INSERT INTO routing_decisions AS d (sequence, routing_version, trigger,
            study_instance_uid, series_instance_uid, applied, destinations)
        SELECT sequence, in_force, 'series_complete', study_instance_uid, series_instance_uid,
            ARRAY[rule_name], ARRAY[place_name]
        FROM between_both ORDER BY sequence
        ON CONFLICT (sequence) DO UPDATE SET applied = EXCLUDED.applied || d.applied,
            destinations = EXCLUDED.destinations || d.destinations
            WHERE NOT d.destinations @> EXCLUDED.destinations
        RETURNING d.id, d.sequence)
    INSERT INTO deliveries (decision_id, destination, study_instance_uid, series_instance_uid,
        state, instance_count, delivered_count, give_up_at, finished_at)
    SELECT m.id, place_name, b.study_instance_uid, b.series_instance_uid,
        CASE WHEN handed < decided THEN 'pending' ELSE 'delivered' END, b.instance_count,
        CASE WHEN handed < decided THEN 0 ELSE b.instance_count END,
        now() + interval '{GIVE_UP_DAYS} days', CASE WHEN handed > decided THEN now() END
    FROM made m JOIN between_both b USING (sequence) ORDER BY b.sequence;
    RETURN true;
"""  # noqa: S608 - our own words
TAKE_OVER = f"""
CREATE FUNCTION hand_over_by_rules() RETURNS boolean LANGUAGE plpgsql {AS_OWNER} AS $$
DECLARE
    handler jsonb;
    part text;
    parts text[] := '{{}}';
    place jsonb;
    destination jsonb;
    in_force integer;
    without_rules boolean;
    written jsonb;
    rules jsonb;
    destinations jsonb;
    place_name text;
    rule_name text;
    number integer := 1;
    newest bigint;
    handed bigint;
    decided bigint;
BEGIN
    {SETTINGS}
    IF handler IS NULL OR NOT pg_try_advisory_xact_lock({HANDLER_LOCK}) THEN
        RETURN false;
    END IF;
    LOCK TABLE server_config, routing_documents IN SHARE ROW EXCLUSIVE MODE;
    {SETTINGS}
    IF handler IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO server_config (version, document, created_by, comment)
        SELECT c.version + 1, c.document - 'handler', 'system', '{COMMENT}'
        FROM server_config c ORDER BY c.version DESC LIMIT 1;
    {PLACE} {DESTINATION} {DOCUMENT} {POSITIONS} {DELIVERIES}
END $$
"""  # noqa: S608 - our own words


def upgrade() -> None:
    op.execute(TAKE_OVER)
    op.execute("REVOKE ALL ON FUNCTION hand_over_by_rules() FROM PUBLIC")
    op.execute("SELECT hand_over_by_rules()")
