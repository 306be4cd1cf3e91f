"""Where objects lie, sealed for messages: whoever has the storage volume can open it, nobody else.

Folders may be named by Patient ID, and messages stay on the broker's disk, in its backups and in
dead letters. What is sealed is good for one version of one object: moved into another message it
does not open.
"""

import base64
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from draw_shared.contracts.instance import WITHHELD, InstanceStoredV1, InstanceStoredV2
from draw_shared.errors import Permanent
from draw_shared.storage.place_key import PlaceKey, PlaceKeyDamaged


class Unopened(Permanent):
    """Where an object lies was sealed with another volume's key, or the key is not here yet."""


class Places:
    """The places on one storage volume; any thread may ask."""

    def __init__(self, root: Path) -> None:
        self._file = PlaceKey(root)
        self._cipher: AESSIV | None = None
        self._form: InstanceStoredV2 | None = None

    def make(self) -> None:
        """Have a key, unless there is one.

        Raises:
            OSError, PlaceKeyDamaged: there is none.
        """
        if self._cipher is None:
            self._file.make()
            self._cipher = self._read()

    def sealed(self, event: InstanceStoredV1) -> InstanceStoredV2:
        """Return what may leave of an announcement.

        Raises:
            OSError, PlaceKeyDamaged: there is no key, and none can be made.
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
        # Thousands come a second: all that is not made here was validated, and a copy is made in
        # half the time.
        if self._form is None:
            self._form = InstanceStoredV2.model_construct(**known)
        return self._form.model_copy(update=known)

    def opened(self, event: InstanceStoredV2) -> str:
        """Return the path of an announced object.

        Raises:
            Unopened: the key of this volume does not open it.
        """
        for known in (self._cipher, None):
            try:
                self._cipher = cipher = known or self._read()
                place = base64.urlsafe_b64decode(event.place)
                return cipher.decrypt(place, _bound_to(event)).decode()
            except (InvalidTag, ValueError):
                # Another volume may lie under the root by now, or an older copy.
                continue
            except (OSError, PlaceKeyDamaged) as error:
                raise Unopened("the storage volume has no key for where objects lie") from error
        raise Unopened("the key of this storage volume does not open where the object lies")

    def _read(self) -> AESSIV:
        return AESSIV(self._file.read())


def _bound_to(event: InstanceStoredV1) -> list[bytes]:
    return [event.sop_instance_uid.encode(), event.content_sha256.encode()]
