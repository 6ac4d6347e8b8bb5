"""A report in headless Chromium, opened from its files, clicked and typed at like a reader does."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)
PHONE = {"width": 360, "height": 740}
Errors = list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        sandboxless = ["--no-sandbox"]  # which root in a container cannot have
        started = driver.chromium.launch(executable_path=CHROMIUM, args=sandboxless)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test where anything was written to the console or not found."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("requestfailed", lambda request: said.append(f"{request.url}: {request.failure}"))
    yield opened
    context.close()
    assert [] == said


def opened(page: Page, site: Path, pattern: str = "index.html") -> Page:
    (path,) = site.glob(pattern)
    page.goto(path.as_uri())
    return page


def names(page: Page) -> list[str]:
    return page.locator("table[data-filtered] tbody.lines tr:visible th a").all_inner_texts()


def test_a_column_is_sorted_by_its_button_and_turned_by_the_next_press(
    page: Page, gallery_site: Path
) -> None:
    opened(page, gallery_site)
    head = page.locator("table[data-filtered] th", has_text="ciou@0.5").nth(1)
    bounds = page.locator("tbody.bounds th").all_inner_texts()

    expect(head).to_have_attribute("aria-sort", "descending")  # as it is written
    head.get_by_role("button").click()
    up = names(page)
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").click()

    expect(head).to_have_attribute("aria-sort", "descending")
    assert (["lvs", "hardpos"], ["hardpos", "lvs"]) == (up, names(page))
    assert bounds == page.locator("tbody.bounds th").all_inner_texts()


def test_a_column_of_words_is_sorted_too_and_the_other_mark_goes(
    page: Page, gallery_site: Path
) -> None:
    opened(page, gallery_site)
    page.get_by_role("button", name="auc").click()

    page.get_by_role("button", name="method", exact=True).click()

    assert ["hardpos", "lvs"] == names(page)
    assert 1 == page.locator("table[data-filtered] [aria-sort]").count()


def test_the_filter_hides_rows_counts_them_and_leaves_floors_and_ceiling(
    page: Page, gallery_site: Path
) -> None:
    opened(page, gallery_site)

    page.get_by_role("searchbox", name="Filter").fill("LVS")

    assert ["lvs"] == names(page)
    expect(page.locator("#count")).to_have_text("1 of 2 rows")
    expect(page.locator("tbody.bounds tr").first).to_be_visible()
    page.get_by_role("searchbox", name="Filter").fill("nothing like it")
    expect(page.get_by_text("No method here matches the filter")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#count")).to_have_text("2 of 2 rows")


def test_rows_can_be_chosen_by_supervision(page: Page, gallery_site: Path) -> None:
    opened(page, gallery_site)

    page.get_by_label("Supervision").select_option("none")

    expect(page.locator("#count")).to_have_text("2 of 2 rows")


def test_a_run_is_opened_with_the_keyboard_alone(page: Page, gallery_site: Path) -> None:
    opened(page, gallery_site)

    page.keyboard.press("Tab")
    assert "Skip to content" == page.evaluate("document.activeElement.textContent")
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.textContent").strip())
        if "lvs" == visited[-1]:
            break
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert "solid" == page.evaluate(style)
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*-lvs-*.html")

    assert "auc" in visited  # a button that sorts, on the way
    assert "lvs on synthetic, seed 0" == page.locator("h1").inner_text()


def test_a_sound_plays_by_the_keyboard_and_stops_the_one_before(
    page: Page, gallery_site: Path
) -> None:
    opened(page, gallery_site, "gallery/*.html")
    first, second = page.locator("audio").first, page.locator("audio").nth(1)

    first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.05")
    assert 1 == pytest.approx(first.evaluate("sound => sound.duration"), abs=0.01)
    second.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelectorAll('audio')[1].currentTime > 0.05")

    assert first.evaluate("sound => sound.paused")


def test_every_picture_of_the_gallery_is_shown(page: Page, gallery_site: Path) -> None:
    opened(page, gallery_site, "gallery/*.html")
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_load_state("networkidle")

    sizes = page.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert {208} == set(sizes)


@pytest.mark.parametrize(
    "pattern", ["index.html", "boards/*.html", "gallery/*.html", "runs/*-hardpos-*.html"]
)
def test_no_page_is_wider_than_a_phone(page: Page, gallery_site: Path, pattern: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]

    opened(page, gallery_site, pattern)
    for summary in page.locator("summary").all():
        summary.click()

    assert 360 == page.evaluate("document.documentElement.scrollWidth")


def test_a_wide_table_is_scrolled_in_its_own_box(page: Page, gallery_site: Path) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    opened(page, gallery_site)
    box = page.locator(".scroll").first

    box.focus()
    page.keyboard.press("ArrowRight")

    page.wait_for_function("document.querySelector('.scroll').scrollLeft > 0")


def test_the_dark_scheme_is_another_one(page: Page, gallery_site: Path) -> None:
    opened(page, gallery_site)
    colours = (
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    light = page.evaluate(colours)

    page.emulate_media(color_scheme="dark")

    assert ["rgb(27, 27, 31)", "rgb(255, 255, 255)"] == light
    assert ["rgb(236, 236, 241)", "rgb(20, 22, 27)"] == page.evaluate(colours)


@pytest.mark.parametrize(
    "pattern", ["index.html", "boards/*.html", "gallery/*.html", "runs/*-lvs-*.html"]
)
def test_pages_open_without_a_word_on_the_console(
    page: Page, gallery_site: Path, pattern: str
) -> None:
    opened(page, gallery_site, pattern)

    expect(page.locator("h1")).to_have_count(1)
