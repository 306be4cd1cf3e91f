"""Reads the newest configuration in the database, and lets an older database catch up.

A restored or new database may be older than the configuration that the suite has used since. The
storage volume keeps that configuration; it is added to the database under its version number.
"""

import json
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

from draw_shared.contracts.config_snapshot import ConfigSnapshot, allowed_peer

NEWEST: Final = text(
    """
    SELECT version, document,
        (SELECT coalesce(jsonb_agg(to_jsonb(listed) ORDER BY ae_title), '[]')
         FROM allowed_ae_titles listed WHERE active) AS allowed
    FROM server_config ORDER BY version DESC LIMIT 1
    """
)
ADD: Final = text(
    "INSERT INTO server_config (version, document, created_by, comment)"
    " VALUES (:version, CAST(:document AS jsonb), 'system', :comment)"
    " ON CONFLICT DO NOTHING RETURNING version"
)
DISALLOW: Final = text(
    "UPDATE allowed_ae_titles SET active = false, updated_at = now()"
    " WHERE active AND ae_title <> ALL(:ae_titles)"
)
ALLOW: Final = text(
    "INSERT INTO allowed_ae_titles (ae_title, expected_ip, rights, move_destinations, certificates)"
    " VALUES (:ae_title, :expected_ip, :rights, :move_destinations, :certificates)"
    " ON CONFLICT (ae_title) DO UPDATE SET expected_ip = excluded.expected_ip,"
    " rights = excluded.rights, move_destinations = excluded.move_destinations,"
    " certificates = excluded.certificates, active = true, updated_at = now()"
)


def newest(session: Session) -> ConfigSnapshot | None:
    """Return the version in force; None if the database has no configuration yet."""
    row = session.connection().execute(NEWEST).first()
    if row is None:
        return None
    return ConfigSnapshot(row.version, row.document, tuple(map(allowed_peer, row.allowed)))


def catch_up(session: Session, kept: ConfigSnapshot, found: int) -> bool:
    """Add the volume's configuration to a database that has only version `found`.

    The caller commits. Return False when another process was first.
    """
    connection = session.connection()
    added = connection.execute(
        ADD,
        {
            "version": kept.version,
            "document": json.dumps(kept.document),
            "comment": f"kept by the storage volume; the database had version {found}",
        },
    )
    if added.first() is None:
        return False
    connection.execute(DISALLOW, {"ae_titles": [peer.ae_title for peer in kept.allowed]})
    for peer in kept.allowed:
        connection.execute(
            ALLOW,
            {
                "ae_title": peer.ae_title,
                "expected_ip": peer.expected_ip,
                "rights": list(peer.rights),
                "move_destinations": list(peer.move_destinations),
                "certificates": list(peer.certificates),
            },
        )
    return True
