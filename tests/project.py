"Where the project's files are, and copies of them to try things on"
import ast
import json
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT/"vec2text_nb"
HEAVY = {".safetensors", ".npy", ".npz", ".pt"}


def setting(key: str) -> str:
    parser = ConfigParser()
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"][key]


def notebooks(root: Path = ROOT) -> dict[str, Path]:
    "The notebooks that nbdev sees, by their name below nbs/"
    paths = {p.relative_to(root/"nbs").as_posix(): p for p in sorted((root/"nbs").rglob("*.ipynb"))}
    return {name: p for name, p in paths.items() if not any(part[0] in "._" for part in Path(name).parts)}


def parsed(path: Path) -> dict: return json.loads(path.read_text(encoding="utf-8"))


def files(root: Path = ROOT) -> list[Path]:
    "The files that git tracks or would track"
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True)
    paths = [root/name for name in sorted(set(out.stdout.decode().split("\0")) - {""})]
    return [p for p in paths if p.is_symlink() or p.is_file()]


def copy(folder: Path) -> Path:
    "The project's files, weights left out, copied into `folder`"
    for path in files():
        if path.suffix in HEAVY: continue
        to = folder/path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to, follow_symlinks=False)
    return folder


def lazy_names() -> dict[str, str]:
    "The package's public names and their modules, read from its `__init__.py` without importing it"
    body = ast.parse((PACKAGE/"__init__.py").read_text(encoding="utf-8")).body
    values = {n.targets[0].id: n.value for n in body if isinstance(n, ast.Assign)}
    return ast.literal_eval(values["_MODULES"])
