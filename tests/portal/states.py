"""The catalogue of pages: every page that a recipient or a sender sees, in each of its states, at the real server.

A journey brings one tab from state to state, as a person would, and yields a :class:`State` at each; the caller looks
at the page, or does not.  It finds what it presses by names that are the same in all languages, since the caller may
have loaded the page in another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from playwright.sync_api import FilePayload, Route
from sqlalchemy import select, update

from restante.access import CodeWay, NoticeForm
from restante.reply import ReplyTo
from restante.store import freezing, holding, links, sender_links, throttle
from restante.store.models import Delivery, Message, PickupSession
from restante.tokens import phrase_hash, token_hash
from restante.vault import Sealer, generate_keypair
from restante_portal import inbox, proof, sender
from restante_portal.replying import SAVES_PER_COPY
from tests.portal import letters
from tests.portal.authenticator import app_code
from tests.portal.chromium import Device
from tests.portal.conftest import RECIPIENT
from tests.portal.stage import Stage, State

PASSWORD = "yellow submarine 42"
REPLY_BYTES = 300_000
CLIENT = throttle.client_key("127.0.0.1")

Journey = Callable[[Stage], Iterator[State]]


def front_door(stage: Stage) -> Iterator[State]:
    """From the portal's own address, with a notice that has no link."""
    link = stage.office.link(stage.office.hold(letters.RICH)[0], form=NoticeForm.NUMBER)
    stage.go("/")
    yield State("home")
    stage.fill(number=" ", code=" ")
    stage.send("/open")
    yield State("home-empty")
    stage.fill(number=link.number, code="AAAA-AAAA")
    stage.send("/open")
    yield State("home-wrong")
    stage.fill(fresh_number="123")
    stage.send("/fresh")
    yield State("fresh-notice-wrong")
    stage.go("/")
    stage.block(proof.PER_CLIENT.of(token_hash("000000000001").hex(), CLIENT))
    stage.fill(number="0000 0000 0001", code="AAAA-AAAA")
    stage.send("/open")
    yield State("home-throttled")
    stage.go("/")
    stage.fill(number=link.number, code=link.code or "")
    stage.send("/open")
    yield State("message-by-number")


def with_a_code(stage: Stage) -> Iterator[State]:
    """A whole pickup with an access code, and what remains of its link."""
    link = stage.office.link(stage.office.hold(letters.RICH)[0], code=True)
    stage.go(f"/p/{link.token}")
    yield State("landing-code")
    stage.fill(code=" ")
    stage.send("/open")
    yield State("landing-code-empty")
    stage.fill(code="WRONG")
    stage.send("/open")
    yield State("landing-code-wrong")
    stage.open(link)
    yield State("message")
    stage.go(stage.page.locator("iframe.letter").get_attribute("src") or "")
    yield State("message-frame", letter=True)
    stage.go("/message?view=text")
    yield State("message-text")
    stage.go(f"/p/{link.token}")
    yield State("landing-opened")
    stage.go("/message")
    stage.send("/message/close")
    yield State("closed")
    stage.go("/message")
    yield State("window-over")
    stage.go(f"/p/{link.token}")
    yield State("link-used")
    stage.fill(fresh_number="123")
    stage.send("/fresh")
    yield State("fresh-link-wrong")
    stage.fill(fresh_number=link.number)
    stage.send("/fresh")
    yield State("fresh-asked")


def other_landings(stage: Stage) -> Iterator[State]:
    """Links that ask for something else than an access code from the sender."""
    office = stage.office
    for way in (CodeWay.SMS, CodeWay.PHRASE):
        link = office.link(office.hold()[0], code=True, way=way, phrase=phrase_hash("the yellow submarine"))
        stage.go(f"/p/{link.token}")
        yield State(f"landing-{way}")
        stage.fill(code="wrong")
        stage.send("/open")
        yield State(f"landing-{way}-wrong")
    link = office.waiting(letters.RICH)
    stage.go(f"/p/{link.token}")
    yield State("landing")
    stage.fill(number=" ")
    stage.send("/open")
    yield State("landing-empty")
    stage.fill(number="000 000")
    stage.send("/open")
    yield State("landing-wrong")
    stage.unblock()
    stage.block(proof.PER_CLIENT.of(token_hash(link.token).hex(), CLIENT))
    stage.fill(number="000 000")
    stage.send("/open")
    yield State("landing-throttled")


def dead_links(stage: Stage) -> Iterator[State]:
    """Links that open nothing: the same page for all of them, as a test elsewhere holds."""
    office = stage.office
    expired, recalled, frozen = (office.hold(recipients=(f"{name}@x.example",))[0] for name in ("a", "b", "c"))
    tokens = {name: office.link(each).token for name, each in zip("erf", (expired, recalled, frozen), strict=True)}
    with office.store.write() as session:
        message_id = session.get_one(Delivery, expired).message_id
        session.execute(update(Message).where(Message.id == message_id).values(expires_at=office.clock() - 1))
    holding.recall(office.store, recalled, actor="sender", now=office.clock())
    stage.open(office.link(frozen))
    freezing.freeze(office.store, frozen, actor="recipient", now=office.clock())
    for name, token in (("expired", tokens["e"]), ("recalled", tokens["r"]), ("frozen", tokens["f"])):
        stage.go(f"/p/{token}")
        yield State(f"link-{name}")
    stage.go("/p/" + "A" * 43)
    yield State("link-unknown")


def somebody_was_first(stage: Stage) -> Iterator[State]:
    """A link that was used, for who has the code; and a fresh one, whose message shows what was before."""
    office = stage.office
    delivery_id = office.hold(letters.RICH)[0]
    used = office.link(delivery_id, code=True)
    stage.open(used)
    stage.be_a_stranger()
    stage.go(f"/p/{used.token}")
    stage.fill(code="WRONG")
    stage.send("/history")
    yield State("history-wrong")
    stage.go(f"/p/{used.token}")
    stage.unblock()
    stage.block(proof.PER_CLIENT.of(token_hash(used.token).hex(), CLIENT))
    stage.fill(code="WRONG")
    stage.send("/history")
    yield State("history-throttled")
    fresh = links.mint_link(office.store, delivery_id, needs_code=True, new_code=True, now=office.clock())
    assert fresh is not None
    stage.open(fresh)
    yield State("message-opened-before")
    stage.be_a_stranger()
    stage.go(f"/p/{fresh.token}")
    stage.fill(code=fresh.code or "")
    stage.send("/history")
    yield State("openings")
    stage.send("/not-me")
    yield State("frozen")
    other = office.hold()[0]
    superseded = office.link(other, code=True)
    office.link(other, code=True)
    stage.go(f"/p/{superseded.token}")
    stage.fill(code=superseded.code or "")
    stage.send("/history")
    yield State("openings-none")


def letters_of_all_kinds(stage: Stage) -> Iterator[State]:
    """Messages that are read, and not saved, or have little or much in them."""
    office = stage.office
    view_only = office.waiting(letters.RICH, view_only=True)
    stage.open(view_only)
    yield State("view-only")
    stage.go(stage.page.locator("iframe.letter").get_attribute("src") or "")
    yield State("view-only-frame", letter=True)
    stage.go("/message?view=text")
    yield State("view-only-text")
    stage.open(office.waiting())
    yield State("message-plain")
    stage.open(office.waiting(letters.NESTED))
    yield State("message-nested")
    stage.open(office.waiting(letters.BARE))
    yield State("message-bare")
    stage.open(office.waiting(letters.DEEP))
    yield State("message-deep")


def _save_too_much(stage: Stage) -> None:
    long_name = "Überweisung " + "long-name-" * 12 + ".bin"
    stage.fill(text="Thank you.")
    stage.page.locator("#files").set_input_files(
        [_file(long_name, 1000), _file("large.bin", REPLY_BYTES + 1)],
    )
    stage.press("[name=action][value=save]")
    stage.page.locator("#problem li").wait_for()


def _lose_the_connection(stage: Stage) -> None:
    def lose(route: Route) -> None:
        route.abort()

    stage.page.route("**/message/reply*", lose)
    stage.page.locator("#files").set_input_files(_file("small.bin", 10))
    stage.press("[name=action][value=save]")
    stage.page.locator("[data-failed]").wait_for()
    stage.page.unroute("**/message/reply*", lose)


def _file(name: str, size: int) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": b"x" * size}


def replying(stage: Stage) -> Iterator[State]:
    """Writing back: refusals, drafts, a lost connection, sent, and too late."""
    office = stage.office
    delivery_id = office.hold(recipients=(RECIPIENT, "bob@clinic.example"), reply=ReplyTo.ALL)[0]
    stage.open(office.link(delivery_id))
    stage.go("/message/reply")
    yield State("reply")
    stage.follow("[name=action][value=send]")
    yield State("reply-empty")
    _save_too_much(stage)
    yield State("reply-too-large", again=partial(_save_too_much, stage))
    stage.fill(text="Thank you.")
    stage.follow("[name=action][value=save]")
    yield State("reply-draft-saved")
    _lose_the_connection(stage)
    yield State("reply-cut-off", again=partial(_lose_the_connection, stage))
    stage.block(SAVES_PER_COPY.of(delivery_id))
    stage.go("/message/reply")
    stage.fill(text="Once more.")
    stage.follow("[name=action][value=save]")
    yield State("reply-throttled")
    stage.unblock()
    stage.go("/message/reply")
    stage.fill(text="Thank you.")
    stage.follow("[name=action][value=send]")
    yield State("reply-sent")
    stage.go("/message/reply")
    stage.fill(text="One thing more.")
    with office.store.write() as session:
        of_this = PickupSession.delivery_id == delivery_id
        session.execute(update(PickupSession).where(of_this).values(ends_at=office.clock() - 1))
    stage.follow("[name=action][value=send]")
    yield State("reply-late")


def enrolling(stage: Stage, recipient: str = "paula@patients.example") -> Iterator[State]:
    """From the first message to the inbox, with what goes wrong on the way."""
    office, page = stage.office, stage.page
    Device(stage.context, page).knows_its_user(known=False)
    first = office.hold(recipients=(recipient,))[0]
    stage.open(office.link(first, code=True))
    stage.go("/enrol")
    yield State("enrol")
    _fail_with_the_passkey(stage)
    yield State("enrol-passkey-failed", again=partial(_fail_with_the_passkey, stage))
    _set_password(stage, "a" * 12, "000000")
    yield State("enrol-password-easy")
    _set_password(stage, PASSWORD, "000000")
    yield State("enrol-code-wrong")
    key = page.locator("p.address a").inner_text()
    _set_password(stage, PASSWORD, app_code(key, time.time()))
    page.wait_for_url("**done=1*")
    yield State("ways-set")
    stage.be_a_stranger()
    stage.open(office.waiting(recipients=(recipient,)))
    stage.go("/enrol")
    yield State("enrol-by-number")
    stage.be_a_stranger()
    stage.open(office.waiting(recipients=(recipient,), code=True))
    stage.go("/enrol")
    yield State("enrol-anew")
    stage.be_a_stranger()
    yield from _signing_in(stage, recipient)
    _sign_in(stage, recipient, PASSWORD, app_code(key, time.time() + 30))
    page.wait_for_url("**/inbox")
    yield from _inbox(stage, recipient)


def _fail_with_the_passkey(stage: Stage) -> None:
    stage.press("[data-with]")
    stage.page.locator("[data-failed]").wait_for()


def _set_password(stage: Stage, password: str, code: str) -> None:
    stage.fill(password=password, code=code)
    stage.follow("form:has(#password) button[type=submit]")


def _sign_in(stage: Stage, address: str, password: str, code: str) -> None:
    stage.fill(address=address, password=password, code=code)
    stage.follow("form:has(#password) button[type=submit]")


def _signing_in(stage: Stage, recipient: str) -> Iterator[State]:
    stage.go("/sign-in")
    yield State("sign-in")
    _fail_with_the_passkey(stage)
    yield State("sign-in-passkey-failed", again=partial(_fail_with_the_passkey, stage))
    _sign_in(stage, " ", " ", " ")
    yield State("sign-in-empty")
    _sign_in(stage, recipient, "wrong password", "000000")
    yield State("sign-in-wrong")
    stage.unblock()
    stage.block(inbox.PER_CLIENT_OVERALL.of(CLIENT))
    _sign_in(stage, recipient, "wrong password", "000000")
    yield State("sign-in-throttled")
    stage.unblock()


def _inbox(stage: Stage, recipient: str) -> Iterator[State]:
    office = stage.office
    with office.store.read() as session:
        theirs = session.scalars(
            select(Delivery.id).where(Delivery.recipient == recipient, Delivery.state.in_(links.PICKABLE))
        ).all()
    for delivery_id in theirs:
        holding.recall(office.store, delivery_id, actor="sender", now=office.clock())
    stage.go("/inbox")
    yield State("inbox-empty")
    people = ("otto@clinic.example", "anna.von.und.zu.langername@verwaltung.clinic.example", "joerg@clinic.example")
    held = [office.hold(letters.RICH, recipients=(recipient,), sender=each)[0] for each in people]
    for each in held:
        office.link(each, way=CodeWay.ENROLLED)
    with office.store.write() as session:
        message_id = session.get_one(Delivery, held[1]).message_id
        session.execute(update(Message).where(Message.id == message_id).values(always_code=True))
    stage.go("/inbox")
    stage.send(f"{held[2]}/open")
    yield State("message-of-inbox")
    stage.go("/inbox")
    yield State("inbox")


def of_the_sender(stage: Stage) -> Iterator[State]:
    """The sender's page: from the link in the mail to what can be done about each copy."""
    office, page = stage.office, stage.page
    people = (RECIPIENT, "otto@patients.example", "a.very.long.name@a-department.of.patients.example")
    copies = office.hold(letters.RICH, recipients=people)
    with office.store.write() as session:
        message = session.get_one(Message, session.get_one(Delivery, copies[0]).message_id)
        message.extend_until = message.expires_at + 20 * 86_400
    link = sender_links.mint(office.store, message.id, b"digest", now=office.clock())
    office.send_notices()
    for each in copies[1:]:
        office.link(each, code=True)
    stage.open(office.link(copies[0], code=True))
    freezing.freeze(office.store, copies[0], actor="recipient", now=office.clock())
    stage.go(f"/s/{link.token}")
    yield State("sender-landing", english=True)
    stage.fill(number=" ")
    stage.send("/open")
    yield State("sender-landing-empty", english=True)
    stage.fill(number="000 000")
    stage.send("/open")
    yield State("sender-landing-wrong", english=True)
    stage.unblock()
    stage.block(sender.PER_CLIENT_OVERALL.of(CLIENT))
    stage.fill(number="000 000")
    stage.send("/open")
    yield State("sender-landing-throttled", english=True)
    stage.unblock()
    stage.fill(number=link.number)
    stage.send("/open")
    yield State("sender-page", english=True)
    for action in ("resend", "lift", "code", "extend", "receipts", "recall"):
        stage.follow(f"[name=action][value={action}]")
        page.locator("main [role=status]").wait_for()
        yield State(f"sender-done-{action}", english=True)
        if action == "resend":
            stage.follow("[name=action][value=resend]")
            page.locator("main [role=alert]").wait_for()
            yield State("sender-late", english=True)
    stage.follow("[name=action][value=code]")
    stage.follow("[name=action][value=recall]")
    stage.go(f"/s/{link.token}")
    yield State("sender-landing-again", english=True)
    stage.send("/open")
    stage.follow("[name=action][value=close]")
    stage.go("/sent")
    yield State("sender-over", english=True)
    stage.go("/s/" + "A" * 43)
    yield State("sender-link-unknown", english=True)


def of_a_sender_to_many(stage: Stage) -> Iterator[State]:
    """The sender's page with more copies than it shows at once."""
    office = stage.office
    held = office.hold(recipients=tuple(f"person{number}@patients.example" for number in range(30)))
    with office.store.read() as session:
        message_id = session.get_one(Delivery, held[0]).message_id
    link = sender_links.mint(office.store, message_id, b"digest", now=office.clock())
    stage.go(f"/s/{link.token}")
    stage.fill(number=link.number)
    stage.send("/open")
    yield State("sender-page-many", english=True)
    stage.follow("p.pages a")
    yield State("sender-page-rest", english=True)


def what_goes_wrong(stage: Stage) -> Iterator[State]:
    """Answers to what is not there, not allowed, too much or broken."""
    office, page = stage.office, stage.page
    stage.go("/nothing")
    yield State("error-404")
    stage.go("/message/close")
    yield State("error-405")
    stage.go("/")
    page.locator("#code").evaluate("each => { each.value = 'x'.repeat(70000); }")
    page.locator("#number").fill("1")
    stage.send("/open")
    yield State("error-413")
    link = office.waiting()
    stage.go(f"/p/{link.token}")
    stage.be_a_stranger()
    stage.fill(number=link.number)
    stage.send("/open")
    yield State("error-form-key")
    lost = office.waiting(vault=Sealer("old", generate_keypair()[1]))
    stage.go(f"/p/{lost.token}")
    stage.fill(number=lost.number)
    stage.send("/open")
    yield State("error-503")
    stage.open(link)
    with office.store.write() as session:  # a time that no calendar has: a defect, as far as the page is concerned
        session.execute(update(PickupSession).where(PickupSession.link_id == link.link_id).values(ends_at=1e18))
    stage.go("/message")
    yield State("error-500")


def branded(stage: Stage) -> Iterator[State]:
    """In an organisation's own look: for an office that was opened with :data:`BRAND`."""
    link = stage.office.waiting(letters.RICH, code=True)
    stage.go("/")
    yield State("branded-home")
    stage.go(f"/p/{link.token}")
    stage.fill(code="WRONG")
    stage.send("/open")
    yield State("branded-landing-wrong")
    stage.open(link)
    yield State("branded-message")


JOURNEYS: tuple[Journey, ...] = (
    front_door,
    with_a_code,
    other_landings,
    dead_links,
    somebody_was_first,
    letters_of_all_kinds,
    replying,
    enrolling,
    of_the_sender,
    of_a_sender_to_many,
    what_goes_wrong,
)
"""All but :func:`branded`."""
