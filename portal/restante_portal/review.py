"""Administrators at work: the queue, one message, what becomes of it, the audit trail.

The content is shown after a reason was given, which the audit trail keeps and which counts until the reviewer signs
out.  What is shown was written by strangers; it passes the same walls as on the recipient's pages.  Two reviewers who
act on the same delivery: one succeeds, the other is told who was not fast enough.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.store import holding, queue
from restante.store.approval import SameReviewer
from restante.store.delivered import of_message
from restante.store.freezing import NotFrozen, lift
from restante.store.models import DeliveryState
from restante.vault import CannotOpen, DataKey
from restante_portal import tickets
from restante_portal.content import WHOLE, Opened, require, send, send_body, shown, summary_of
from restante_portal.context import Portal, one_line, portal
from restante_portal.signin import current, session_secret, signed_in_only

blueprint = Blueprint("review", __name__, url_prefix="/admin")

READERS = frozenset({"admin", "reviewer"})
"""The roles that may see the content of messages."""

SHORTEST_REASON, LONGEST_REASON = 3, 500
PAGE = 50
TLS_SECONDS = 24 * 3600
REASON_CAP = 2000
_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Listed:
    """A row of the queue with its subject, opened for this page only."""

    row: queue.QueueRow
    subject: str
    readable: bool


@blueprint.get("/")
@signed_in_only
def queue_page() -> str:
    """The queue: filter, order, page by page."""
    here = portal()
    wanted = _filter()
    after = queue.Cursor.parse(request.args.get("after", ""))
    page = queue.page(here.store, wanted, after=after, limit=PAGE)
    return render_template(
        "admin/queue.html",
        who=current(),
        wanted=wanted,
        states=list(DeliveryState),
        rows=[_listed(here, row) for row in page.rows],
        count=queue.count(here.store, wanted),
        counted_up_to=queue.COUNTED_UP_TO,
        first_page=after is None,
        first=url_for("review.queue_page") + "?" + _query(wanted),
        following=f"{url_for('review.queue_page')}?{_query(wanted, after=str(page.after))}" if page.after else "",
    )


def _filter() -> queue.Filter:
    sender, domain, rule, text = (
        one_line(request.args.get(name, ""))[:200] for name in ("sender", "domain", "rule", "text")
    )
    oldest_first = request.args.get("order") == "oldest"
    wanted = queue.Filter(sender=sender, domain=domain, rule=rule, text=text, oldest_first=oldest_first)
    try:
        return replace(wanted, state=DeliveryState(request.args.get("state", DeliveryState.QUARANTINED)))
    except ValueError:
        return wanted


def _query(wanted: queue.Filter, **more: str) -> str:
    given = {
        "state": str(wanted.state),
        "sender": wanted.sender,
        "domain": wanted.domain,
        "rule": wanted.rule,
        "text": wanted.text,
        "order": "oldest" if wanted.oldest_first else "",
        **more,
    }
    return urlencode({name: value for name, value in given.items() if value})


def _listed(here: Portal, row: queue.QueueRow) -> Listed:
    try:
        key = here.vault.unwrap(row.blob_id, row.wrapped_key)
        summary = summary_of(key.open_note(row.summary, "summary"))
    except CannotOpen:
        return Listed(row, "", readable=False)
    return Listed(row, str(summary.get("subject") or ""), readable=True)


@dataclass(frozen=True)
class Seen:
    """A delivery under review; ``key`` opens its content, and is ``None`` when that is gone."""

    review: queue.Review
    key: DataKey | None


def seen_delivery(here: Portal, delivery_id: str) -> Seen:
    """The delivery of that id, or 404.  Raises ``CannotOpen`` where another vault's key would be needed."""
    if not _ID.fullmatch(delivery_id):
        abort(404)
    try:
        found = queue.review(here.store, delivery_id)
    except queue.NotInQueue:
        abort(404)
    if found.wrapped_key is None:
        return Seen(found, None)  # its time is over: what happened stays, the content is gone
    return Seen(found, here.vault.unwrap(found.blob_id, found.wrapped_key))


def _opened(here: Portal, delivery_id: str, *, taking: int | None = None) -> Opened:
    """The content; ``taking`` is the number of the part that leaves for the reviewer's disk, 0 for all of it."""
    seen = seen_delivery(here, delivery_id)
    if seen.key is None:
        abort(404)
    if not _may_read(here, seen):
        abort(403)
    opened = Opened.of(here, seen.key, seen.review.size)
    if taking is not None:
        queue.record_view(here.store, seen.review, actor=current().actor, now=here.clock(), part=taking)
    return opened


def _may_read(here: Portal, seen: Seen) -> bool:
    """Whether the administrator has given a reason to read this copy since signing in, in a role that may."""
    who = current()
    since = who.ends_at - here.settings.portal.admin_session_minutes * 60
    return who.role in READERS and queue.gave_reason(here.store, seen.review, actor=who.actor, since=since)


@blueprint.get("/messages/<delivery_id>")
@signed_in_only
def message(delivery_id: str) -> str:
    """One message: why it is here, where each copy is, and once a reason was given, its content made safe."""
    here = portal()
    return _message_page(here, seen_delivery(here, delivery_id))


@blueprint.post("/messages/<delivery_id>/read")
@signed_in_only
def give_reason(delivery_id: str) -> BaseResponse:
    """Take the reason for which the content is to be shown."""
    here = portal()
    if current().role not in READERS:
        abort(403)
    seen = seen_delivery(here, delivery_id)
    if seen.key is None:
        abort(404)
    reason = one_line(request.form.get("reason", ""))[:LONGEST_REASON]
    if len(reason) < SHORTEST_REASON:
        return Response(_message_page(here, seen, missing=True), status=400)
    queue.give_reason(here.store, seen.review, actor=current().actor, reason=reason, now=here.clock())
    return redirect(url_for("review.message", delivery_id=delivery_id), 303)


def _message_page(here: Portal, seen: Seen, *, missing: bool = False) -> str:
    content: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    if seen.key is not None:
        summary = summary_of(seen.key.open_note(seen.review.summary, "summary"))
    if seen.key is not None and _may_read(here, seen):
        opened = Opened.of(here, seen.key, seen.review.size)
        content = {"index": opened.index, **shown(opened)}
        queue.record_view(here.store, seen.review, actor=current().actor, now=here.clock())
    found = summary.get("findings")
    findings = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    addresses = {each.recipient for each in seen.review.deliveries}
    went = of_message(here.store, seen.review.header_message_id, addresses)
    return render_template(
        "admin/message.html",
        who=current(),
        review=seen.review,
        kept=seen.key is not None,
        reader=current().role in READERS,
        missing=missing,
        summary=summary,
        findings=findings,
        went=went,
        **content,
    )


@blueprint.get("/messages/<delivery_id>/body/<int:number>")
@signed_in_only
def body(delivery_id: str, number: int) -> Response:
    """An HTML body, for the frame."""
    return send_body(_opened(portal(), delivery_id), number)


@blueprint.get("/messages/<delivery_id>/attachments/<int:number>")
@signed_in_only
def attachment(delivery_id: str, number: int) -> BaseResponse:
    """One attachment, for a reviewer."""
    if number < 1:
        abort(404)
    return _take(delivery_id, number)


@blueprint.get("/messages/<delivery_id>/message.eml")
@signed_in_only
def save(delivery_id: str) -> BaseResponse:
    """The whole message, for a reviewer."""
    return _take(delivery_id, WHOLE)


def _take(delivery_id: str, part: int) -> BaseResponse:
    here = portal()
    if here.settings.portal.files_url:
        require(_opened(here, delivery_id), part)
        return tickets.to_files(here, session_secret(here), part, reviewed=delivery_id)
    return send_file(here, delivery_id, part)


def send_file(here: Portal, delivery_id: str, part: int) -> Response:
    """Part ``part``, which leaves for the disk of the reviewer who is signed in."""
    return send(_opened(here, delivery_id, taking=part), part, delivery_id)


Act = Callable[[Portal, str], bool | None]
"""Does something with a delivery; false where a second reviewer must agree first."""


def _actions(text: str) -> dict[str, Act]:
    actor = current().actor

    def to_tls(here: Portal, delivery_id: str) -> bool:
        now = here.clock()
        return holding.release_to_tls(
            here.store, here.vault, here.worker, delivery_id, deadline=now + TLS_SECONDS, actor=actor, now=now
        )

    def to_portal(here: Portal, delivery_id: str) -> bool:
        return holding.release_to_portal(here.store, delivery_id, actor=actor, now=here.clock())

    def reject(here: Portal, delivery_id: str) -> None:
        holding.reject(here.store, delivery_id, text=text, actor=actor, now=here.clock())

    def delete(here: Portal, delivery_id: str) -> None:
        holding.delete(here.store, delivery_id, actor=actor, now=here.clock())

    def unfreeze(here: Portal, delivery_id: str) -> None:
        lift(here.store, delivery_id, actor=actor, now=here.clock())

    return {
        "release-tls": to_tls,
        "release-portal": to_portal,
        "reject": reject,
        "delete": delete,
        "lift": unfreeze,
    }


@blueprint.post("/act")
@signed_in_only
def act() -> BaseResponse:
    """Do something with one or several deliveries.  Rejecting and deleting ask once more."""
    here = portal()
    action = request.form.get("action", "")
    chosen = [each for each in dict.fromkeys(request.form.getlist("delivery")) if _ID.fullmatch(each)][: PAGE * 2]
    text = request.form.get("text", "").replace("\r\n", "\n").replace("\0", "").strip()[:REASON_CAP]
    actions = _actions(text)
    if action not in actions:
        abort(400)
    if not chosen:
        flash("nothing-chosen", "late")
        return redirect(url_for("review.queue_page"), 303)
    missing_text = action == "reject" and not text
    if action in {"reject", "delete"} and (request.form.get("confirmed") != "yes" or missing_text):
        known = queue.recipients(here.store, chosen)
        asked_before = request.form.get("confirmed") == "yes"
        page = render_template(
            "admin/confirm.html", who=current(), action=action, known=known, missing=asked_before and missing_text
        )
        return Response(page, status=400 if asked_before else 200)
    _do(here, action, actions[action], chosen)
    return redirect(url_for("review.queue_page"), 303)


def _do(here: Portal, action: str, perform: Act, chosen: list[str]) -> None:
    late: list[str] = []
    counts = Counter[str]()
    for delivery_id in chosen:
        try:
            counts["done" if perform(here, delivery_id) is not False else "approved"] += 1
        except (holding.IllegalTransition, NotFrozen):
            late.append(delivery_id)
        except SameReviewer:
            counts["same-reviewer"] += 1
        except CannotOpen:
            counts["unreadable"] += 1
    _tell(counts, {"done": (action, "done"), "approved": ("approved", "done")})
    for recipient, state in queue.recipients(here.store, late[:5]).values():
        flash(f"late\t{recipient}\t{state}", "late")
    if len(late) > 5 or (late and not queue.recipients(here.store, late[:5])):
        flash(f"late-more\t{len(late)}", "late")
    _tell(counts, {kind: (kind, "late") for kind in ("same-reviewer", "unreadable")})


def _tell(counts: Counter[str], said: dict[str, tuple[str, str]]) -> None:
    for kind, (word, category) in said.items():
        if counts[kind]:
            flash(f"{word}\t{counts[kind]}", category)


@blueprint.get("/audit")
@signed_in_only
def audit_page() -> str:
    """What happened, the newest first."""
    here = portal()
    before = request.args.get("before", "")
    message_id = one_line(request.args.get("message", ""))[:32]
    rows, following = queue.audit_page(
        here.store, before=int(before) if before.isdecimal() and len(before) < 19 else None, message_id=message_id
    )
    return render_template(
        "admin/audit.html", who=current(), rows=rows, following=following, message_id=message_id, first_page=not before
    )
