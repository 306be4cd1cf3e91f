"""Seals the paths of objects for messages; only processes with the storage volume can open them.

A path may contain a Patient ID, and messages stay on the broker's disk, in its backups and in
dead letters. A sealed path is bound to one version of one object and does not open in another
message.
"""

import base64
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from draw_shared.contracts.instance import WITHHELD, InstanceStoredV1, InstanceStoredV2
from draw_shared.errors import Permanent
from draw_shared.storage.place_key import PlaceKey, PlaceKeyDamaged
from draw_shared.wording import message


class Unopened(Permanent):
    """A path was sealed with the key of another volume, or this volume has no key yet."""


class Places:
    """Seals and opens the paths of one storage volume; safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        self._file = PlaceKey(root)
        self._cipher: AESSIV | None = None
        self._form: InstanceStoredV2 | None = None

    def make(self) -> None:
        """Create the key unless it exists.

        Raises:
            OSError, PlaceKeyDamaged: there is no usable key.
        """
        if self._cipher is None:
            self._file.make()
            self._cipher = self._read()

    def seal(self, event: InstanceStoredV1) -> InstanceStoredV2:
        """Return the announcement with its path sealed, ready to be published.

        Raises:
            OSError, PlaceKeyDamaged: there is no key and none can be created.
        """
        self.make()
        cipher = self._cipher or self._read()
        place = cipher.encrypt(event.path.encode(), _bound_to(event))
        known = {
            **vars(event),
            "schema_version": InstanceStoredV2.model_fields["schema_version"].default,
            "path": WITHHELD,
            "place": base64.urlsafe_b64encode(place).decode(),
        }
        # Thousands per second: all other fields are validated already, and a copy takes half
        # the time.
        if self._form is None:
            self._form = InstanceStoredV2.model_construct(**known)
        return self._form.model_copy(update=known)

    def unseal(self, event: InstanceStoredV2) -> str:
        """Return the path of an announced object.

        Raises:
            Unopened: the key of this volume does not open the path.
        """
        for known in (self._cipher, None):
            try:
                self._cipher = cipher = known or self._read()
                place = base64.urlsafe_b64decode(event.place)
                return cipher.decrypt(place, _bound_to(event)).decode()
            except (InvalidTag, ValueError):
                # The root may have another volume by now, or an older copy.
                continue
            except (OSError, PlaceKeyDamaged) as error:
                raise Unopened(
                    message("the storage volume has no key for where objects lie")
                ) from error
        raise Unopened(
            message("the key of this storage volume does not open where the object lies")
        )

    def _read(self) -> AESSIV:
        return AESSIV(self._file.read())


def _bound_to(event: InstanceStoredV1) -> list[bytes]:
    return [event.sop_instance_uid.encode(), event.content_sha256.encode()]
