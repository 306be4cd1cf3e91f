"""Who has read here until now stays a reader: such AE titles are put on the list.

Until now every AE title could query and retrieve while `validate_calling_ae` was off; from this
release on only those on the list can. Those that did so within three months are added, each with
the rights that it has used and a description that says so; what was called from this machine
only may call from there only. While `validate_calling_ae` is on, they are on the list already,
and nothing is added.

Locks and duration: reads the lines of C-FIND, C-GET and C-MOVE of three months by their index,
one second per million, and keeps nobody out.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

LIST_READERS = """
    INSERT INTO allowed_ae_titles (ae_title, description, expected_ip, rights)
    SELECT calling_ae, 'has read here before rights were asked for: listed by the upgrade',
        CASE WHEN bool_and(peer_address = ANY('{127.0.0.1,::1}'))
            AND min(peer_address) = max(peer_address) THEN min(peer_address) ELSE '' END,
        '{echo,store}'::text[]
        || CASE WHEN bool_or(kind = 'c-find') THEN '{query}'::text[] ELSE '{}' END
        || CASE WHEN bool_or(kind = 'c-get') THEN '{retrieve}'::text[] ELSE '{}' END
        || CASE WHEN bool_or(kind = 'c-move') THEN '{move}'::text[] ELSE '{}' END
    FROM transactions
    WHERE kind IN ('c-find', 'c-get', 'c-move') AND outcome <> 'failure'
        AND occurred_at > now() - interval '3 months'
        AND calling_ae ~ '^[ -~]{1,16}$' AND calling_ae !~ '^ | $|\\\\'
        AND NOT coalesce((SELECT (document->'security'->>'validate_calling_ae')::boolean
            FROM server_config ORDER BY version DESC LIMIT 1), false)
    GROUP BY calling_ae
    ON CONFLICT (ae_title) DO NOTHING
"""


def upgrade() -> None:
    op.execute(LIST_READERS)
