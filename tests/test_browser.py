"The built site in a real browser: every page loads without a complaint and without other servers, and fits a phone."
import functools
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from browser import PATIENCE, launched, watch
from loopback import Loopback
from project import ROOT

DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
# what reaches out of the window, but not inside a box that scrolls or cuts it off; such boxes do not hold what is positioned absolutely
TOO_WIDE = """() => {
    const style = e => getComputedStyle(e);
    const held = e => e && e !== document.body && (style(e).overflowX.match(/auto|scroll|hidden/) || held(e.parentElement));
    return [...document.querySelectorAll('body *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && (style(e).position == 'absolute' || !held(e.parentElement)))
        .map(e => `${e.tagName}.${e.className}: ${(e.textContent || '').trim().slice(0, 60)}`).slice(0, 3)
}"""
UNSEEN = """images => images.filter(i => !i.complete || !i.naturalWidth || !i.alt.trim())
    .map(i => `${i.naturalWidth} px, alt "${i.alt}": ${i.src.slice(0, 40)}, after "${
        [...document.querySelectorAll('main :is(h1, h2, h3)')].filter(h => h.compareDocumentPosition(i) & 4).pop()?.textContent}"`)"""


@pytest.fixture(scope="module")
def browser():
    with launched() as browser: yield browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


def served(folder: Path) -> Loopback:
    "A server of the files in `folder`"
    return Loopback(functools.partial(Quiet, directory=folder))


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    "The site, built and served: its folder and its address. After `browser`, so that nothing is built where there is none"
    out = tmp_path_factory.mktemp("docs")/"site"
    run = subprocess.run([sys.executable, ROOT/"tools"/"docs.py", "--no-api", "--out", out], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    with served(out) as server: yield out, f"{server.url}/"


def visit(page, server: str, name: str) -> dict[str, list[str]]:
    "What is wrong with a page: faults of its loading, parts that make a window scroll sideways, pictures that say nothing"
    found = {"faults": watch(page, server), "wide": []}
    page.goto(server + name, wait_until="load")
    for window in DESKTOP, PHONE:
        page.set_viewport_size(window)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > window["width"] + 1: found["wide"].append(f"{width} px on {window['width']}: {page.evaluate(TOO_WIDE)}")
    return found | {"pictures": page.eval_on_selector_all("main img", UNSEEN)}


@pytest.fixture(scope="module")
def visits(site, browser) -> dict[str, dict[str, list[str]]]:
    "Every page of the site, visited"
    (out, address), seen = site, {}
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(PATIENCE)
    for path in sorted(out.rglob("*.html")):
        page = context.new_page()
        name = path.relative_to(out).as_posix()
        seen[name] = visit(page, address, name)
        page.close()
    context.close()
    return seen


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("kind", ["faults", "wide", "pictures"])
def test_every_page_is_without(kind, visits):
    assert {name: found[kind] for name, found in visits.items() if found[kind]} == {}


def test_search_finds_a_public_name(site, page):
    page.goto(site[1])
    page.keyboard.press("/")
    page.keyboard.type("invert_embeddings")
    result = page.locator(".search-result:visible").first
    result.wait_for()
    assert "invert_embeddings" in result.inner_text()
    result.click()
    page.wait_for_url(lambda url: url != site[1])
    assert "invert_embeddings" in page.inner_text("main")


def test_maths_is_drawn(site, page):
    page.goto(site[1] + "hypothesizer.html")
    assert page.locator(".math .katex-html:visible").count() == page.locator(".math").count() > 0
    assert page.locator(".katex-error").count() == 0
    assert page.evaluate("document.fonts.ready.then(f => [...f].some(face => face.family == 'KaTeX_Main' && face.status == 'loaded'))")


def test_tables_are_drawn(site, page):
    page.goto(site[1])
    cells = page.locator("main table td:visible").all_inner_texts()
    assert "WordNet" in cells and not any("|" in cell for cell in cells)


def test_the_toggle_makes_the_page_dark_and_it_stays_dark(site, page):
    def background(dark: bool):
        page.wait_for_function("""dark => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)
            .every(part => dark ? part < 100 : part > 200)""", arg=dark)
    page.goto(site[1])
    background(dark=False)
    page.locator(".quarto-color-scheme-toggle:visible").first.click()
    background(dark=True)
    page.goto(site[1] + "inversion.html")
    background(dark=True)


def test_faults_are_found(browser, tmp_path):
    (tmp_path/"page.html").write_text("""<main style="width: 2000px"><h2>Here</h2><img src="gone.png" alt="a boat">
        <img src="https://example.com/b.png" alt="b"><div>wide words</div></main><script>nothing()</script>""", encoding="utf-8")
    page = browser.new_page()
    with served(tmp_path) as server: found = visit(page, f"{server.url}/", "page.html")
    page.close()
    text = "\n".join(found["faults"])
    for fault in f"404: {server.url}/gone.png", "script: nothing is not defined", "asks for https://example.com/b.png": assert fault in text
    assert len(found["wide"]) == 2 and "wide words" in found["wide"][1]
    assert len(found["pictures"]) == 2 and 'after "Here"' in found["pictures"][0]
