"The documentation site: every notebook is in it, every link leads somewhere, and building it changes nothing else."
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from project import ROOT, files, notebooks, parsed

FENCED = re.compile(r"^```.*?^```[ \t]*$|`[^`\n]+`", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)|\b(?:src|href)=\"([^\"]+)\"")


def docs(*args) -> tuple[int, str]:
    run = subprocess.run([sys.executable, ROOT/"tools"/"docs.py", *args], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


class Anchors(HTMLParser):
    "The ids and the links of a page"
    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links = {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"): self.ids.add(values["id"])
        self.links += [values[k] for k in ("href", "src") if values.get(k)]


def dead_links(site: Path) -> list[str]:
    "The links of a built site to its own pages, files and headings that are not there"
    pages, found = {p.resolve(): Anchors(p) for p in sorted(site.rglob("*.html"))}, []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc: continue
            to = (path.parent/unquote(url.path)).resolve() if url.path else path
            if to.is_dir(): to /= "index.html"
            if not to.exists() or to in pages and unquote(url.fragment) not in pages[to].ids: found.append(f"{path.name}: {link}")
    return found


def sidebar() -> list[str]:
    "The notebooks that _quarto.yml names, in order"
    def names(value):
        if isinstance(value, str): return [value]
        if isinstance(value, dict): return [name for k in ("href", "contents") for name in names(value.get(k))]
        return [name for v in value or [] for name in names(v)]
    return names(yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"])


def test_the_sidebar_names_every_notebook_in_order():
    names = sidebar()
    numbered = [name for name in names if re.match(r"(paper/)?\d", name)]
    assert names[0] == "index.ipynb" and sorted(names) == sorted(notebooks()) and numbered == sorted(numbered)


def test_the_pages_are_built_without_warnings_and_their_links_resolve(tmp_path):
    status, log = docs("--out", tmp_path/"site")
    assert status == 0 and "warning" not in log.lower(), log
    pages = [path.relative_to(tmp_path/"site") for path in (tmp_path/"site").rglob("*.html")]
    assert len([path for path in pages if path.parts[0] != "api"]) == len(notebooks()) and Path("api/in_domain.html") in pages
    assert dead_links(tmp_path/"site") == []
    assert "invert_embeddings" in (tmp_path/"site"/"search.json").read_text(encoding="utf-8")


def missing_files(text: str, folder: Path) -> list[str]:
    "The relative links of a Markdown text in `folder` to files that are not there. Code is no link"
    links = [a or b for a, b in LINK.findall(FENCED.sub("", text))]
    return [o for o in links if not urlsplit(o).scheme and not o.startswith("#") and not (folder/unquote(urlsplit(o).path)).exists()]


def test_missing_files_are_found():
    text = "[a](README.md#x) [b](no.md) [c](https://c.org) [d](#d) <img src=\"no.png\"> `[e](no)`\n```\n[f](no)\n```\n"
    assert missing_files(text, ROOT) == ["no.md", "no.png"]


def test_links_of_texts_and_notebooks_lead_to_files():
    found = {p.relative_to(ROOT).as_posix(): missing_files(p.read_text(encoding="utf-8"), p.parent) for p in files() if p.suffix == ".md"}
    for name, path in notebooks().items():
        prose = "\n\n".join("".join(c["source"]) for c in parsed(path)["cells"] if c["cell_type"] == "markdown")
        found[name] = missing_files(prose, path.parent)
    assert {"README.md", "index.ipynb"} <= found.keys()
    assert {k: v for k, v in found.items() if v} == {}


def notebook(*cells: tuple[str, str]) -> str:
    outputs = {"markdown": {}, "code": {"outputs": [], "execution_count": None}}
    return json.dumps({"cells": [{"cell_type": kind, "metadata": {}, "source": s} | outputs[kind] for kind, s in cells],
                       "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def project(tmp_path) -> Path:
    "A project of three notebooks that link to each other, with this one's settings"
    (tmp_path/"nbs"/"guides").mkdir(parents=True)
    (tmp_path/"vec2text_nb").mkdir()
    for name in "settings.ini", "nbs/styles.css": (tmp_path/name).write_text((ROOT/name).read_text(encoding="utf-8"), encoding="utf-8")
    config = {"project": {"type": "website"}, "website": {"sidebar": {"contents": ["index.ipynb", "01a_words.ipynb", "guides/how.ipynb"]}}}
    (tmp_path/"_quarto.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (tmp_path/"nbs"/"index.ipynb").write_text(notebook(
        ("markdown", "# Home\n\n> Words\n\nAll about [words](01a_words.ipynb#a-word), under a [licence](../LICENSE). See `split_words`.")),
        encoding="utf-8")
    (tmp_path/"nbs"/"01a_words.ipynb").write_text(notebook(
        ("markdown", "# Words\n> What `a: word` is"), ("code", "#| default_exp words"), ("code", "#| hide\nsecret = 1"),
        ("code", "#| export\nimport re"), ("markdown", "## A word\n[home](index.ipynb)"),
        ("code", "#| export\ndef split_words(s): return re.findall('x', s)"), ("code", "#| slow\n1/0")), encoding="utf-8")
    (tmp_path/"nbs"/"guides"/"how.ipynb").write_text(notebook(
        ("markdown", "# How\n> By example\n\nOf [words](../01a_words.ipynb#a-word): [home](../index.ipynb), [a](../../results/a.json#L2)"),
        ("code", "#| hide\nimport nbdev; nbdev.nbdev_export()")), encoding="utf-8")
    (tmp_path/"vec2text_nb"/"__init__.py").write_text("", encoding="utf-8")
    code = 'def split_words(\n    s: str, # a text\n) -> list: # its words\n    "Words of `s`"\n    return s.split()\n'
    (tmp_path/"vec2text_nb"/"words.py").write_text(code, encoding="utf-8")
    return tmp_path


def content(folder: Path) -> dict:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and not {"_docs", "__pycache__"} & {*p.parts}}


def test_a_page_shows_what_a_reader_should_see(project):
    before = content(project)
    status, log = docs("--root", project)
    assert status == 0, log
    assert content(project) == before and dead_links(project/"_docs") == []
    home, words, api = [(project/"_docs"/name).read_text(encoding="utf-8") for name in ("index.html", "words.html", "api/words.html")]
    for wanted in "All about", 'href="words.html#a-word"', "/blob/main/LICENSE", "api/words.html#split_words": assert wanted in home
    for wanted in "findall", "Imports", "/blob/main/nbs/01a_words.ipynb": assert wanted in words
    assert "secret" not in words and "#|" not in words
    how = (project/"_docs"/"guides"/"how.html").read_text(encoding="utf-8")
    for wanted in 'href="../words.html#a-word"', 'href="../index.html"', "/blob/main/results/a.json#L2": assert wanted in how
    assert "/blob/main/vec2text_nb/words.py#L1" in api and "its words" in api


def test_each_page_leads_to_a_notebook_that_colab_can_run(project):
    assert docs("--root", project, "--no-api")[0] == 0
    site = project/"_docs"
    for page, name, up in ("words.html", "01a_words.ipynb", ".."), ("guides/how.html", "guides/how.ipynb", "../.."):
        colab = rf'href="https://colab.research.google.com/github/[^/"]+/vec2text_nb/blob/gh-pages/colab/{name}"'
        assert re.search(colab, (site/page).read_text(encoding="utf-8"))
        first, *rest = parsed(site/"colab"/name)["cells"]
        lines = first["source"].splitlines()[1:]
        folder = Path("nbs", name).parent
        assert lines[0].startswith("!git clone ") and lines[1] == f"%cd vec2text_nb/{folder}" and f'"{up}/[' in lines[2]
        assert rest == [c for c in parsed(project/"nbs"/name)["cells"] if "nbdev_export" not in c["source"]]
        assert (project/folder/up).resolve() == project.resolve()


def test_a_broken_link_is_a_warning_and_fails(project):
    (project/"nbs"/"index.ipynb").write_text(notebook(("markdown", "# Home\n> Words\n\n[gone](02_gone.ipynb)")), encoding="utf-8")
    status, log = docs("--root", project, "--no-api")
    assert status == 1 and "warning: index.ipynb: broken link" in log


def test_what_is_not_a_site_is_not_replaced(project):
    status, log = docs("--root", project, "--out", project/"nbs")
    assert status == 2 and "is not a site" in log and (project/"nbs"/"index.ipynb").exists()


def test_a_notebook_without_a_title_is_named(project):
    (project/"nbs"/"index.ipynb").write_text(notebook(("markdown", "Words")), encoding="utf-8")
    status, log = docs("--root", project, "--no-api")
    assert status == 2 and "index.ipynb" in log and "# Title" in log
