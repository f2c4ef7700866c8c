"Packaging: every fact is read from `settings.ini`; edit there, not here."
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
STATUSES = ["1 - Planning", "2 - Pre-Alpha", "3 - Alpha", "4 - Beta", "5 - Production/Stable", "6 - Mature", "7 - Inactive"]
LICENSES = {"apache2": "Apache-2.0"}

parser = ConfigParser(delimiters=["="])
parser.read(ROOT/"settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def words(key: str) -> list[str]:
    "The space- or line-separated entries of `key`, which must be there"
    if key not in cfg: raise SystemExit(f"settings.ini lacks the key {key!r}")
    return shlex.split(cfg[key])


def readme() -> str:
    "README.md with its relative links made absolute, since PyPI shows it without the repository's files"
    def link(match): return f"{match[1]}{cfg['git_url']}/{'raw' if match[1][0] == '!' else 'blob'}/{cfg['branch']}/{match[2]}"
    return re.sub(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)\s]+)", link, (ROOT/"README.md").read_text(encoding="utf-8"))


requirements = {extra: words(f"{extra}_requirements") for extra in words("extras")}
requirements["dev"] = [r for group in requirements.values() for r in group] + words("dev_requirements")

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme(),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"], "Source": cfg["git_url"]},
    license_expression=LICENSES[cfg["license"]],
    keywords=words("keywords"),
    classifiers=[
        f"Development Status :: {STATUSES[int(cfg['status']) - 1]}",
        f"Intended Audience :: {cfg['audience'].title()}",
        f"Natural Language :: {cfg['language']}",
        *(f"Programming Language :: Python :: {version}" for version in ["3", *words("pythons")]),
    ],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    package_data={cfg["lib_path"]: words("package_data")},
    include_package_data=False,
    install_requires=words("requirements"),
    extras_require=requirements,
    entry_points={
        "console_scripts": words("console_scripts"),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
