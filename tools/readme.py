#!/usr/bin/env python3
"""Write README.md from nbs/index.ipynb, or with --check say whether it is what would be written.

The work of `nbdev_readme` for a plain page, without Quarto: prose as it is, visible code and its outputs as fenced blocks,
links made relative to the top folder. Pictures among the outputs are written to assets/readme/."""
import argparse
import base64
import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = re.compile(r"^#\|\s*(hide|default_exp|include:\s*false)\b", re.M)
DIRECTIVE = re.compile(r"^#\|.*\n?", re.M)
FENCE = re.compile(r"(^```.*?^```[ \t]*$)", re.M | re.S)
IMAGES = "assets/readme"  # below the top folder; holds nothing else
LINK = re.compile(r"(\]\(|\b(?:src|href)=\")(?![a-z]+:|[#/])([^)\s\"]+)")
PICTURES = {"image/svg+xml": "svg", "image/png": "png"}


def text_of(value) -> str:
    "A notebook keeps text as one string or as a list of lines"
    return value if isinstance(value, str) else "".join(value)


def fenced(text: str, language: str = "") -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def prose(source: str) -> str:
    "Markdown whose relative links start at the top folder instead of nbs/; code blocks stay as they are"
    def relink(match): return match[1] + posixpath.normpath(posixpath.join("nbs", match[2]))
    parts = FENCE.split(source.strip())
    parts[::2] = [LINK.sub(relink, part) for part in parts[::2]]
    return "".join(parts).replace("```{mermaid}", "```mermaid")


def alt_text(source: str) -> str:
    "What a cell's `fig-alt` option says about its picture"
    found = re.search(r"^#\|\s*fig-alt:\s*(.+?)\s*$", source, re.M)
    return found[1].strip("\"'") if found else ""


def output(out: dict, pictures: dict[str, bytes], alt: str = "") -> str:
    "One output as Markdown; a picture is added to `pictures` under its file name"
    if out["output_type"] == "stream": return fenced(text_of(out["text"]))
    if out["output_type"] == "error": raise ValueError(f"index.ipynb has a stored error: {out['ename']}: {out['evalue']}")
    data = out["data"]
    for mime, suffix in PICTURES.items():
        if mime not in data: continue
        name = f"figure-{len(pictures) + 1}.{suffix}"
        pictures[name] = text_of(data[mime]).encode() if suffix == "svg" else base64.b64decode(text_of(data[mime]))
        return f"![{alt}]({IMAGES}/{name})"
    if "text/markdown" in data: return text_of(data["text/markdown"]).strip()
    return fenced(text_of(data["text/plain"]))


def render(nb: dict) -> tuple[str, dict[str, bytes]]:
    "The README's text and its pictures by file name"
    parts, pictures = ["<!-- Written by tools/readme.py from nbs/index.ipynb: edit there. -->"], {}
    for cell in nb["cells"]:
        source = text_of(cell["source"])
        if cell["cell_type"] == "markdown": parts.append(prose(source))
        elif cell["cell_type"] == "code" and source.strip() and not HIDDEN.search(source):
            if not re.search(r"^#\|\s*echo:\s*false\b", source, re.M): parts.append(fenced(DIRECTIVE.sub("", source), "python"))
            if not re.search(r"^#\|\s*output:\s*false\b", source, re.M):
                parts += [output(out, pictures, alt_text(source)) for out in cell["outputs"]]
    return "\n\n".join(parts) + "\n", pictures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when something would change")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    args = parser.parse_args()
    text, pictures = render(json.loads((args.root/"nbs"/"index.ipynb").read_text(encoding="utf-8")))
    wanted = {args.root/"README.md": text.encode()} | {args.root/IMAGES/name: content for name, content in pictures.items()}
    present = {p: p.read_bytes() for p in [args.root/"README.md", *(args.root/IMAGES).glob("*")] if p.exists()}
    stale = sorted(str(p.relative_to(args.root)) for p in wanted.keys() | present.keys() if wanted.get(p) != present.get(p))
    if args.check:
        if stale: print(f"not what nbs/index.ipynb gives: {', '.join(stale)}; run tools/readme.py")
        return int(bool(stale))
    for path in present.keys() - wanted.keys(): path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__": sys.exit(main())
