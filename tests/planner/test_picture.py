"""The picture and its page: what they say, and how they hold up in a real browser."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

from cds_service.patient import Dosage
from cds_service.planner import picture, token
from cds_service.planner.model import DrugTimes, PlanRequest
from cds_service.planner.plan import plan_day
from cds_service.planner.times import drug_times
from tests.planner.app import content, make_app
from tests.planner.regimens import TODAY, ask, takes, usual_day
from tests.support.requires import require

SECRET = "a secret of the tests"
SVG = "{http://www.w3.org/2000/svg}"
INTERVALS = content(TODAY).intervals


def named(drug: DrugTimes) -> DrugTimes:
    known = INTERVALS.get(drug.drug)
    return replace(drug, label=known.label if known else drug.drug.title(), interval=known)


def ordered(name: str, dosage: Dosage) -> DrugTimes:
    drug = drug_times(name, name.title(), (dosage,), INTERVALS[name], usual_day(), TODAY)
    assert drug is not None
    return drug


LEVOTHYROXINE = named(takes("levothyroxine", "07:00"))
REGIMENS: dict[str, PlanRequest] = {
    "every day": ask(
        LEVOTHYROXINE, ordered("ciprofloxacin", Dosage(code="BID")), named(takes("metformin", "08:00", "18:30"))
    ),
    "by day": ask(
        named(takes("moxifloxacin", "14:30", days=("sun",))),
        named(takes("levothyroxine", "06:30")),
        named(takes("doxycycline", "20:30", days=("wed",))),
        ordered("alendronate", Dosage(days=("sun",))),
    ),
    "impossible": ask(named(takes("moxifloxacin", "14:00", movable=True)), ordered("doxycycline", Dosage(code="BID"))),
    "incomplete": ask(
        LEVOTHYROXINE,
        ordered("ciprofloxacin", Dosage(problem="not readable")),
        ordered("doxycycline", Dosage(code="BID", as_needed=True)),
        unknown=1,
        doses=2,
    ),
    "avoid": ask(named(takes("raltegravir", "08:00", "20:00")), LEVOTHYROXINE),
    "six medicines": ask(
        named(takes("levothyroxine", "06:30")),
        named(takes("mycophenolate", "08:00", "20:00")),
        named(takes("gabapentin", "08:00", "13:30", "21:00")),
        named(takes("iron", "13:00")),
        ordered("alendronate", Dosage(days=("sun",))),
        named(takes("metformin", "08:00", "18:30")),
    ),
    "night shift": ask(named(takes("levothyroxine", "16:30")), schedule=usual_day().for_waking(960, 480)),
}  # fmt: skip
every_regimen = pytest.mark.parametrize("name", REGIMENS)


def drawn(request: PlanRequest, layout=picture.WIDE) -> ElementTree.Element:
    return ElementTree.fromstring(picture.svg(request, plan_day(request), layout))


def words(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


@every_regimen
@pytest.mark.parametrize("layout", [picture.WIDE, picture.NARROW], ids=lambda layout: layout.name)
def test_the_picture_is_an_image_with_a_title_and_the_plan_in_words(name, layout) -> None:
    root = drawn(REGIMENS[name], layout)
    assert root.get("role") == "img"
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and desc is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert root.get("viewBox", "").startswith(f"0 0 {layout.width} ")
    for drug in REGIMENS[name].drugs:
        if drug.interval:
            assert drug.label in (desc.text or "") and drug.label in words(root)


def test_the_words_of_a_plan_name_times_windows_and_what_is_assumed() -> None:
    request = REGIMENS["every day"]
    assert picture.describe(request, plan_day(request)) == (
        "Every day: magnesium at 12:30. "
        "Levothyroxine at 07:00: no magnesium from 4 h before to 4 h after. "
        "Ciprofloxacin at 08:00 (assumed) and 20:00 (assumed): no magnesium from 6 h before to 2 h after."
    )


def test_a_forbidden_window_lies_where_its_hours_are_and_says_its_drug_and_reason() -> None:
    root = drawn(ask(LEVOTHYROXINE))
    lane = next(group for group in root.iter(f"{SVG}g") if group.get("class") == "drug")
    (span,) = (group for group in lane.iter(f"{SVG}g") if group.find(f"{SVG}rect[@class='window']") is not None)
    rect = span.find(f"{SVG}rect")
    assert rect is not None
    hour = (picture.WIDE.right - picture.WIDE.left) / 24
    assert float(rect.get("x", 0)) == pytest.approx(picture.WIDE.left + 3 * hour, abs=0.1)  # 07:00 - 4 h
    assert float(rect.get("width", 0)) == pytest.approx(8 * hour, abs=0.1)
    assert rect.get("fill") == "url(#plan-wide-hatch)"  # a pattern, not a colour alone
    title = span.find(f"{SVG}title")
    assert title is not None and title.text is not None
    assert title.text.startswith(
        "03:00 to 11:00: Levothyroxine: no magnesium 4 h before to 4 h after. Magnesium can hold"
    )


def test_a_window_round_midnight_is_drawn_at_both_ends_of_the_day() -> None:
    root = drawn(ask(named(takes("levothyroxine", "00:30"))))
    lane = next(group for group in root.iter(f"{SVG}g") if group.get("class") == "drug")
    titles = [title.text or "" for title in lane.iter(f"{SVG}title")]
    assert [title[:14] for title in titles] == ["00:00 to 04:30", "20:30 to 24:00"]


def test_days_that_look_the_same_share_a_panel() -> None:
    panels = [t.text for t in drawn(REGIMENS["by day"]).iter(f"{SVG}text") if t.get("class") == "panel"]
    assert panels == [
        "Monday, Tuesday and Thursday to Saturday",
        "Wednesday, the rest as above",
        "Sunday, the rest as above",
    ]


def test_a_dose_just_after_midnight_on_monday_shades_the_evening_of_sunday() -> None:
    root = drawn(ask(named(takes("levothyroxine", "00:30", days=("mon",)))))
    panels = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "panel"]
    assert panels == ["Monday", "Tuesday to Saturday", "Sunday"]
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any(title.startswith("20:30 to 24:00: Levothyroxine") for title in titles)


def test_names_are_escaped_in_the_picture_and_on_the_page() -> None:
    evil = "<script>alert(1)</script>\"'&"
    known = replace(INTERVALS["levothyroxine"], label=evil, reason=evil, reference=evil)
    request = ask(replace(LEVOTHYROXINE, label=evil, interval=known))
    root = drawn(request)
    assert evil in words(root)
    assert root.find(f".//{SVG}script") is None
    from cds_service.web.plan_page import page

    html = page(request, plan_day(request), styles="/s", picture="/p", banner=evil)
    assert "<script" not in html


def test_the_png_shows_text_without_any_font_of_the_machine() -> None:
    request = REGIMENS["every day"]
    with_text = picture.png(request, plan_day(request))
    bare = replace(
        request,
        drugs=tuple(
            replace(drug, label=" ", interval=drug.interval and replace(drug.interval, reason=""))
            for drug in request.drugs
        ),
    )
    assert len(with_text) > len(picture.png(bare, plan_day(bare))) + 1000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, make_app(SECRET))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = require("chromium", "opens the page of a plan", "chromium")
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(chromium), args=[*quiet, "--disable-component-update", "--disable-sync"]
        )
        yield started
        started.close()


def opened(browser: Browser, address: str, name: str, **how):
    page = browser.new_page(**how)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto(f"{address}/plan/{token.sign(REGIMENS[name], SECRET)}")
    assert said == [], "the browser complains, for instance of the content security policy"
    return page


@every_regimen
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_page_has_no_barrier_and_no_sideways_scrolling(browser, address, name, scheme, width) -> None:
    page = opened(browser, address, name, viewport={"width": width, "height": 740}, color_scheme=scheme)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    visible = page.locator("svg.timeline:visible")
    assert visible.count() == 1
    assert visible.get_attribute("class") == f"timeline {'wide' if width == 1280 else 'narrow'}"
    # The smallest text of the picture, as it is shown: no less than 11 px.
    scale = page.evaluate("(e) => e.getBoundingClientRect().width / e.viewBox.baseVal.width", visible.element_handle())
    assert 13 * scale >= 11
    page.close()


@every_regimen
def test_the_page_prints_on_one_sheet_on_white(browser, address, name) -> None:
    page = opened(browser, address, name, color_scheme="dark")
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type /Page\b", printed)) == 1
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.timeline .halo')).fill") == "rgb(255, 255, 255)"
    page.close()


def test_times_do_not_run_into_each_other(browser, address) -> None:
    """Text boxes of one lane, in the browser's own font, at phone width."""
    for name in REGIMENS:
        page = opened(browser, address, name, viewport={"width": 360, "height": 740})
        boxes = page.evaluate(
            "[...document.querySelectorAll('svg.narrow .time')].map(e => e.getBBox())"
            ".map(b => [b.x, b.y, b.x + b.width, b.y + b.height])"
        )
        for place, (left, top, right, bottom) in enumerate(boxes):
            assert left >= 0 and right <= picture.NARROW.width
            for other in boxes[place + 1 :]:
                apart = right <= other[0] or other[2] <= left or bottom <= other[1] + 4 or other[3] <= top + 4
                assert apart, (name, boxes[place], other)
        page.close()


def test_the_stylesheets_are_files_of_the_package() -> None:
    folder = Path(picture.__file__).parent / "static"
    assert sorted(path.name for path in folder.iterdir()) == ["plan.css", "timeline.css"]
