#!/usr/bin/env python3
"""Build the documentation site into _docs/, offline: the notebooks as pages with their stored outputs, and an API reference.

smalldocs renders every notebook below nbs/ with the options and the sidebar of _quarto.yml. No cell is run; only the API
reference imports the package. The folder colab/ of the site holds the notebooks once more, with a first cell that installs the
package; each page links to its copy, for which the site must be published on the branch gh-pages.
The site needs no other server: KaTeX comes from assets/katex/, and the themes do without their web fonts.
All work is done in a temporary folder: nothing else in the project changes. Exit status 1 when there is a warning, such as a
link that leads nowhere; the site is written all the same."""
import argparse
import ast
import functools
import http.server
import json
import posixpath
import re
import shutil
import sys
import tempfile
import time
from configparser import ConfigParser
from pathlib import Path

import yaml
from readme import FENCE, HIDDEN, LINK, text_of
from smalldocs.site import build

ROOT = Path(__file__).resolve().parent.parent
COLAB, PAGES_BRANCH = "colab", "gh-pages"  # where the notebooks for Colab are: the folder of the site, the branch that holds the site
# a flag of nbdev, which stands without a colon; options of Quarto have one, and stay
FLAG = re.compile(r"^#\|[^:\n]*(?:\n|\Z)", re.M)
TITLE = re.compile(r"\A# (?P<title>.+?)[ \t]*(?:\n+> (?P<description>.+)\n?)?(?=\n|\Z)")
MODULE = re.compile(r"^#\|\s*default_exp\s+(\S+)", re.M)
# what smalldocs' pages ask of other servers
KATEX_URL = re.compile(r"https://cdn\.jsdelivr\.net/npm/katex@[^/\"]+/dist/")
FONT_IMPORT = re.compile(r"@import url\(https://fonts\.googleapis\.com/[^)]*\);?")


def page_name(path: str) -> str:
    "The name that nbdev gives the page of a notebook: 01a_records.ipynb -> records.ipynb. Other names stay"
    folder, slash, name = path.rpartition("/")
    return folder + slash + re.sub(r"^\d+[a-zA-Z0-9]*_", "", name)


def notebooks(root: Path) -> dict[str, Path]:
    "The notebooks by their names below nbs/, without those that are hidden"
    paths = {path.relative_to(root/"nbs").as_posix(): path for path in sorted((root/"nbs").rglob("*.ipynb"))}
    return {name: path for name, path in paths.items() if not any(part[0] in "._" for part in name.split("/"))}


def settings(root: Path) -> dict:
    parser = ConfigParser()
    parser.read(root/"settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def relink(
    source: str,      # Markdown
    folder: str,      # of the notebook, below nbs/; "" for nbs/ itself
    files_url: str,   # where the repository's files are shown, ending in a slash
) -> str:             # the same with links to other notebooks by their pages' names, and to files outside nbs/ in the repository
    def link(match):
        path, hash_, part = match[2].partition("#")
        file = posixpath.normpath(posixpath.join("nbs", folder, path))
        return match[1] + (page_name(path) if file.startswith("nbs/") else files_url + file) + hash_ + part
    parts = FENCE.split(source)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def is_imports(source: str) -> bool:
    try: body = ast.parse(source).body
    except SyntaxError: return False  # a magic or a shell line
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def code_cell(cell: dict) -> dict | None:
    "A code cell as a reader sees it, None if it is hidden. Imports are folded"
    source = text_of(cell["source"])
    if not source.strip() or HIDDEN.search(source): return None
    source = FLAG.sub("", source)
    if is_imports(source): source = "#| code-fold: true\n#| code-summary: Imports\n" + source
    return cell | {"source": source}


def page(
    nb: dict,    # a parsed notebook
    name: str,   # below nbs/
    s: dict,     # of settings.ini
) -> dict:       # as smalldocs reads it: title, description and a link to the notebook as front matter, hidden cells left out
    first = text_of(nb["cells"][0]["source"])
    title = TITLE.match(first)
    if not title: raise ValueError(f"the first cell should begin with `# Title`, and is: {first[:60]!r}")
    front = {k: v.strip() for k, v in title.groupdict().items() if v}
    files_url, colab = f"{s['git_url']}/blob/{s['branch']}/", s["git_url"].replace("https://github.com", "https://colab.research.google.com/github")
    front["code-links"] = [{"text": name, "icon": "journal-code", "href": f"{files_url}nbs/{name}"},
                           {"text": "Open in Colab", "icon": "play-circle", "href": f"{colab}/blob/{PAGES_BRANCH}/{COLAB}/{name}"}]
    cells = [{"cell_type": "raw", "metadata": {}, "source": f"---\n{yaml.safe_dump(front, allow_unicode=True, sort_keys=False)}---\n"}]
    for cell in [{"cell_type": "markdown", "metadata": {}, "source": first[title.end():]}, *nb["cells"][1:]]:
        if cell["cell_type"] == "code": cells.append(code_cell(cell))
        else: cells.append(cell | {"source": relink(text_of(cell["source"]), posixpath.dirname(name), files_url)})
    return nb | {"cells": [c for c in cells if c and c["source"].strip()]}


def renamed(value):
    "A part of the configuration with every notebook by its page's name"
    if isinstance(value, dict): return {k: renamed(v) for k, v in value.items()}
    if isinstance(value, list): return [renamed(v) for v in value]
    return page_name(value) if isinstance(value, str) and value.endswith(".ipynb") else value


def configuration(
    root: Path,          # the project's folder
    modules: list[str],  # to be described in the API reference, in order; none: no such pages
) -> dict:              # _quarto.yml with what nbdev would add from settings.ini, and the API reference
    s, config = settings(root), renamed(yaml.safe_load((root/"_quarto.yml").read_text(encoding="utf-8")))
    config.pop("metadata-files", None)
    config["project"]["output-dir"] = "_site"
    config["website"] |= {"title": s["title"], "description": s["description"], "site-url": s["doc_host"] + s["doc_baseurl"],
                          "repo-url": s["git_url"], "repo-branch": s["branch"]}
    if modules:
        pages = [{"text": name, "href": f"api/{name.rpartition('.')[2]}.qmd"} for name in modules]
        config["website"]["sidebar"]["contents"].append({"section": "API reference", "contents": pages})
        config["smalldocs"] = {"api": {"packages": [s["lib_path"]], "root": str(root), "source": f"{s['git_url']}/blob/{s['branch']}"}}
    return config


def stage(
    root: Path,      # the project's folder
    folder: Path,    # where the site's sources are written
    with_api: bool,  # with the API reference
) -> None:
    s, modules = settings(root), []
    for name, path in notebooks(root).items():
        nb = json.loads(path.read_text(encoding="utf-8"))
        modules += [m[1] for c in nb["cells"] if c["cell_type"] == "code" and (m := MODULE.search(text_of(c["source"])))]
        to = folder/page_name(name)
        to.parent.mkdir(parents=True, exist_ok=True)
        try: to.write_text(json.dumps(page(nb, name, s)), encoding="utf-8")
        except ValueError as error: raise ValueError(f"{path}: {error}") from error
    shutil.copy(root/"nbs"/"styles.css", folder)
    config = configuration(root, modules if with_api else [])
    (folder/"_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def colab_copy(
    nb: dict,   # a parsed notebook
    name: str,  # below nbs/
    s: dict,    # of settings.ini
) -> dict:      # the same with a first cell that fetches the repository and installs the package, and without the export
    folder = posixpath.dirname(f"nbs/{name}")
    source = "\n".join([
        "# Colab starts empty: this fetches the notebooks and the files that they read, and installs the package",
        f"!git clone --quiet --depth 1 {s['git_url']}", f"%cd {s['repo']}/{folder}",
        f'%pip install --quiet "{posixpath.relpath(".", folder)}/[minilm,train]" "fastcore<2"'])
    first = {"cell_type": "code", "id": "install", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    return nb | {"cells": [first, *(c for c in nb["cells"] if "nbdev_export(" not in text_of(c["source"]))]}


def write_colab(root: Path, folder: Path) -> None:
    for name, path in notebooks(root).items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        nb = colab_copy(json.loads(path.read_text(encoding="utf-8")), name, settings(root))
        (folder/name).write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")


def localize(
    site: Path,  # a built site, changed in place
) -> None:
    "Let the pages ask nothing of other servers: KaTeX is copied beside them, a theme's web fonts give way to the reader's own"
    shutil.copytree(ROOT/"assets"/"katex", site/"site_libs"/"katex")
    for path in site.rglob("*.html"):
        up = "../"*len(path.relative_to(site).parent.parts)
        path.write_text(KATEX_URL.sub(f"{up}site_libs/katex/", path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (site/"site_libs"/"themes").glob("*.css"):
        path.write_text(FONT_IMPORT.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def make(
    root: Path,      # the project's folder
    out: Path,       # where the site goes; what is there is replaced
    with_api: bool,  # with the API reference
) -> list[str]:      # the warnings
    if out.exists() and not (out/"site_libs").is_dir():
        raise ValueError(f"{out} exists and is not a site: give another --out, or remove it")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        stage(root, folder, with_api)
        site = build(folder, quiet=True)
        localize(Path(site.out))
        write_colab(root, site.out/COLAB)
        (site.out/".nojekyll").touch()  # GitHub publishes the branch as it is
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(site.out, out)
    return [*site.warnings]


def serve(out: Path, port: int) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=out)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C to stop)", flush=True)
        try: server.serve_forever()
        except KeyboardInterrupt: pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-api", action="store_true",
                        help="leave out the API reference, which imports the package and so takes most of the time")
    parser.add_argument("--serve", type=int, metavar="PORT", nargs="?", const=4200, help="show the site here when it is built (port 4200)")
    parser.add_argument("--out", type=Path, help="where the site goes; default: doc_path of settings.ini, _docs")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    args = parser.parse_args()
    root, start = args.root.resolve(), time.monotonic()
    out = args.out or root/settings(root)["doc_path"]
    try: warnings = make(root, out, not args.no_api)
    except ValueError as error: parser.exit(2, f"docs.py: {error}\n")
    for line in warnings: print(f"warning: {line}")
    print(f"{len([*out.rglob('*.html')])} pages in {time.monotonic() - start:.0f} s: {out/'index.html'}")
    if args.serve is not None: serve(out, args.serve)
    return int(bool(warnings))


if __name__ == "__main__": sys.exit(main())
