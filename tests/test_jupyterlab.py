"A real JupyterLab in a real browser: the notebooks run from top to bottom as a reader runs them, and their outputs appear."
import json
import os
import re
import subprocess
import sys
import time

import pytest
from browser import PATIENCE, launched
from project import ROOT, copy, parsed, setting

INTERPOLATION = "paper/16_interpolation.ipynb"
NOTEBOOKS = ["index.ipynb", INTERPOLATION]
FLAGGED = re.compile(rf"#\|\s*({'|'.join(setting('tst_flags').split())})\b")
MINUTES = 10  # for one notebook, on a busy machine
# Lab would draw only the cells in view; and it would ask about news
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
CELLS = """cells => cells.map(cell => ({
    prompt: cell.querySelector('.jp-InputPrompt').textContent,
    outputs: cell.querySelectorAll('.jp-OutputArea-output').length,
    errors: [...cell.querySelectorAll('[data-mime-type$="jupyter.error"], [data-mime-type$="jupyter.stderr"]')].map(e => e.textContent)
}))"""


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("jupyterlab", reason="no JupyterLab")
    with launched() as browser: yield browser


def bare(path) -> list[int]:
    "Remove a notebook's stored outputs, and the cells that take minutes or more. How many outputs each code cell had"
    nb = parsed(path)
    nb["cells"] = [c for c in nb["cells"] if c["cell_type"] != "code" or not FLAGGED.match("".join(c["source"]))]
    cells = [c for c in nb["cells"] if c["cell_type"] == "code"]
    counts = [len(c["outputs"]) for c in cells]
    for cell in cells: cell |= {"outputs": [], "execution_count": None}
    path.write_text(json.dumps(nb), encoding="utf-8")
    return counts


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    "JupyterLab's address, and its folder: a copy of the notebooks. It knows no settings of the user's, and asks no password"
    root, own = copy(tmp_path_factory.mktemp("project")), tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        path = own/"settings"/"@jupyterlab"/f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    env = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "IN_TEST")} | {k: str(own/v) for k, v in folders.items()}
    env["PYTHONWARNINGS"] = "ignore:IProgress not found"  # of tqdm, which would like ipywidgets
    # the package as it is here, with its weights: the copy has none
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=",
               "--ServerApp.open_browser=False", f"--ServerApp.root_dir={root/'nbs'}"]
    with (own/"log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, cwd=root, stdout=log, stderr=log)
        try:
            yield address(server, own), root/"nbs"
        finally:
            server.terminate()  # and so its kernels
            server.wait(60)


def address(server: subprocess.Popen, own) -> str:
    deadline = time.monotonic() + PATIENCE/1000
    while not (found := list((own/"runtime").glob("jpserver-*.json"))):
        if server.poll() is not None or time.monotonic() > deadline: pytest.fail((own/"log").read_text(encoding="utf-8"))
        time.sleep(.1)
    return json.loads(found[0].read_text(encoding="utf-8"))["url"]


def run_all(page) -> list[dict]:
    "What a reader does: Run, Run All Cells, and wait. What each code cell shows then"
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.locator(".jp-StatusBar-TextItem, .jp-StatusBar-Item", has_text="| Idle").first.wait_for()  # the kernel, without a question
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function("""() => { const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent)
        return prompts.some(p => p.match(/\\d/)) && !prompts.some(p => p.includes('*')) }""", timeout=MINUTES*60_000, polling=500)
    return page.eval_on_selector_all(".jp-Notebook .jp-CodeCell", CELLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_all_cells_run(name, lab, browser):
    server, folder = lab
    stored = bare(folder/name)
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}lab/tree/{name}?reset", wait_until="domcontentloaded")
    cells = run_all(page)
    page.close()
    assert [line for cell in cells for line in cell["errors"]] == []
    assert [i for i, cell in enumerate(cells) if not any(map(str.isdigit, cell["prompt"]))] == []
    assert [bool(cell["outputs"]) for cell in cells] == [bool(count) for count in stored]
