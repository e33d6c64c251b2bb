"""A recipient writes back: text and files, kept as a draft, sent once, to people on the message alone.

Whatever a form brings is saved as a draft first; only then is it looked at, so that a refusal loses nothing.  Who
writes longer than the pickup window is open loses nothing either: a window that ended by itself still takes a draft,
for :data:`LATE_SECONDS`, and shows nothing of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import cast

import structlog
from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.clamd import Clamd, NotScanned
from restante.envelope import Address, BadAddress
from restante.reply import HEADER_CAP, Enclosure, Original, ReplyMail, ReplyTo, others_of, read_original, subject_of
from restante.sealed_spool import SealedSpool
from restante.store import links, replies, throttle
from restante.store.blobs import BlobReader
from restante.store.engine import new_id
from restante.store.replies import MOST_FILES, Draft, Written
from restante.vault import DataKey
from restante_portal import guard
from restante_portal.content import Opened
from restante_portal.context import Portal, client_address, portal, portal_of
from restante_portal.uploads import Gate, Upload, UploadRequest, begin
from restante_portal.windows import Window, find_window

blueprint = Blueprint("replying", __name__)

LATE_SECONDS = 86_400.0
TEXT_CAP = 200_000
SAVES_PER_COPY = throttle.Limit("reply-save-copy", 200, 3600)
SENDS_PER_COPY = throttle.Limit("reply-send-copy", 10, 86_400)
SENDS_PER_CLIENT = throttle.Limit("reply-send-client", 60, 86_400)

_GATE = "restante-uploads"
_ID = re.compile(r"[0-9a-f]{32}")
_STATUS = {
    "empty": 400,
    "infected": 400,
    "broken": 400,
    "large": 413,
    "many": 413,
    "long": 413,
    "throttled": 429,
    "busy": 503,
    "unscanned": 503,
}

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Desk:
    """What one recipient may write: in which window, about what, to whom.  ``late``: the window is over."""

    window: str
    pickup: links.Pickup
    late: bool
    original: Original
    subject: str = field(repr=False)
    others: tuple[str, ...]


@dataclass(frozen=True)
class _Problem:
    """Why something was not sent.  ``names`` are of the files that it is about."""

    name: str
    names: tuple[str, ...] = field(default=(), repr=False)
    retry_after: int = 0

    @property
    def minutes(self) -> int:
        """How long to wait, in words that a page can use."""
        return max(1, -(-self.retry_after // 60))


class _Unsaved(Exception):
    """What the form brought is in no draft: give its text back with the page."""

    def __init__(self, problem: _Problem) -> None:
        super().__init__(problem.name)
        self.problem = problem


def install(app: Flask) -> None:
    """Add the pages.  Before the guards, which read the form."""
    app.extensions[_GATE] = Gate(max(1, portal_of(app).settings.portal.threads // 2))
    app.before_request(_make_room)
    app.teardown_request(_forget)
    app.register_blueprint(blueprint)


def _make_room() -> None:
    """Whoever has a pickup window may send files; everybody else a form."""
    if request.endpoint == "replying.answer":
        here = portal()
        found = _named(here, late_seconds=LATE_SECONDS)
        g.restante_author = found
        if found is not None and found.pickup.may_reply:
            gate = cast(Gate, current_app.extensions[_GATE])
            begin(cast(UploadRequest, request), Upload(gate, here.settings.portal.reply_max_bytes, MOST_FILES))


def _forget(_error: BaseException | None) -> None:
    upload = cast(UploadRequest, request).upload
    if upload is not None:
        upload.close()


def _named(here: Portal, *, late_seconds: float = 0) -> Window | None:
    """The window that the address names: the form is read later, by the piece."""
    return find_window(here, request.args.get("window", ""), late_seconds=late_seconds)


def _desk(here: Portal, found: Window | None) -> _Desk:
    if found is None:
        abort(403, "window")
    pickup = found.pickup
    if not pickup.may_reply:
        abort(404)
    opened = Opened.of(here, pickup.key, pickup.size)
    original = read_original(b"".join(opened.reader.read(0, HEADER_CAP)))
    others: tuple[str, ...] = ()
    if pickup.reply is ReplyTo.ALL:
        everyone = replies.recipients_of(here.store, pickup.message_id)
        inside = [one for one in everyone if _stays_here(here, one)]
        others = others_of(original, inside, pickup.recipient, pickup.sender)
    late = pickup.ends_at <= here.clock()
    return _Desk(found.name, pickup, late, original, subject_of(opened.index.subject), others)


def _stays_here(here: Portal, address: str) -> bool:
    try:
        return Address.parse(address).stays_here(here.settings.internal_domains.__contains__)
    except BadAddress:
        return False


@blueprint.get("/message/reply")
def write() -> Response:
    """The page to write on, with the draft that was saved last."""
    here = portal()
    desk = _desk(here, _named(here))
    return _page(here, desk, replies.latest_draft(here.store, desk.pickup.key, desk.pickup.delivery_id))


def _page(
    here: Portal, desk: _Desk, draft: Draft | None, *, problem: _Problem | None = None, unsaved: str | None = None
) -> Response:
    """The page; ``unsaved`` is text that is in no draft, and must not be lost."""
    guard.with_upload()
    text = draft.text if draft is not None and unsaved is None else unsaved or ""
    page = render_template(
        "reply.html",
        window=desk.window,
        pickup=desk.pickup,
        subject=desk.subject,
        others=desk.others,
        draft=draft,
        reply_id=draft.reply_id if draft is not None else new_id(),
        text=text,
        problem=problem,
        saved=request.method == "GET" and "saved" in request.args and draft is not None,
        text_cap=TEXT_CAP,
        most_bytes=here.settings.portal.reply_max_bytes,
    )
    response = Response(page, status=_STATUS[problem.name] if problem is not None else 200)
    if problem is not None and problem.retry_after:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


@blueprint.post("/message/reply")
def answer() -> BaseResponse:
    """Save, discard or send."""
    here = portal()
    desk = _desk(here, g.get("restante_author"))
    action = request.form.get("action", "")
    if action == "discard" and not desk.late:
        replies.discard(here.store, desk.pickup.delivery_id, _reply_id(), now=here.clock())
        return redirect(url_for("message.show", window=desk.window), 303)
    try:
        return _save_and_send(here, desk) if action == "send" and not desk.late else _save_only(here, desk)
    except replies.AlreadySent:
        return redirect(url_for("replying.sent", window=desk.window), 303)
    except replies.NotADraft:
        return redirect(url_for("replying.write", window=desk.window), 303)
    except _Unsaved as error:
        return _page(here, desk, None, problem=error.problem, unsaved=request.form.get("text", ""))


def _save_only(here: Portal, desk: _Desk) -> BaseResponse:
    saved = _save(here, desk)
    if desk.late:
        return Response(render_template("reply_late.html", saved=saved is not None), status=403)
    problem = _problem_of_upload(saved) if saved is not None else None
    if saved is None or problem is not None:
        return _page(here, desk, saved.draft if saved is not None else None, problem=problem)
    return redirect(url_for("replying.write", window=desk.window, saved=1), 303)


def _save_and_send(here: Portal, desk: _Desk) -> BaseResponse:
    saved = _save(here, desk)
    if saved is None:
        return _page(here, desk, None, problem=_Problem("empty"))
    problem = _problem_of_upload(saved) or _send(here, desk, saved.draft)
    if problem is None:
        return redirect(url_for("replying.sent", window=desk.window), 303)
    latest = replies.latest_draft(here.store, desk.pickup.key, desk.pickup.delivery_id)  # without what was infected
    return _page(here, desk, latest, problem=problem)


@blueprint.get("/message/reply/sent")
def sent() -> BaseResponse:
    """After sending."""
    here = portal()
    desk = _desk(here, _named(here))
    if not replies.has_replied(here.store, desk.pickup.delivery_id):
        return redirect(url_for("replying.write", window=desk.window), 303)
    return Response(render_template("reply_sent.html", window=desk.window, pickup=desk.pickup))


def _reply_id() -> str:
    given = request.form.get("reply", "")
    return given if _ID.fullmatch(given) else new_id()


def _upload() -> Upload:
    upload = cast(UploadRequest, request).upload
    if upload is None:
        abort(400)
    return upload


def _save(here: Portal, desk: _Desk) -> replies.Saved | None:
    """What the form brought, as a draft; ``None`` where it brought nothing.  Raises :class:`_Unsaved`."""
    form, upload = request.form, _upload()
    stamp = form.get("stamp", "")[:64]
    text = form.get("text", "").replace("\r\n", "\n")
    if not stamp and not text.strip() and not upload.files and not upload.refused:
        return None
    try:
        throttle.take(here.store, [SAVES_PER_COPY.of(desk.pickup.delivery_id)], now=here.clock())
    except throttle.Throttled as error:
        raise _Unsaved(_Problem("throttled", retry_after=int(error.retry_after))) from None
    wanted = set(form.getlist("also"))
    written = Written(
        reply_id=_reply_id(),
        stamp=stamp,
        text=text,
        also=tuple(one for one in desk.others if one in wanted),
        remove=frozenset(form.getlist("remove")[:MOST_FILES]),
        files=tuple(upload.files),
    )
    return replies.save(
        here.store,
        desk.pickup.key,
        desk.pickup.delivery_id,
        written,
        most_bytes=here.settings.portal.reply_max_bytes,
        now=here.clock(),
    )


def _problem_of_upload(saved: replies.Saved) -> _Problem | None:
    upload = _upload()
    if upload.problem or saved.refused:
        return _Problem(upload.problem or "large", (*upload.refused, *saved.refused))
    return None


def _send(here: Portal, desk: _Desk, draft: Draft) -> _Problem | None:
    """Send the draft; what keeps it from being sent, if anything does.  Raises ``AlreadySent`` and ``NotADraft``."""
    if not draft.text.strip() and not draft.files:
        return _Problem("empty")
    if len(draft.text) > TEXT_CAP:
        return _Problem("long")
    counters = (
        SENDS_PER_COPY.of(desk.pickup.delivery_id),
        SENDS_PER_CLIENT.of(throttle.client_key(client_address())),
    )
    try:
        throttle.take(here.store, counters, now=here.clock())
    except throttle.Throttled as error:
        return _Problem("throttled", retry_after=int(error.retry_after))
    is_sent = False
    try:
        problem = _scan(here, desk, draft)
        if problem is None:
            _hand_to_worker(here, desk, draft)
            is_sent = True
        return problem
    finally:
        if not is_sent:
            throttle.give_back(here.store, counters)


def _scan(here: Portal, desk: _Desk, draft: Draft) -> _Problem | None:
    where = here.settings.portal.clamd
    if where is None:
        return None
    scanner = Clamd(where)
    infected = []
    for file in draft.files:
        try:
            found = scanner.scan(BlobReader(here.store, file.key, file.size).read())
        except NotScanned as error:
            log.error("reply-not-scanned", error=str(error))
            return _Problem("unscanned")
        if found:
            log.warning("infected-file-refused", delivery=desk.pickup.delivery_id, found=found)
            replies.drop_file(here.store, desk.pickup.delivery_id, draft, file, found=found, now=here.clock())
            infected.append(file.name)
    return _Problem("infected", tuple(infected)) if infected else None


def _hand_to_worker(here: Portal, desk: _Desk, draft: Draft) -> None:
    settings, pickup = here.settings, desk.pickup
    mail = ReplyMail(
        author=pickup.recipient,
        portal=settings.notice.sender,
        organisation=settings.organisation,
        hostname=settings.hostname,
        sender=pickup.sender,
        others=tuple(one for one in draft.also if one in desk.others),
        original=desk.original,
        subject=desk.subject,
        text=draft.text,
        files=tuple(
            Enclosure(file.name, file.kind, BlobReader(here.store, file.key, file.size).read) for file in draft.files
        ),
    )
    spool = SealedSpool(DataKey.fresh(new_id()))
    try:
        for piece in mail.write(here.clock()):
            spool.write(piece)
        spool.finish()
        replies.send(
            here.store,
            here.worker,
            pickup.delivery_id,
            draft,
            spool,
            mail.recipients,
            mail.parameters,
            now=here.clock(),
        )
    finally:
        spool.close()
