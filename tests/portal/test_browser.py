"""A whole pickup and a whole review in a real browser, at the real server; axe-core looks at the review's pages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect
from sqlalchemy import update

from restante.access import CodeWay, NoticeForm
from restante.store import holding, sender_links
from restante.store.models import Delivery, DeliveryState, Message
from restante.tokens import phrase_hash
from restante.vault import Sealer, generate_keypair
from tests.portal import letters
from tests.portal.conftest import RECIPIENT, Post
from tests.portal.stage import REVIEWERS_PASSWORD, opened_office

AXE = Path(__file__).parents[2] / ".cache/node_modules/axe-core/axe.min.js"
SHOTS = os.environ.get("RESTANTE_SCREENSHOTS")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("portal")) as post:
        yield post


@pytest.fixture(params=["light", "dark"])
def context(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    made = chromium.new_context(color_scheme=request.param, accept_downloads=True)
    yield made
    made.close()


@pytest.fixture
def one_context(chromium: Browser) -> Iterator[BrowserContext]:
    """For recipients' and senders' pages, at whose looks tests/portal/test_states.py looks."""
    made = chromium.new_context(color_scheme="light", accept_downloads=True)
    yield made
    made.close()


class Visit:
    """One browser tab that is looked at by axe and, when asked, photographed."""

    def __init__(self, context: BrowserContext, post: Post, name: str) -> None:
        self.page: Page = context.new_page()
        self.scheme = "dark" if self.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
        self.url = post.settings.portal.url
        self.name = name
        self.axe = AXE.read_text(encoding="utf-8")

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def look(self, state: str) -> None:
        """axe reports nothing here, and nothing sticks out: at 1280 px, at 320 px (that is a zoom of 400 %), and there
        with letters of twice their size (WCAG 2.2, 1.4.4 and 1.4.10)."""
        self.page.wait_for_load_state()  # what was pressed has led here, but not all of it may have arrived
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self.axe)
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        for width in (1280, 320):
            self.page.set_viewport_size({"width": width, "height": 900})
            result: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert result["violations"] == [], f"{state}: {json.dumps(result['violations'], indent=1)[:3000]}"
            if SHOTS:
                shot = Path(SHOTS) / f"{self.name}-{state}-{self.scheme}-{width}.png"
                self.page.screenshot(path=shot, full_page=True)
            self._sticks_out_nowhere(f"{state} at {width} px")
        self.page.evaluate("document.documentElement.style.fontSize = '200%'")
        self._sticks_out_nowhere(f"{state} at 320 px with letters of twice their size")
        if SHOTS:
            shot = Path(SHOTS) / f"{self.name}-{state}-{self.scheme}-320-large.png"
            self.page.screenshot(path=shot, full_page=True)
        self.page.evaluate("document.documentElement.style.fontSize = ''")
        self.page.set_viewport_size({"width": 1280, "height": 900})

    def _sticks_out_nowhere(self, where: str) -> None:
        overflow = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{where} is {overflow} px too wide"
        link = self.page.evaluate("document.querySelector('.skip').getBoundingClientRect().right")
        assert link <= 0, f"{where} shows {link} px of the link that only the keyboard reaches"


@pytest.mark.behaviour("P13")
@pytest.mark.behaviour("P7")
@pytest.mark.behaviour("P2")
@pytest.mark.slow
def test_a_whole_pickup(one_context: BrowserContext, office: Post, tmp_path: Path) -> None:
    delivery_id = office.hold(letters.RICH)[0]
    link = office.link(delivery_id, code=True)
    assert link.code
    visit = Visit(one_context, office, "pickup")
    page = visit.page
    visit.go("/")
    visit.go(f"/p/{link.token}")
    page.get_by_label("Access code").fill("WRONG-CODE")
    page.get_by_role("button", name="Open the message").click()
    assert page.get_by_role("alert").inner_text().startswith("That is not the right code")
    page.get_by_label("Access code").fill(link.code.lower().replace("-", " "))
    page.get_by_role("button", name="Open the message").dblclick()
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()
    frame = page.frame_locator("iframe.letter")
    frame.get_by_text("unauffällig").wait_for()
    expect(frame.locator("img[src^='data:image/png']")).to_have_count(1)
    page.reload()
    with page.expect_download() as download:
        page.get_by_role("link", name="Röntgen.bin").click()
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == letters.ATTACHMENT
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the whole message").click()
    download.value.save_as(tmp_path / "saved.eml")
    assert (tmp_path / "saved.eml").read_bytes() == letters.RICH
    page.get_by_role("link", name="Show it as plain text").click()
    page.get_by_text("Der Befund ist unauffällig (Text).").wait_for()
    visit.go(f"/p/{link.token}")
    page.get_by_role("button", name="Go to the message").click()
    page.get_by_role("button", name="Close the message").click()
    visit.go("/message")
    visit.go(f"/p/{link.token}")
    page.locator("#fresh-number").fill(link.number[:3])
    page.get_by_role("button", name="Send me a fresh link").click()
    page.get_by_label("Number of your notice").fill(link.number)
    page.get_by_role("button", name="Send me a fresh link").click()
    page.get_by_role("heading", name="Look into your mailbox").wait_for()


def _try_to_sign_in(visit: Visit, password: str, name: str = "rosa") -> None:
    visit.page.get_by_label("Name").fill(name)
    visit.page.get_by_label("Password").fill(password)
    visit.page.get_by_role("button", name="Sign in").click()


def _sign_in(visit: Visit) -> None:
    visit.go("/admin/")
    _try_to_sign_in(visit, REVIEWERS_PASSWORD)
    visit.page.get_by_role("heading", name="Queue").wait_for()


@pytest.mark.behaviour("A1")
def test_a_wrong_password(context: BrowserContext, office: Post) -> None:
    visit = Visit(context, office, "review")
    visit.go("/admin/")
    visit.look("sign-in")
    # Here alone, once for each scheme: five wrong tries of a name close the door to it for all tests of the office.
    _try_to_sign_in(visit, "wrong password")
    visit.page.get_by_role("alert").wait_for()
    visit.look("sign-in-wrong")


@pytest.mark.behaviour("A1")
@pytest.mark.behaviour("A2")
@pytest.mark.slow
def test_a_whole_review(context: BrowserContext, office: Post) -> None:
    tag = os.urandom(4).hex()
    domain = f"{tag}.example"
    people = [f"{name}@{domain}" for name in ("tls", "portal", "reject", "delete", "late")]
    ids = {
        person.partition("@")[0]: office.hold(
            letters.RICH, recipients=(person,), state=DeliveryState.QUARANTINED, summary=letters.SUMMARY
        )[0]
        for person in people
    }
    visit = Visit(context, office, "review")
    page = visit.page
    _sign_in(visit)
    visit.look("queue")

    def choose(name: str, action: str) -> None:
        visit.go(f"/admin/?domain={domain}")
        page.get_by_role("checkbox", name=f"{name}@{domain}").check()
        page.get_by_role("button", name=action).click()

    choose("tls", "Send on over TLS")
    assert "1 released" in page.get_by_role("status").inner_text()
    visit.look("queue-done")
    choose("portal", "Release to the portal")
    visit.go(f"/admin/messages/{ids['reject']}")
    visit.look("message-not-shown")
    expect(page.get_by_text("payment-card")).to_be_visible()
    assert not page.locator("iframe.letter").count()
    page.get_by_label("Reason").fill("complaint of the sender, ticket 7")
    page.get_by_role("button", name="Show the content").click()
    visit.look("message")
    expect(page.frame_locator("iframe.letter").get_by_text("unauffällig")).to_be_visible()
    page.get_by_role("button", name="Reject…").click()
    visit.look("reject")
    page.get_by_label("Reason for the sender").fill("Please use the patient's own address.")
    page.get_by_role("button", name="Reject and tell the sender").click()
    choose("delete", "Delete…")
    visit.look("delete")
    page.get_by_role("button", name="Delete for good").click()
    visit.go(f"/admin/?domain={domain}")
    page.get_by_role("checkbox", name=f"late@{domain}").check()
    holding.release_to_portal(office.store, ids["late"], actor="admin:other", now=office.clock())
    page.get_by_role("button", name="Send on over TLS").click()
    assert "Someone was first" in page.get_by_role("status").inner_text()
    visit.look("queue-late")
    states = {name: office.state(delivery_id) for name, delivery_id in ids.items()}
    assert states == {
        "tls": "handover", "portal": "held", "reject": "rejected", "delete": "deleted", "late": "held",
    }  # fmt: skip
    visit.go(f"/admin/messages/{ids['delete']}")
    visit.look("message-gone")
    visit.go("/admin/?state=held")
    visit.look("held")
    page.get_by_role("link", name="Audit trail").click()
    visit.look("audit")
    page.get_by_role("button", name="Sign out").click()
    visit.go("/admin/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("P13")
def test_a_pickup_with_the_number_of_the_notice(one_context: BrowserContext, office: Post) -> None:
    link = office.waiting(letters.RICH)
    visit = Visit(one_context, office, "pickup-number")
    page = visit.page
    visit.go(f"/p/{link.token}")
    typed = page.locator("#number")
    for number in range(6):
        typed.fill(RECIPIENT)
        page.get_by_role("button", name="Open the message").click()
        said = page.get_by_role("alert").inner_text()
        if number == 0:
            assert said.startswith("That is not the number of the notice")
    assert said.startswith("Too many wrong tries")


@pytest.mark.behaviour("P4")
@pytest.mark.behaviour("P13")
def test_a_pickup_by_number_and_code(one_context: BrowserContext, office: Post) -> None:
    link = office.link(office.hold(letters.RICH)[0], form=NoticeForm.NUMBER)
    assert link.code
    visit = Visit(one_context, office, "front-door")
    page = visit.page
    visit.go("/")
    page.locator("#number").fill(link.number)
    page.locator("#code").fill("AAAA-AAAA")
    page.locator("#code").press("Enter")
    assert page.get_by_role("alert").inner_text().startswith("Number and code do not open a message")
    page.locator("#number").fill(link.number)
    page.locator("#code").fill(link.code)
    page.locator("#code").press("Enter")
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()


@pytest.mark.behaviour("P13")
def test_the_page_names_the_way_of_the_code(one_context: BrowserContext, office: Post) -> None:
    visit = Visit(one_context, office, "landing")
    for way, label in ((CodeWay.SMS, "Access code"), (CodeWay.PHRASE, "Agreed phrase")):
        link = office.link(office.hold()[0], code=True, way=way, phrase=phrase_hash("the yellow submarine"))
        visit.go(f"/p/{link.token}")
        visit.page.get_by_label(label).fill("wrong")
        visit.page.get_by_label(label).press("Enter")
        visit.page.get_by_role("alert").wait_for()


@pytest.mark.behaviour("P13")
def test_pages_for_what_goes_wrong(context: BrowserContext, office: Post) -> None:
    tag = os.urandom(4).hex()
    lost = office.hold(recipients=(f"lost@{tag}.example",), vault=Sealer("old", generate_keypair()[1]))[0]
    odd = office.hold(recipients=(f"odd@{tag}.example",), state=DeliveryState.REJECTED)[0]
    visit = Visit(context, office, "wrong")
    page = visit.page
    link = office.waiting()

    def status_of(path: str) -> int:
        answer = page.goto(visit.url + path)
        assert answer is not None
        return answer.status

    assert status_of("/nothing") == 404
    visit.go(f"/p/{link.token}")
    context.clear_cookies()
    page.locator("#number").fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    expect(page.get_by_role("heading", name="Please try once more")).to_be_visible()
    _sign_in(visit)
    assert status_of(f"/admin/messages/{lost}") == 503
    visit.look("503")
    with office.store.write() as session:  # a time that no calendar has: a defect, as far as the page is concerned
        session.execute(update(Delivery).where(Delivery.id == odd).values(created_at=1e18))
    assert status_of(f"/admin/?state=rejected&domain={tag}.example") == 500
    visit.look("500")
    with office.store.write() as session:
        session.execute(update(Delivery).where(Delivery.id == odd).values(created_at=office.clock()))


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("P2")
def test_arriving_from_a_webmail_page_works_the_first_time_and_again(chromium: Browser, office: Post) -> None:
    link = office.waiting(letters.RICH)
    webmail = f"data:text/html,<a href='{office.settings.portal.url}/p/{link.token}'>open</a>"
    context = chromium.new_context()
    page = context.new_page()
    page.goto(webmail)
    page.get_by_role("link", name="open").click()
    page.locator("#number").fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()
    page.goto(webmail)
    page.get_by_role("link", name="open").click()
    page.get_by_role("button", name="Go to the message").click()
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()
    other = chromium.new_context()
    stranger = other.new_page()
    stranger.goto(f"{office.settings.portal.url}/p/{link.token}")
    expect(stranger.get_by_role("heading", name="This link does not open a message")).to_be_visible()
    other.close()
    context.close()


@pytest.mark.behaviour("P7")
def test_a_hostile_letter_fetches_nothing_and_runs_nothing(chromium: Browser, office: Post) -> None:
    letter = b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + "<hr>".join(letters.HOSTILE).encode()
    link = office.waiting(letter)
    context = chromium.new_context()
    page = context.new_page()
    fetched: list[str] = []
    dialogs: list[str] = []
    context.on("request", lambda request: fetched.append(request.url))

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    page.goto(f"{office.settings.portal.url}/p/{link.token}")
    page.locator("#number").fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    page.frame_locator("iframe.letter").locator("hr").first.wait_for()
    frame_address = page.locator("iframe.letter").get_attribute("src")
    page.goto(f"{office.settings.portal.url}{frame_address}", wait_until="networkidle")
    assert page.locator("hr").count() > 10
    assert page.evaluate("window.origin") == "null"
    context.close()
    assert dialogs == []
    assert {address.partition("/p/")[0].partition("/message")[0].partition("/static")[0] for address in fetched} <= {
        office.settings.portal.url
    }


ATTACK = (
    b"From: anna@clinic.example\r\nTo: rita@patients.example\r\nSubject: <script>alert(1)</script>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<p onclick=alert(2)>Karte <b>4111</b>111111111111</p><img src=x onerror=alert(3)><svg/onload=alert(4)>\r\n"
    b"--b\r\nContent-Type: text/plain\r\n"
    b'Content-Disposition: attachment; filename="<img src=x onerror=alert(5)>"\r\n\r\n'
    b"</mark></div><script>alert(6)</script> 4111-1111-1111-1111\r\n--b--\r\n"
)


@pytest.mark.behaviour("C6")
def test_an_explanation_of_an_attack_runs_no_script(chromium: Browser, office: Post, tmp_path: Path) -> None:
    delivery_id = office.hold(ATTACK, state=DeliveryState.QUARANTINED)[0]
    context = chromium.new_context()
    context.set_default_timeout(90_000)  # a first explanation compiles the policy and starts what reads attachments
    visit = Visit(context, office, "explain")
    page = visit.page
    alarms: list[str] = []

    def alarm(dialog: Dialog) -> None:
        alarms.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", alarm)
    _sign_in(visit)
    visit.go(f"/admin/messages/{delivery_id}/explain")
    visit.look("ask")
    page.get_by_label("Reason").fill("looking at an attack")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="What was read").wait_for()
    assert page.locator("main script, main img, main svg, main [onclick], main iframe").count() == 0
    expect(page.get_by_text("payment-card: ************1111").first).to_be_visible()
    visit.look("explanation")
    page.get_by_role("link", name="Explain a file").click()
    visit.look("file")
    (tmp_path / "attack.eml").write_bytes(ATTACK)
    page.get_by_label("Message").set_input_files(tmp_path / "attack.eml")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="What was read").wait_for()
    assert "rita@patients.example" in page.get_by_role("heading", level=3).first.inner_text()
    assert alarms == []
    context.close()


# The last one: what it uses up is this address's, and every other test of the office signs in from there.
@pytest.mark.behaviour("P13")
def test_sign_in_after_too_many_tries(context: BrowserContext, office: Post) -> None:
    visit = Visit(context, office, "review")
    page = visit.page
    visit.go("/admin/sign-in")
    name = os.urandom(4).hex()
    for _ in range(6):
        _try_to_sign_in(visit, "wrong password", name)
    assert "oo many" in page.get_by_role("alert").inner_text()
    visit.look("sign-in-throttled")


@pytest.mark.behaviour("S3")
def test_a_senders_page_and_a_freeze(one_context: BrowserContext, office: Post) -> None:
    people = (RECIPIENT, "otto@patients.example")
    delivery_ids = office.hold(letters.RICH, recipients=people)
    with office.store.write() as session:
        message = session.get_one(Message, session.get_one(Delivery, delivery_ids[0]).message_id)
        message.extend_until = message.expires_at + 20 * 86_400
    used = office.link(delivery_ids[0], code=True)
    assert used.code
    visit = Visit(one_context, office, "sender")
    page = visit.page
    visit.go(f"/p/{used.token}")
    page.get_by_label("Access code").fill(used.code)
    page.get_by_role("button", name="Open the message").click()
    visit.go(f"/p/{used.token}")  # as whoever finds it used, who has the code
    one_context.clear_cookies()
    visit.go(f"/p/{used.token}")
    page.get_by_text("Did somebody else use your link?").click()
    page.get_by_label("Access code or agreed phrase").fill("WRONG")
    page.get_by_role("button", name="Show when it was opened").click()
    page.get_by_label("Access code or agreed phrase").fill(used.code)
    page.get_by_role("button", name="Show when it was opened").click()
    page.get_by_role("button", name="It was not me").click()
    link = sender_links.mint(office.store, message.id, b"digest", now=office.clock())
    visit.go(f"/s/{link.token}")
    page.get_by_label("Number of the mail").fill("000 000")
    page.get_by_role("button", name="Open the page").click()
    page.get_by_label("Number of the mail").fill(link.number)
    page.get_by_role("button", name="Open the page").click()
    expect(page.get_by_role("heading", name=RECIPIENT)).to_be_visible()
    page.get_by_role("button", name="Let it be opened again").click()
    assert "can open the message again" in page.get_by_role("status").inner_text()
    page.get_by_role("button", name="New access code").click()
    page.get_by_label("A recipient replies").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Keep it longer").click()
    page.get_by_text(f"Recall the copy for {people[1]}").click()
    page.get_by_role("button", name="Recall it for good").click()
    assert office.state(delivery_ids[1]) == DeliveryState.RECALLED
    page.get_by_role("button", name="Close", exact=True).click()
    visit.go("/sent")
