"""Administrators ask why: what a message holds, masked, which rule decided, and what would change a recipient's route.

Of a message that is held, after a reason was given, which the audit trail keeps; of a file that is sent here, of which
nothing is kept.  What is shown was written by strangers: it is text, and the page runs no script.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any, BinaryIO

from flask import Blueprint, Request, Response, abort, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from restante.envelope import Address, BadAddress, Envelope
from restante.header_envelope import header_envelope
from restante.policy import Circumstances
from restante.ranged import ranged
from restante.store import explained, queue
from restante.store.blobs import BlobReader
from restante.toml_source import BadFile
from restante_portal.content import summary_of
from restante_portal.context import Portal, one_line, portal
from restante_portal.explainer import Busy
from restante_portal.review import LONGEST_REASON, READERS, SHORTEST_REASON, seen_delivery
from restante_portal.signin import current, is_signed_in, signed_in_only

blueprint = Blueprint("explaining", __name__, url_prefix="/admin")

FILE_CAP = 10_485_760
FORM_CAP = 65_536
MOST_FINDINGS = 500


class MemoryRequest(Request):
    """A request whose uploads stay in memory: a file that is to be explained must not touch a disk."""

    def _get_file_stream(self, *_about: Any, **_more: Any) -> io.BytesIO:
        return io.BytesIO()


def make_room() -> None:
    """Before a form is read: a signed-in administrator may send a whole message, everybody else only a form."""
    if request.endpoint == "explaining.explain_file" and is_signed_in(portal()):
        request.max_content_length = FILE_CAP + FORM_CAP
        # The parser holds what is left of one block beside the next, which is as large as a form may be.
        request.max_form_memory_size = 4 * FORM_CAP


def _allowed() -> None:
    if current().role not in READERS:
        abort(403)


@blueprint.get("/messages/<delivery_id>/explain")
@signed_in_only
def ask(delivery_id: str) -> str:
    """The form that asks for the reason.  Nothing is opened yet."""
    _allowed()
    here = portal()
    return render_template("admin/explain_ask.html", who=current(), review=seen_delivery(here, delivery_id).review)


@blueprint.post("/messages/<delivery_id>/explain")
@signed_in_only
def explain_message(delivery_id: str) -> BaseResponse:
    """The explanation of a message that is held."""
    _allowed()
    here = portal()
    seen = seen_delivery(here, delivery_id)
    reason = one_line(request.form.get("reason", ""))[:LONGEST_REASON]
    if seen.key is None:
        abort(404)
    if len(reason) < SHORTEST_REASON:
        page = render_template("admin/explain_ask.html", who=current(), review=seen.review, missing=True)
        return Response(page, status=400)
    summary = summary_of(seen.key.open_note(seen.review.summary, "summary"))
    reader = BlobReader(here.store, seen.key, seen.review.size)
    explained.record_message(here.store, seen.review, actor=current().actor, reason=reason, now=here.clock())
    source = ranged(lambda start, end: b"".join(reader.read(start, end)), seen.review.size)
    subject = str(summary.get("subject") or "")
    return _explained(here, source, _envelope_of(seen.review), seen.review.created_at, seen.review, subject)


@blueprint.get("/explain")
@signed_in_only
def upload_form() -> str:
    """The form that takes a file."""
    _allowed()
    return render_template("admin/explain_file.html", who=current(), cap=FILE_CAP)


@blueprint.post("/explain")
@signed_in_only
def explain_file() -> BaseResponse:
    """The explanation of a file, of which nothing stays."""
    _allowed()
    here = portal()
    given = request.files.get("message")
    content = given.read(FILE_CAP + 1) if given is not None else b""
    if not 0 < len(content) <= FILE_CAP:
        return _form_again("empty" if not content else "large")
    source = io.BytesIO(content)
    guessed = header_envelope(source)
    try:
        sender = _addresses("sender")[:1]
        recipients = tuple(_addresses("recipients"))
    except BadAddress:
        return _form_again("address")
    explained.record_file(here.store, actor=current().actor, size=len(content), now=here.clock())
    envelope = Envelope(sender[0] if sender else guessed.sender, recipients or guessed.recipients)
    return _explained(here, source, envelope, here.clock(), None, "")


def _form_again(problem: str) -> Response:
    page = render_template("admin/explain_file.html", who=current(), cap=FILE_CAP, problem=problem)
    return Response(page, status=400)


def _addresses(name: str) -> list[Address]:
    """The addresses in a field, apart by commas, blanks or lines.  Raises :class:`BadAddress`."""
    words = request.form.get(name, "").replace(",", " ").split()[:200]
    return [Address.parse(one_line(word)) for word in words]


def _envelope_of(review: queue.Review) -> Envelope:
    recipients = tuple({each.recipient: Address.parse(each.recipient) for each in review.deliveries}.values())
    return Envelope(Address.parse(review.sender), recipients)


def _explained(
    here: Portal, source: BinaryIO, envelope: Envelope, at: float, review: queue.Review | None, subject: str
) -> Response:
    circumstances = Circumstances(at=datetime.fromtimestamp(at, UTC))
    try:
        found = here.explainer.explain(source, envelope, circumstances, now=here.clock())
    except Busy:
        page = render_template("admin/explain_problem.html", who=current(), review=review, problem="")
        return Response(page, status=503, headers={"Retry-After": "30"})
    except BadFile as error:  # the policy file is wrong: whoever reads this can have it mended
        page = render_template("admin/explain_problem.html", who=current(), review=review, problem=str(error))
        return Response(page, status=503)
    page = render_template(
        "admin/explanation.html",
        who=current(),
        review=review,
        subject=subject,
        found=_tidy(found),
        most_findings=MOST_FINDINGS,
    )
    return Response(page)


def _tidy(found: dict[str, Any]) -> dict[str, Any]:
    """The explanation without the many empty lines that markup leaves behind."""
    for text in found["texts"]:
        for excerpt in text["excerpts"]:
            for segment in excerpt["segments"]:
                segment["text"] = re.sub(r"\n\s*\n\s*", "\n\n", segment["text"])
    return found
