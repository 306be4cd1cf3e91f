"""What is done to several studies at once: download, send, hold, delete.

Each is asked for on a page that names every study, and answered for each study in words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.downloads import archive_headers
from draw_api.handlers.web.forms import CHOOSE_A_NODE, validate_form
from draw_api.handlers.web.languages import _, ngettext, said
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.visitor import (
    CheckedForm,
    SubmittedForm,
    form_requires,
    page_requires,
)
from draw_api.handlers.web.words import count
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.archive import Study
from draw_api.models.jobs import NewSend
from draw_api.models.nodes import Node
from draw_api.models.own_paths import own_path
from draw_api.models.storage import CleanUpAge, Hold
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, Invalid, NotFound, Refusal
from draw_shared.contracts.identifiers import MAX_UID_LENGTH
from draw_shared.contracts.texts import UID
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

MayReadArchive = Annotated[Principal, page_requires(Permission.READ_ARCHIVE)]
DownloadObjectsAct = Annotated[SubmittedForm, form_requires(Permission.DOWNLOAD_OBJECTS)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]
HoldStudiesAct = Annotated[SubmittedForm, form_requires(Permission.HOLD_STUDIES)]
DeleteStudiesAct = Annotated[SubmittedForm, form_requires(Permission.DELETE_STUDIES)]

MAX_SELECTED: Final = 100
"""More than a page of a list has."""
CLEAN_UP: Final = "/storage/clean-up"


@dataclass(frozen=True, slots=True)
class SelectedStudy:
    """A study of the selection; `study` is None when the archive does not have it any more."""

    study_instance_uid: str
    study: Study | None
    words: str = ""
    """What was done to it, or why not, or what will not be done."""
    failed: bool = False
    path: str = ""
    """Where to see what was done."""


@dataclass(frozen=True, slots=True)
class SelectionQuestionView(View):
    """Asks whether something is to be done to each study."""

    template: ClassVar[str] = "studies/question.html.jinja"

    title: str
    text: str
    button: str
    action: str
    back: str
    studies: list[SelectedStudy]
    nodes: list[Node]
    reason: bool = False
    typed: str = ""
    problem: str = ""
    """What is wrong with the reason or the node."""
    danger: bool = False
    excess: str = ""
    """That more are selected than these."""
    fields: tuple[tuple[str, str], ...] = ()
    """What the question is about beside the studies, by name and value."""

    @property
    def listed(self) -> str:
        """What the list is called from which the studies were chosen."""
        return _listed(self.back)

    @property
    def size_bytes(self) -> int:
        """How much the studies take up."""
        return sum(one.study.size_bytes for one in self.studies if one.study is not None)


@dataclass(frozen=True, slots=True)
class SelectionAnswerView(View):
    """Says for each study what was done."""

    template: ClassVar[str] = "studies/answer.html.jinja"

    title: str
    back: str
    studies: list[SelectedStudy]
    download: bool = False
    """Whether what is left may be downloaded."""
    excess: str = ""
    """That more are selected than these."""

    @property
    def listed(self) -> str:
        """What the list is called from which the studies were chosen."""
        return _listed(self.back)

    @property
    def failed(self) -> int:
        """For how many nothing was done."""
        return sum(one.failed for one in self.studies)


@router.get("/selection/{action}")  # noqa: FAST003 - the same for each
def list_again(_by: MayReadArchive) -> Response:
    """Lead back to the studies: a selection cannot be had again by its address."""
    return redirect("/studies")


@router.post("/selection/download", dependencies=[costs(RequestCost.DOWNLOADS)])
def download(request: Request, act: DownloadObjectsAct, work: InWork) -> Response:
    """Return all files of the studies as one ZIP archive, or say which study is gone."""
    chosen, excess = _chosen(work, act.form), _excess(act.form)
    studies = [one.study for one in chosen if one.study is not None]
    if excess or len(studies) < len(chosen):
        view = SelectionAnswerView(
            _("Not every study can be downloaded"),
            _back(act.form),
            chosen,
            download=bool(studies),
            excess=excess,
        )
        return page(request, act.by, view, status=HTTPStatus.CONFLICT)
    return StreamingResponse(
        work.objects.hand_out_studies(act.by, studies),
        media_type="application/zip",
        headers=archive_headers(studies),
    )


@router.post("/selection/send")
def send(request: Request, act: RunJobsAct, work: InWork) -> Response:
    """Ask to which remote node the studies go, then queue a job for each."""
    chosen = _chosen(work, act.form)
    nodes = [node for node in work.nodes.offered() if node.active]
    view = SelectionQuestionView(
        title=ngettext("Send this study?", "Send these studies?", len(chosen)),
        text=_("A job is queued for each study.") if nodes else _("There is no remote node."),
        button=_("Send"),
        action="/selection/send",
        back=_back(act.form),
        studies=chosen,
        nodes=nodes,
        excess=_excess(act.form),
    )
    if view.excess or not act.form.has("confirmed"):
        return _ask(request, act, view)
    if not act.form.text("node_id"):
        return _ask(request, act, replace(view, problem=said(CHOOSE_A_NODE)))
    done = []
    for one in chosen:
        try:
            _require(one)
            wanted = {
                "kind": "send",
                "node_id": act.form.text("node_id"),
                "study_instance_uid": one.study_instance_uid,
            }
            job = work.jobs.create(act.by, validate_form(NewSend, wanted))
            done.append(_done(one, _("The job is queued."), f"/jobs/{job.id}"))
        except Refusal as error:
            done.append(_not_done(one, error))
    return _answer(request, act, _("Sending"), done)


@router.post("/selection/hold")
def hold(request: Request, act: HoldStudiesAct, work: InWork) -> Response:
    """Ask why the studies are to be held, then hold each."""
    chosen = _chosen(work, act.form)
    view = SelectionQuestionView(
        title=ngettext("Hold this study?", "Hold these studies?", len(chosen)),
        text=_("Clean-up skips them, and nobody can delete them until they are released."),
        button=ngettext("Hold the study", "Hold the studies", len(chosen)),
        action="/selection/hold",
        back=_back(act.form),
        studies=[_noting_held(one, _("It is held already.")) for one in chosen],
        nodes=[],
        reason=True,
        typed=act.form.text("reason"),
    )

    def hold_one(one: SelectedStudy, reason: str) -> SelectedStudy:
        if _require(one).held:
            raise Conflict(message("The study is held already."))
        work.storage.hold(act.by, one.study_instance_uid, reason)
        return _done(one, _("Held."), f"/studies/{one.study_instance_uid}")

    return _with_reason(request, act, view, chosen, _("Holding"), hold_one)


@router.post("/selection/delete")
def delete(request: Request, act: DeleteStudiesAct, work: InWork) -> Response:
    """Ask why the studies are to be deleted, then delete each that is not held."""
    chosen = _chosen(work, act.form)
    view = SelectionQuestionView(
        title=ngettext(
            "Delete this study permanently?", "Delete these studies permanently?", len(chosen)
        ),
        text=_(
            "They are removed from the archive and from the disk, with every copy and version of"
            " their images. This cannot be undone; rebuilding the index does not bring them back."
        ),
        button=ngettext("Delete the study", "Delete the studies", len(chosen)),
        action="/selection/delete",
        back=_back(act.form),
        studies=[_noting_held(one, _("It is held and will not be deleted.")) for one in chosen],
        nodes=[],
        reason=True,
        typed=act.form.text("reason"),
        danger=True,
    )

    def delete_one(one: SelectedStudy, reason: str) -> SelectedStudy:
        work.storage.delete(act.by, one.study_instance_uid, reason)
        return _done(one, _("Deleted; its files go within seconds."), "")

    return _with_reason(request, act, view, chosen, _("Deleting"), delete_one)


@router.post("/selection/clean-up")
def clean_up(request: Request, act: DeleteStudiesAct, work: InWork) -> Response:
    """Ask why the clean-up is not waited for, then delete each study that it would delete."""
    chosen = _chosen(work, act.form)
    days = validate_form(CleanUpAge, {"retention_days": act.form.text("days")}).retention_days
    view = SelectionQuestionView(
        title=_("Clean up now?"),
        text=ngettext(
            "The study is removed from the archive and from the disk, with every copy and version"
            " of its images. This cannot be undone; rebuilding the index does not bring it back.",
            "They are removed from the archive and from the disk, with every copy and version of"
            " their images. This cannot be undone; rebuilding the index does not bring them back.",
            len(chosen),
        ),
        button=ngettext("Delete the study", "Delete the studies", len(chosen)),
        action="/selection/clean-up",
        back=_back(act.form),
        studies=chosen,
        nodes=[],
        reason=True,
        typed=act.form.text("reason"),
        danger=True,
        fields=(("days", str(days)),),
    )

    def delete_one(one: SelectedStudy, reason: str) -> SelectedStudy:
        work.storage.clean_up(act.by, one.study_instance_uid, days, reason)
        return _done(one, _("Deleted; its files go within seconds."), "")

    return _with_reason(request, act, view, chosen, _("Clean-up"), delete_one)


def _with_reason(
    request: Request,
    act: SubmittedForm,
    view: SelectionQuestionView,
    chosen: Sequence[SelectedStudy],
    title: str,
    do: Callable[[SelectedStudy, str], SelectedStudy],
) -> Response:
    """Ask the question until there is a reason, then do it to each study, and say how that went."""
    view = replace(view, excess=_excess(act.form))
    if view.excess or not act.form.has("confirmed"):
        return _ask(request, act, view)
    try:
        reason = validate_form(Hold, {"reason": act.form.text("reason")}).reason
    except Invalid as error:
        problem = "; ".join(said(found.message) for found in error.problems)
        return _ask(request, act, replace(view, problem=_("It %(problem)s.", problem=problem)))
    done = []
    for one in chosen:
        try:
            done.append(do(one, reason))
        except Refusal as error:
            done.append(_not_done(one, error))
    return _answer(request, act, title, done)


def _chosen(work: UnitOfWork, form: CheckedForm) -> list[SelectedStudy]:
    """Return the ticked studies, the first of them if they are too many.

    Raises:
        Conflict: none is ticked.
    """
    uids = _ticked(form)
    if not uids:
        raise Conflict(message("No study is selected. Tick the studies first."))
    found = []
    for uid in uids[:MAX_SELECTED]:
        try:
            found.append(SelectedStudy(uid, work.archive.study(uid)))
        except NotFound as error:
            found.append(SelectedStudy(uid, None, said(str(error)), failed=True))
    return found


def _ticked(form: CheckedForm) -> list[str]:
    return [uid for uid in dict.fromkeys(form.texts("study")) if _is_uid(uid)]


def _excess(form: CheckedForm) -> str:
    """Return that too many are ticked, in words; empty if they are not."""
    number = len(_ticked(form))
    if number <= MAX_SELECTED:
        return ""
    return _(
        "%(number)s studies are selected, but at most %(most)s can be at a time. Below are the"
        " first %(most)s; nothing was done yet.",
        number=count(number),
        most=count(MAX_SELECTED),
    )


def _is_uid(text: str) -> bool:
    return len(text) <= MAX_UID_LENGTH and re.fullmatch(UID.pattern, text) is not None


def _require(one: SelectedStudy) -> Study:
    if one.study is None:
        raise NotFound(message("The index has no such study."))
    return one.study


def _noting_held(one: SelectedStudy, words: str) -> SelectedStudy:
    if one.study is None or not one.study.held:
        return one
    return SelectedStudy(one.study_instance_uid, one.study, words, failed=True)


def _done(one: SelectedStudy, words: str, path: str) -> SelectedStudy:
    return SelectedStudy(one.study_instance_uid, one.study, words, path=path)


def _not_done(one: SelectedStudy, error: Refusal) -> SelectedStudy:
    problems = error.problems if isinstance(error, Invalid) else ()
    words = "; ".join(said(found.message) for found in problems) or said(str(error))
    return SelectedStudy(one.study_instance_uid, one.study, words, failed=True)


def _back(form: CheckedForm) -> str:
    """Return the list that the visitor came from, and no other place."""
    return own_path(form.text("back"), within=("/studies", "/patients", CLEAN_UP)) or "/studies"


def _listed(back: str) -> str:
    return _("Clean-up") if back.startswith(CLEAN_UP) else _("Studies")


def _answer(
    request: Request, act: SubmittedForm, title: str, done: list[SelectedStudy]
) -> Response:
    return page(request, act.by, SelectionAnswerView(title, _back(act.form), done))


def _ask(request: Request, act: SubmittedForm, view: SelectionQuestionView) -> Response:
    """Return the question, with what is wrong with the answer or the selection."""
    wrong = view.problem or view.excess
    status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
    return page(request, act.by, view, status=status)
