"""The house style of the notebooks as pure functions: each takes parsed notebooks and returns a list of complaints, empty when all is well.

A notebook is the parsed JSON of an .ipynb file. Its cells are read through `cells`, which joins sources and names the flags."""
import ast
import re
import statistics
from dataclasses import dataclass, field

LONGEST_CELL = 40    # lines of an exported cell, flags not counted
MEDIAN_CELL = 15     # lines, over the exported cells of a notebook
LONGEST_CODE_RUN = 3  # visible code cells without prose between them
SYMBOLS_PER_TEST = 2  # exported functions and classes for each visible test cell

EXPORTS = {"export", "exports", "exporti"}
# flags of nbdev stand alone or take words; options of Quarto take a colon and a value
FLAGS = EXPORTS | {"default_exp", "hide", "hide_line", "filter_stream"}
OPTIONS = {"eval", "echo", "output", "include", "warning", "code-fold", "code-summary", "fig-cap", "fig-alt", "label"}
ALONE = re.compile(r"^\s*#\s*\|?\s*([\w-]+):?\s*(?:true|false)?\s*$", re.I)
DIRECTIVE = re.compile(r"^\s*#\s*\|")
CANONICAL = re.compile(r"^#\| ([\w-]+)(:?)(?: (\S.*))?$")

# written in parts, so that this file does not name what it forbids
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:" + "|".join(["home", "root", "tmp", "work", "opt", "Users", "var/folders"]) + r")\b"
                          r"|\b[A-Za-z]:\\{1,2}Users\b")
OUTSIDE_FOLDER = re.compile(r"\.\./" + "shared" + r"\b")


@dataclass
class Cell:
    "A cell with its source as one string and its leading flags"
    index: int
    kind: str
    source: str
    outputs: list
    flags: dict = field(default_factory=dict)  # name -> the words after it, a colon removed

    @property
    def code(self) -> str: return "\n".join(o for o in self.source.splitlines() if not DIRECTIVE.match(o)).strip("\n")
    @property
    def is_code(self) -> bool: return self.kind == "code" and bool(self.source.strip())
    @property
    def is_exported(self) -> bool: return self.is_code and bool(EXPORTS & self.flags.keys())
    @property
    def is_hidden(self) -> bool: return bool({"hide", "default_exp"} & self.flags.keys()) or self.flags.get("include") == "false"

    def tree(self) -> ast.Module:
        "The parsed code; magics and shell lines are left out"
        return ast.parse("\n".join(o for o in self.code.splitlines() if not re.match(r"\s*[%!]", o)))


def joined(value) -> str: return value if isinstance(value, str) else "".join(value)


def cells(nb: dict) -> list[Cell]:
    res = []
    for i, c in enumerate(nb["cells"]):
        cell = Cell(i, c["cell_type"], joined(c["source"]), c.get("outputs", []))
        for line in cell.source.splitlines() if cell.kind == "code" else []:
            if line.strip() and not DIRECTIVE.match(line): break
            if m := re.match(r"\s*#\s*\|\s*([\w-]+):?\s*(.*?)\s*$", line): cell.flags[m[1]] = m[2]
        res.append(cell)
    return res


def module(nb: dict) -> str | None:
    "The module that the notebook writes"
    return next((c.flags["default_exp"] for c in cells(nb) if "default_exp" in c.flags), None)


def number(name: str) -> str | None:
    "The number that the notebook's file name begins with, two digits and perhaps a letter: '07', '07b'"
    m = re.match(r"\d\d[a-z]?(?=_)", name.rpartition("/")[2])
    return m[0] if m else None


# over all notebooks: a dict from names such as "paper/10_tables.ipynb" to notebooks

def shared_modules(nbs: dict[str, dict]) -> list[str]:
    "Two notebooks with one `default_exp` overwrite each other's module without a word"
    names = {}
    for name, nb in nbs.items():
        if module(nb): names.setdefault(module(nb), []).append(name)
    return [f"module {mod} is written by {' and '.join(who)}" for mod, who in names.items() if len(who) > 1]


# over one notebook

def first_cell(nb: dict) -> list[str]:
    "A notebook begins with `# Title` and a line `> what it is`"
    first = cells(nb)[0]
    if first.kind != "markdown" or not re.match(r"# \S", first.source): return ["the first cell should be markdown: `# Title`"]
    return [] if re.search(r"^> \S", first.source, re.M) else ["the first cell should have a line `> description`"]


def kernel(nb: dict) -> list[str]:
    "Without a kernel in its metadata JupyterLab asks for one before it runs a cell"
    return [] if nb["metadata"].get("kernelspec", {}).get("name") == "python3" else ["metadata: kernelspec should name python3"]


def exported_size(nb: dict) -> list[str]:
    "Exported cells are short"
    sizes = {c.index: len(c.code.splitlines()) for c in cells(nb) if c.is_exported}
    res = [f"cell {i}: {n} exported lines, at most {LONGEST_CELL}" for i, n in sizes.items() if n > LONGEST_CELL]
    median = statistics.median(sizes.values()) if sizes else 0
    if median > MEDIAN_CELL: res.append(f"median of the exported cells: {median} lines, at most {MEDIAN_CELL}")
    return res


def imported_modules(cell: Cell, package: str, names: dict[str, str]) -> set[str]:
    "The package's modules that a cell imports; `names` tells the module of each name that the package itself gives"
    res = set()
    for node in ast.walk(cell.tree()):
        if isinstance(node, ast.Import): res |= {a.name.partition(".")[2] for a in node.names if a.name.startswith(package + ".")}
        if isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level: source = f"{package}.{source}".rstrip(".")
            if source == package: res |= {names.get(a.name, a.name) for a in node.names}
            elif source.startswith(package + "."): res.add(source.partition(".")[2])
    return res


def import_order(
    nb: dict,                # the notebook
    name: str,               # its file name, numbered if it writes a module
    numbers: dict[str, str],  # module -> number of the notebook that writes it
    package: str = "vec2text_nb",
    names: dict[str, str] | None = None,  # public name of the package -> its module
) -> list[str]:
    "Notebook k imports from lower numbers only, and in hidden cells also from its own module"
    mine, k = module(nb), number(name)
    if k is None: return ["the file name of a notebook that writes a module should begin with a number"] if mine else []
    res = []
    for cell in cells(nb):
        for mod in sorted(imported_modules(cell, package, names or {})) if cell.is_code else []:
            if mod == mine and not cell.is_exported and cell.is_hidden: continue
            if mod not in numbers: res.append(f"cell {cell.index}: imports {mod}, which no notebook writes")
            elif numbers[mod] >= k: res.append(f"cell {cell.index}: imports {mod} of notebook {numbers[mod]}, and this is {k}")
    return res


def flag_spelling(nb: dict, test_flags: list[str]) -> list[str]:
    "A flag is `#| name` or `#| option: value` at the head of a cell; everything else that looks like one does nothing"
    flags, res = FLAGS | set(test_flags), []
    for cell in cells(nb):
        head = cell.is_code
        for line in cell.source.splitlines() if cell.is_code else []:
            where = f"cell {cell.index}: `{line.strip()}`"
            if not DIRECTIVE.match(line):
                if (m := ALONE.match(line)) and m[1].lower() in flags | {"eval"}: res.append(f"{where} is a comment; a flag is `#| {m[1]}`")
                if line.strip() and not line.startswith("%%"): head = False
                continue
            m = CANONICAL.match(line)
            if m is None: res.append(f"{where} should be written `#| name` or `#| name: value`")
            elif not head: res.append(f"{where} does nothing below the first line of code")
            elif m[1] not in flags | OPTIONS: res.append(f"{where} is no flag that is known here")
            elif m[1] in OPTIONS and not m[2]: res.append(f"{where} should be written with a colon")
            elif m[1] in flags and m[2]: res.append(f"{where} should be written without a colon")
            elif m[1] in test_flags and m[3]: res.append(f"{where} should stand alone on its line")
    return res


def texts_of(output: dict) -> list[str]:
    "The texts of an output that a reader sees; pictures in base64 are not texts"
    data = output.get("data", {})
    readable = [joined(v) for k, v in data.items() if (k.startswith("text/") or k == "image/svg+xml")]
    return [*readable, joined(output.get("text", "")), *output.get("traceback", [])]


def machine_paths(nb: dict) -> list[str]:
    "No source and no output names a folder of the machine that made it"
    res = []
    for cell in cells(nb):
        for where, text in [("source", cell.source), *(("output", t) for o in cell.outputs for t in texts_of(o))]:
            if m := MACHINE_PATH.search(text) or OUTSIDE_FOLDER.search(text): res.append(f"cell {cell.index}: {where} names {m[0]}")
    return res


def stored_outputs(nb: dict) -> list[str]:
    "A notebook is stored with its outputs, and these hold neither errors nor warnings"
    outputs = [(c.index, o) for c in cells(nb) for o in c.outputs]
    res = [] if outputs else ["no cell has a stored output: run tools/run_nbs.py"]
    for i, o in outputs:
        if o["output_type"] == "error": res.append(f"cell {i}: a stored error, {o.get('ename')}")
        if o["output_type"] == "stream" and o["name"] == "stderr": res.append(f"cell {i}: stored stderr, {joined(o['text'])[:60]!r}")
    return res


def prose_leads(nb: dict) -> list[str]:
    "No long rows of code without prose between; cells that no reader sees do not count"
    run, res = 0, []
    for cell in cells(nb):
        if cell.kind == "markdown": run = 0
        elif cell.is_code and not cell.is_hidden:
            run += 1
            if run == LONGEST_CODE_RUN + 1: res.append(f"cell {cell.index}: more than {LONGEST_CODE_RUN} code cells in a row without prose")
    return res


def is_test(cell: Cell) -> bool:
    "An assertion, or a call of a `test_...` function such as fastcore's"
    def called(node): return getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
    return any(isinstance(n, ast.Assert) or called(n).startswith("test_") for n in ast.walk(cell.tree()))


def visible_tests(nb: dict, test_flags: list[str]) -> list[str]:
    "At least one test that is read and run for every two exported functions and classes"
    code = [c for c in cells(nb) if c.is_code]
    symbols = [n.name for c in code if {"export", "exports"} & c.flags.keys() for n in c.tree().body
               if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    def runs(cell): return cell.flags.get("eval") != "false" and not cell.flags.keys() & set(test_flags)
    tests = sum(is_test(c) for c in code if runs(c) and not c.is_hidden and not c.is_exported)
    if tests * SYMBOLS_PER_TEST >= len(symbols): return []
    return [f"{tests} visible test cells for {len(symbols)} exported functions and classes, at least one for {SYMBOLS_PER_TEST}"]


# over any Python code

def without_encoding(tree: ast.AST) -> list[str]:
    "Texts read or written in the machine's encoding, which on Windows is not UTF-8"
    res = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords): continue
        alone = isinstance(node.func, ast.Name)
        name = node.func.id if alone else getattr(node.func, "attr", "")
        given = {k.arg: k.value for k in node.keywords}
        mode = given.get("mode") or next(iter(node.args[alone:]), None)
        as_text = isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set("rwax+t").issuperset(mode.value)
        wrong = (name == "read_text" and not node.args or name == "write_text" and len(node.args) < 2
                 or name == "open" and alone and not mode or name in ("open", "NamedTemporaryFile", "fdopen") and as_text)
        if wrong: res.append(f'line {node.lineno}: {name} without encoding="utf-8"')
    return res
