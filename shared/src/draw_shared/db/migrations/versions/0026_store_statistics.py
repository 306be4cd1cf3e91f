"""Received images are added up by day, sender and SOP class, for statistics.

A trigger adds what each statement writes to the transaction log, in its transaction: a line that
is delivered again is not written again, so it is not counted again either. It runs as the owner:
who writes the log needs no right to the sums.

What the log has already is counted by the indexer afterwards, day by day, for 90 days.

Locks and duration: makes two tables and three functions, which locks nothing; the trigger keeps
writers of the log out for an instant.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

AS_OWNER = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
# Two buckets for each doubling of the time, from a millisecond on; no time, and failures, apart.
BUCKET = """
CREATE FUNCTION store_bucket(outcome text, seconds double precision) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN outcome NOT IN ('success', 'warning') THEN -1
        WHEN seconds IS NULL THEN -2
        WHEN seconds <= 0.001 THEN 0
        ELSE least(40, ceil(2 * ln(seconds / 0.001) / ln(2))) END)::smallint
$$
"""
ADD_UP = """
    INSERT INTO public.store_statistics AS s
        (day, calling_ae, sop_class_uid, bucket, objects, size_bytes)
    SELECT (occurred_at AT TIME ZONE 'UTC')::date, coalesce(calling_ae, ''),
        coalesce(sop_class_uid, ''), public.store_bucket(outcome, duration_seconds), count(*),
        coalesce(sum(size_bytes) FILTER (WHERE outcome IN ('success', 'warning')), 0)
    FROM {lines} WHERE kind = 'c-store' {of_day}
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, calling_ae, sop_class_uid, bucket) DO UPDATE
        SET objects = s.objects + EXCLUDED.objects, size_bytes = s.size_bytes + EXCLUDED.size_bytes;
"""
KEEP = f"""
CREATE FUNCTION keep_store_statistics() RETURNS trigger LANGUAGE plpgsql {AS_OWNER} AS $$
BEGIN {ADD_UP.format(lines="came", of_day="")} RETURN NULL; END $$
"""
OF_DAY = """
    AND occurred_at >= counted::timestamp AT TIME ZONE 'UTC'
    AND occurred_at < (counted + 1)::timestamp AT TIME ZONE 'UTC'
"""
RECOUNT = f"""
CREATE FUNCTION recount_store_statistics(counted date) RETURNS void
LANGUAGE plpgsql {AS_OWNER} AS $$
BEGIN
    DELETE FROM public.store_statistics WHERE day = counted;
    {ADD_UP.format(lines="public.transactions", of_day=OF_DAY)}
    DELETE FROM public.store_statistics_backlog WHERE day = counted;
END $$
"""  # noqa: S608 - our own words
TRIGGER = """
CREATE TRIGGER keep_store_statistics AFTER INSERT ON transactions
    REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION keep_store_statistics()
"""
BACKLOG = """
    INSERT INTO store_statistics_backlog (day)
    SELECT today - n FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) clock,
        generate_series(0, 90) n
    WHERE EXISTS (SELECT FROM transactions
        WHERE kind = 'c-store' AND occurred_at > now() - interval '91 days')
"""


def upgrade() -> None:
    op.create_table(
        "store_statistics",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("calling_ae", sa.Text(collation="C"), nullable=False),
        sa.Column("sop_class_uid", sa.Text(collation="C"), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "calling_ae", "sop_class_uid", "bucket", name=op.f("pk_store_statistics")
        ),
    )
    op.create_table(
        "store_statistics_backlog",
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_store_statistics_backlog")),
    )
    for made in (BUCKET, KEEP, RECOUNT, TRIGGER, BACKLOG):
        op.execute(made)
    op.execute("REVOKE ALL ON FUNCTION recount_store_statistics(date) FROM PUBLIC")
