#!/usr/bin/env python3
"""Run notebooks from top to bottom and store their outputs in place, or with --check only compare the kinds of output.

The rules are those of `nbdev_test`: a cell is left out, and keeps its stored outputs, when it has `#| eval: false`, a flag
in `tst_flags` of settings.ini that --flags does not name, or a call of `nbdev_export`. A stored notebook is as `nbdev_clean`
leaves it. A notebook with a failing cell is not written; the others still run, and the exit status is 1."""
import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from execnb.nbio import read_nb, write_nb
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbdev.clean import clean_nb
from nbdev.config import get_config

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*([\w-]+):?[ \t]*(.*?)[ \t]*$", re.M)
# a saved run shows figures inline, no progress bars and the same bytes every time
KERNEL_ENV = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
              "PYTHONWARNINGS": "ignore:IProgress not found", "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0"}



class Runner(NotebookClient):
    "A client that leaves out the cells that `nbdev_test` leaves out, and remembers the cell that it is at"
    skip_flags = frozenset()
    at = None

    def is_skipped(self, cell) -> bool:
        if cell.cell_type != "code": return True
        directives = dict(DIRECTIVE.findall(cell.source))
        return directives.get("eval", "").lower() == "false" or bool(self.skip_flags & directives.keys()) or "nbdev_export(" in cell.source

    async def async_execute_cell(self, cell, cell_index, **kwargs):
        if self.is_skipped(cell): return cell
        self.at = cell_index
        return await super().async_execute_cell(cell, cell_index, **kwargs)


def execute(
    path: Path,       # the notebook; it is run in its own folder
    skip_flags: set,  # flags whose cells are left out
    timeout: int,     # seconds for one cell
):                    # the notebook with new outputs; raises RuntimeError naming notebook and cell
    nb = nbformat.read(path, as_version=4)
    runner = Runner(nb, timeout=timeout, kernel_name="python3", record_timing=False, coalesce_streams=True,
                    resources={"metadata": {"path": str(path.parent)}}, extra_arguments=["--log-level=ERROR"])
    runner.skip_flags = frozenset(skip_flags)
    try: return runner.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        cell = f"cell {runner.at} (id {nb.cells[runner.at].get('id')})" if runner.at is not None else "before the first cell"
        raise RuntimeError(f"{path}: {cell}:\n{error}") from error


def save(nb, path: Path) -> None:
    "Write `nb` as `nbdev_clean` would leave it, all or nothing"
    cfg = get_config()
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".ipynb", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        nbformat.write(nb, temporary)
        clean = read_nb(temporary)
        clean_nb(clean, cfg.clear_all, cfg.allowed_metadata_keys.split(), cfg.allowed_cell_metadata_keys.split(), cfg.clean_ids)
        write_nb(clean, temporary)
        temporary.chmod(path.stat().st_mode)
        temporary.replace(path)
    finally: temporary.unlink(missing_ok=True)


def kinds(cell) -> list:
    "What --check compares: the kinds of a cell's outputs, not their contents"
    return [(o.output_type, o.get("name") or tuple(sorted(o.get("data", {})))) for o in cell.get("outputs", [])]


def differences(path: Path, new) -> list[str]:
    "A line for each cell of `path` whose stored outputs are of other kinds than those of the new run"
    pairs = enumerate(zip(nbformat.read(path, as_version=4).cells, new.cells, strict=True))
    return [f"{path}: cell {i}: stored {kinds(a)}, a run gives {kinds(b)}" for i, (a, b) in pairs if kinds(a) != kinds(b)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--flags", default="", help="flags of tst_flags whose cells run too, separated by spaces")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one cell")
    parser.add_argument("--check", action="store_true", help="write nothing; report cells whose kinds of output differ")
    args = parser.parse_args()
    cfg = get_config()
    os.environ.update(KERNEL_ENV)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(cfg.config_path), os.environ.get("PYTHONPATH")]))
    skip_flags = set(cfg.tst_flags.split()) - set(args.flags.split())
    failed = 0
    for path in args.notebooks:
        start, bad = time.monotonic(), []
        try:
            nb = execute(path, skip_flags, args.timeout)
            if args.check: bad = differences(path, nb)
            else: save(nb, path)
        except RuntimeError as error: bad = [str(error)]
        failed += bool(bad)
        print(f"{path}: {time.monotonic() - start:.1f} s{', failed' if bad else ''}", *bad, sep="\n", flush=True)
    print(f"{len(args.notebooks) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__": sys.exit(main())
