"""Manages who may associate: the list of AE titles, explanations, rejected peers.

The explanations use the same rules as the receiver.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from draw_api.models.paging import Page
from draw_api.models.peers import (
    AllowedAeTitle,
    AllowedAeTitleSettings,
    Caller,
    Explanation,
    PeerToAllow,
    Proposal,
    RejectedPeer,
    title_problem,
)
from draw_api.ports.peers import (
    AccessConfiguration,
    AeTitleRepository,
    CallerRepository,
    CallerTraffic,
    RejectionRepository,
)
from draw_api.ports.wakeups import WakeUps
from draw_api.services.peer_rules import (
    CURABLE,
    can_be_allowed,
    explain_proposal,
    refusal,
    with_denial,
)
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.association_rules import access_rules
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom.network import admission
from draw_shared.dicom.network.rights import EVERY_RIGHT, Right, known_rights
from draw_shared.wording import message

CALLERS_DAYS: Final = 30
ALLOWED_FROM_REJECTION: Final = message("allowed after a rejection")


class PeerService:
    """Manages peers for administrators."""

    def __init__(
        self,
        table: AeTitleRepository,
        rejections: RejectionRepository,
        callers: CallerRepository,
        settings: AccessConfiguration,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._rejections = rejections
        self._callers = callers
        self._settings = settings
        self._wakeups = wakeups
        self._audit = audit

    def allowed(self, cursor: str | None, limit: int) -> Page[AllowedAeTitle]:
        """Return a page of the list of AE titles."""
        return self._table.page(cursor, limit)

    def one(self, row_id: int) -> AllowedAeTitle:
        """Return one AE title of the list; NotFound when there is none."""
        found = self._table.one(row_id)
        if found is None:
            raise NotFound(message("There is no such allowed AE title."))
        return found

    def add(self, by: Principal, settings: AllowedAeTitleSettings) -> AllowedAeTitle:
        """Put an AE title on the list.

        Raises:
            Conflict: it is in the list already.
        """
        row_id = self._table.add(settings)
        if row_id is None:
            raise Conflict(
                message("%(ae_title)s is in the list already.", ae_title=settings.ae_title)
            )
        self._record_change(by, "ae_title.create", _describe_settings(settings))
        return self.one(row_id)

    def replace(
        self, by: Principal, row_id: int, settings: AllowedAeTitleSettings
    ) -> AllowedAeTitle:
        """Replace all settings of an AE title.

        Open associations may continue to store; queries and retrieves check the right again.

        Raises:
            NotFound: there is no such row.
            Conflict: another row has the AE title.
        """
        done = self._table.replace(row_id, settings)
        if done is None:
            raise NotFound(message("There is no such allowed AE title."))
        if not done:
            raise Conflict(
                message("%(ae_title)s is in the list already.", ae_title=settings.ae_title)
            )
        self._record_change(by, "ae_title.update", _describe_settings(settings))
        return self.one(row_id)

    def remove(self, by: Principal, row_id: int) -> None:
        """Remove an AE title from the list.

        Raises:
            NotFound: there is no such row.
        """
        ae_title = self._table.remove(row_id)
        if ae_title is None:
            raise NotFound(message("There is no such allowed AE title."))
        self._record_change(by, "ae_title.delete", ae_title)

    def rejected(
        self,
        since: datetime,
        until: datetime | None,
        cursor: str | None,
        limit: int,
        *,
        peer: str = "",
    ) -> Page[RejectedPeer]:
        """Return the peers rejected in this time, and whether allowing them would help now.

        With `peer` only those of this AE title or address.
        """
        page = self._rejections.rejected(since, until, cursor, limit, peer=peer)
        return Page(items=self.judge(page.items), next_cursor=page.next_cursor)

    def judge(self, rejected: Sequence[RejectedPeer]) -> list[RejectedPeer]:
        """Return rejected peers with what they lacked, and whether allowing them would help now."""
        if not rejected:
            return []
        _, rules = self._rules()
        return [
            peer.model_copy(update={"can_be_allowed": can_be_allowed(peer, rules)})
            for peer in map(with_denial, rejected)
        ]

    def callers(self) -> list[Caller]:
        """Return who associated lately, and whom the check of AE titles would reject."""
        _, rules = self._rules()
        checked = dataclasses.replace(rules, validate_calling_ae=True)
        return [_caller(one, checked) for one in self._callers.callers(CALLERS_DAYS)]

    def last_seen(self, ae_titles: Collection[str]) -> Mapping[str, datetime]:
        """Return when each of these AE titles called last."""
        return self._callers.last_seen(ae_titles)

    def loopback_reads(self) -> bool:
        """Return whether peers on a receiver's own machine may read without being on the list."""
        return self._table.loopback_reads()

    def rights_of_others(self) -> frozenset[Right]:
        """Return the rights of AE titles that are not on the list."""
        config, rules = self._rules()
        return frozenset() if config.security.validate_calling_ae else rules.unknown_rights

    def allow(self, by: Principal, peer: PeerToAllow) -> Explanation:
        """Allow a rejected peer: its AE title, and its address if addresses are restricted."""
        _, rules = self._rules()
        known = self._table.by_title(peer.calling_ae)
        settings = _settings_to_allow(peer, known, rules.unknown_rights)
        if known is None:
            self._table.add(settings)
        else:
            self._table.replace(known.id, settings)
        if rules.allowed_networks and not admission.within(peer.address, rules.allowed_networks):
            self._settings.allow_address(by, peer.address)
        self._record_change(by, "peer.allow", f"{_describe_settings(settings)}; {peer.address}")
        return self.explain(Proposal(calling_ae=peer.calling_ae, address=peer.address))

    def explain(self, proposal: Proposal) -> Explanation:
        """Return whether the receiver would accept a proposal, what the peer may do, and why."""
        config, rules = self._rules()
        return explain_proposal(proposal, config, rules)

    def explain_each(self, proposals: Sequence[Proposal | None]) -> list[Explanation | None]:
        """Return the explanation of each proposal by the rules of one moment."""
        if not proposals:
            return []
        config, rules = self._rules()
        return [None if one is None else explain_proposal(one, config, rules) for one in proposals]

    def _rules(self) -> tuple[ServerConfig, admission.AccessRules]:
        config = self._settings.current().document
        return config, access_rules(
            config, self._table.active(), loopback_reads=self._table.loopback_reads()
        )

    def _record_change(self, by: Principal, action: str, detail: str) -> None:
        self._audit.record(by, action, detail)
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.CONFIG))


def _caller(one: CallerTraffic, checked: admission.AccessRules) -> Caller:
    refused = refusal(one.calling_ae, one.peer_address, checked)
    return Caller(
        calling_ae=one.calling_ae,
        peer_address=one.peer_address,
        last_seen=one.last_seen,
        associations=one.associations,
        objects_in_24_hours=one.objects_in_24_hours,
        would_be_rejected=refused is not None,
        can_be_allowed=refused in CURABLE and not title_problem(one.calling_ae),
    )


def _settings_to_allow(
    peer: PeerToAllow, known: AllowedAeTitle | None, unknown_rights: frozenset[Right]
) -> AllowedAeTitleSettings:
    """Return the settings that allow a rejected peer; it keeps the rights that it has."""
    only_from = peer.address if peer.only_from_address else ""
    if known is None:
        rights = {*peer.rights, *unknown_rights} if peer.rights else set(EVERY_RIGHT)
        return AllowedAeTitleSettings(
            ae_title=peer.calling_ae,
            description=ALLOWED_FROM_REJECTION,
            expected_ip=only_from,
            rights=tuple(rights),
            move_destinations=(peer.move_destination,) if peer.move_destination else (),
        )
    expected = known.expected_ip if known.expected_ip in {"", peer.address} else only_from
    destinations = tuple(known.move_destinations)
    if destinations and peer.move_destination and peer.move_destination not in destinations:
        destinations += (peer.move_destination,)
    return AllowedAeTitleSettings(
        ae_title=known.ae_title,
        description=known.description,
        expected_ip=expected,
        rights=(*known_rights(known.rights), *peer.rights),
        move_destinations=destinations,
        certificates=tuple(known.certificates),
        settle_time_seconds=known.settle_time_seconds,
    )


def _describe_settings(settings: AllowedAeTitleSettings) -> str:
    """Return a line for the transaction log about the settings."""
    told = f"{settings.ae_title}: {', '.join(settings.rights) or message('no right')}"
    if settings.move_destinations:
        titles = ", ".join(settings.move_destinations)
        told += "; " + message("moves to %(titles)s", titles=titles)
    if settings.certificates:
        names = ", ".join(settings.certificates)
        told += "; " + message("bound to %(names)s", names=names)
    return told if settings.active else f"{told}; off"
