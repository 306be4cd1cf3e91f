"""Lines of the transaction log join its chain, and its months come and go, by functions.

They are the owner's. Who writes the log can then be a role that may only add lines to it.

Locks and duration: makes three functions, which locks nothing. The release before goes on with its
own statements as the owner.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

# All run as the owner of the tables, whoever calls, and look for names nowhere else.
MAKE = """
CREATE FUNCTION make_transaction_month(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    first timestamp := date_trunc('month', month::timestamp);
    beginning timestamptz := first AT TIME ZONE 'UTC';
    ending timestamptz := (first + interval '1 month') AT TIME ZONE 'UTC';
    part text := 'transactions_' || to_char(first, 'YYYY_MM');
BEGIN
    IF EXISTS (SELECT FROM pg_class c WHERE c.relname = part
            AND c.relnamespace = 'public'::regnamespace) THEN
        RETURN false;
    END IF;
    LOCK TABLE public.transactions IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.transactions INCLUDING DEFAULTS)', part);
    EXECUTE format('WITH early AS (DELETE FROM public.transactions_default'
        ' WHERE occurred_at >= %L AND occurred_at < %L RETURNING *)'
        ' INSERT INTO public.%I SELECT * FROM early', beginning, ending, part);
    EXECUTE format('ALTER TABLE public.transactions ATTACH PARTITION public.%I'
        ' FOR VALUES FROM (%L) TO (%L)', part, beginning, ending);
    RETURN true;
END $$
"""
DROP_OLD = """
CREATE FUNCTION drop_transaction_months(first date) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before timestamptz := date_trunc('month', first::timestamp) AT TIME ZONE 'UTC';
    part text;
BEGIN
    IF before > date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' THEN
        RAISE EXCEPTION 'the current month of the transaction log stays';
    END IF;
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.transactions'::regclass
            AND c.relname ~ '^transactions_[0-9]{4}_[0-9]{2}$'
            AND c.relname < 'transactions_' || to_char(first, 'YYYY_MM')
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE public.%I', part);
        RETURN NEXT part;
    END LOOP;
    DELETE FROM public.transactions_default WHERE occurred_at < before;
END $$
"""
LINK = """
CREATE FUNCTION link_transactions(ids bigint[], times timestamptz[], positions bigint[],
    hashes text[], sealed bigint, seal text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE public.transactions t SET chain_position = k.position,
        chain_hash = decode(k.hash, 'hex'),
        seal = CASE WHEN k.position = $5 THEN decode($6, 'hex') END
    FROM unnest($1, $2, $3, $4) AS k (id, at, position, hash)
    WHERE t.id = k.id AND t.occurred_at = k.at AND t.chain_hash IS NULL
$$
"""


def upgrade() -> None:
    for made in (MAKE, DROP_OLD, LINK):
        op.execute(made)
    op.execute(
        "REVOKE ALL ON FUNCTION make_transaction_month(date), drop_transaction_months(date),"
        " link_transactions(bigint[], timestamptz[], bigint[], text[], bigint, text)"
        " FROM PUBLIC"
    )
