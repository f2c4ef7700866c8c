"A headless Chromium for the tests that look at pages; without one, or without playwright, they are skipped"
import shutil
from contextlib import contextmanager

import pytest

NAMES = "chromium", "chromium-browser", "google-chrome"
PATIENCE = 120_000  # milliseconds, for one thing to happen on a busy machine
# root has no sandbox, and what is opened here is our own; no other computer is found, and the browser does not call home
OPTIONS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-gpu", "--disable-quic",
           "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def launched():
    "The browser, open"
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None: pytest.skip("no browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=OPTIONS, timeout=PATIENCE)
        yield browser
        browser.close()


def watch(
    page,             # of playwright
    server: str,      # its address, where everything should come from
) -> list[str]:       # grows by what goes wrong: errors of scripts and of the console, files that are missing or come from elsewhere
    found = []
    page.on("request", lambda r: None if r.url.startswith((server, "data:", "blob:")) else found.append(f"asks for {r.url}"))
    page.on("response", lambda r: found.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    # a site need not have an icon at the place where browsers look for one by themselves
    page.on("console", lambda m: found.append(f"console: {m.text}") if m.type == "error" and "favicon" not in m.location["url"] else None)
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    return found
