"The package as people install it: built from its source distribution, complete, small, and at run time without what development needs."
import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from project import HEAVY, PACKAGE, ROOT, copy, files, setting

MEGABYTES = 100
# the packages that only development and the extras need, by the names of their imports
NOT_NEEDED = {"nbdev", "fastcore", "execnb", "ghapi", "fastgit", "astunparse", "watchdog", "IPython", "ipykernel", "jupyterlab",
              "nbclient", "nbformat", "pytest", "smalldocs", "ruff", "playwright", "faker", "datasets", "accelerate", "openai",
              "chromadb", "qdrant_client", "sqlalchemy", "psycopg", "pgvector", "lancedb", "faiss", "sqlite_vec", "apsw"}
# run with the names of NOT_NEEDED, of a folder with the installed package, and of entry points
IMPORT_ALL = """
import importlib, pkgutil, sys
folder, entries, hidden = sys.argv[1], sys.argv[2].split(), set(sys.argv[3].split())

class Without:
    "A finder of modules for which the hidden packages are not installed"
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
sys.path.insert(0, folder)
import vec2text_nb
assert vec2text_nb.__file__.startswith(folder), vec2text_nb.__file__
for module in pkgutil.walk_packages(vec2text_nb.__path__, "vec2text_nb."): importlib.import_module(module.name)
for name in vec2text_nb.__all__: getattr(vec2text_nb, name)
for entry in entries: pkgutil.resolve_name(entry)
assert not hidden & {name.partition(".")[0] for name in sys.modules}
"""


def run(*command, **options) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    "The source distribution, and the wheel that is built from it"
    root, out = copy(tmp_path_factory.mktemp("project")), tmp_path_factory.mktemp("dist")
    for path in files():
        if path.suffix in HEAVY: shutil.copyfile(path, root/path.relative_to(ROOT))
    run("-m", "build", "--no-isolation", "--outdir", out, root)
    return *out.glob("*.tar.gz"), *out.glob("*.whl")


@pytest.fixture(scope="module")
def wheel(built) -> dict[str, bytes]:
    "The wheel's small files by name; of large ones only the name"
    with zipfile.ZipFile(built[1]) as archive:
        return {i.filename: archive.read(i) if i.file_size < 2**20 else b"" for i in archive.infolist() if not i.is_dir()}


def information(wheel: dict, name: str) -> str:
    return next(content.decode() for path, content in wheel.items() if path.endswith(f".dist-info/{name}"))


def test_the_wheel_holds_the_package_and_nothing_else(built, wheel):
    assert built[1].stat().st_size < MEGABYTES*1e6 and built[1].name.endswith("-py3-none-any.whl")
    names = {n for n in wheel if ".dist-info/" not in n}
    assert names == {p.relative_to(ROOT).as_posix() for p in files() if PACKAGE in p.parents}
    assert {f"{PACKAGE.name}/py.typed", f"{PACKAGE.name}/__init__.py"} < names and any("/pretrained/" in n for n in names)


def requirement(text: str) -> tuple[str, frozenset, str]:
    "A requirement's name, versions and extra, in one spelling"
    name, versions, extra = re.fullmatch(r"([\w.-]+)\s*([^;]*?)\s*(?:;\s*extra == ['\"]([\w-]+)['\"])?", text).groups()
    return re.sub(r"[-_.]+", "-", name).lower(), frozenset(versions.replace(" ", "").split(",")), extra or ""


def test_its_metadata_is_that_of_the_settings(wheel):
    data = email.message_from_string(information(wheel, "METADATA"))
    assert (data["Name"], data["Version"], data["Summary"]) == (setting("lib_name"), setting("version"), setting("description"))
    assert data["Requires-Python"] == f">={setting('min_python')}" and data["License-Expression"] == "Apache-2.0"
    assert {f"Programming Language :: Python :: {v}" for v in setting("pythons").split()} <= {*data.get_all("Classifier")}
    extras = setting("extras").split()
    assert {*data.get_all("Provides-Extra")} == {*extras, "dev"}
    wanted = {requirement(r) for r in setting("requirements").split()}
    wanted |= {requirement(r)[:2] + (extra,) for e in extras for extra in (e, "dev") for r in setting(f"{e}_requirements").split()}
    wanted |= {requirement(r)[:2] + ("dev",) for r in setting("dev_requirements").split()}
    assert {requirement(r) for r in data.get_all("Requires-Dist")} == wanted
    assert (ROOT/"LICENSE").read_text(encoding="utf-8") == information(wheel, "licenses/LICENSE")


def test_its_description_is_the_readme_with_links_that_work_away_from_the_repository(wheel):
    described = email.message_from_string(information(wheel, "METADATA")).get_payload()
    readme = (ROOT/"README.md").read_text(encoding="utf-8")
    links, wanted = re.findall(r"\]\(([^)\s]+)\)", described), re.findall(r"\]\(([^)\s]+)\)", readme)
    assert [link for link in links if not re.match(r"https?:|#", link)] == [] and len(links) == len(wanted)
    repository = re.escape(setting("git_url"))
    assert re.sub(rf"\]\({repository}/(raw|blob)/main/", "](", described).strip() == readme.strip()
    assert "/raw/main/assets/readme/figure-1.png)" in described and "/blob/main/nbs/guides/" in described


def entry_points(wheel: dict) -> dict[str, str]:
    parser = ConfigParser(delimiters=["="])
    parser.read_string(information(wheel, "entry_points.txt"))
    return dict(parser["console_scripts"])


def test_its_commands_are_those_of_the_settings(wheel):
    assert entry_points(wheel) == dict(entry.split("=") for entry in setting("console_scripts").split())


def test_every_module_runs_without_what_development_needs(built, wheel, tmp_path):
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", tmp_path, built[1])
    run("-B", "-c", IMPORT_ALL, tmp_path, " ".join(entry_points(wheel).values()), " ".join(NOT_NEEDED), cwd=tmp_path)


def test_the_source_distribution_holds_the_project(built):
    with tarfile.open(built[0]) as archive: names = {name.partition("/")[2] for name in archive.getnames()}
    whole = ("nbs/", "results/", "tests/", "tools/", f"{PACKAGE.name}/")
    project = {p.relative_to(ROOT).as_posix() for p in files()}
    wanted = {n for n in project if n.startswith(whole) or "/" not in n and not n.startswith(".")}
    assert wanted <= names
    assert not {n for n in names if re.search(r"__pycache__|\.ipynb_checkpoints|^(runs|_docs|build|dist)/", n)}


def test_the_installed_packages_fit_together(): run("-m", "pip", "check")
