"""Copies the built files of the console's libraries out of npm packages, with their licences.

Run `make vendor` after changing a version below, look at the differences, commit them. Needs npm; nothing here runs
when the product is built or used.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src" / "rackhand" / "web" / "static" / "vendor"
TEST_TARGET = ROOT / "tests" / "web" / "vendor"

# package and version: file in the package, our name for it
FILES = {
    "htmx.org@2.0.11": {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE"},
    "@tabler/core@1.6.1": {
        "dist/css/tabler.min.css": "tabler.min.css",
        "dist/js/tabler.min.js": "tabler.min.js",
    },
    "uplot@1.6.32": {
        "dist/uPlot.iife.min.js": "uplot.min.js",
        "dist/uPlot.min.css": "uplot.min.css",
        "LICENSE": "uplot.LICENSE",
    },
    "@xterm/xterm@6.0.0": {
        "lib/xterm.mjs": "xterm.min.mjs",
        "css/xterm.css": "xterm.css",
        "LICENSE": "xterm.LICENSE",
    },
    "@tabler/icons@3.52.0": {"LICENSE": "tabler-icons.LICENSE"},
}
# For the tests alone: it finds what a page does to people who cannot see or use a mouse.
TEST_FILES = {"axe-core@4.14.1": {"axe.min.js": "axe.min.js", "LICENSE": "axe.LICENSE"}}

# The icons that templates name, of all 6,000.
ICONS = """
activity adjustments alert-octagon alert-triangle arrow-down arrow-up ban bolt bolt-off building-community check
chevron-down chevron-left chevron-right chevron-up circle-check circle-dashed circle-dot circle-minus circle-x
clipboard clock columns copy cpu device-sd-card disc dots-vertical download external-link eye filter heartbeat
help-circle history hourglass info-circle key language layout-dashboard link list-check loader-2 lock login logout
map-pin maximize menu-2 moon network note package pencil player-pause player-play plug plug-connected plus power
printer refresh route search server-2 shield-lock shield-off sitemap stack-2 sun sun-moon switch-horizontal
table-import tag terminal-2 tool topology-star-3 trash unlink upload user user-off user-plus users vector wifi-off
world x
""".split()


def main() -> None:
    """Renew both directories."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _copy(FILES, TARGET, scratch)
        _copy(TEST_FILES, TEST_TARGET, scratch)
        nodes = json.loads((scratch / "@tabler+icons" / "package" / "tabler-nodes-outline.json").read_text())
        (TARGET / "icons.svg").write_text(_sprite(nodes))
        version = (scratch / "@tabler+core" / "package" / "package.json").read_text()
        licence = json.loads(version)["license"]
        (TARGET / "tabler.LICENSE").write_text(
            f"@tabler/core: {licence}, https://github.com/tabler/tabler\n\n"
            + (TARGET / "tabler-icons.LICENSE").read_text()
        )


def _copy(files: dict[str, dict[str, str]], target: Path, scratch: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package, wanted in files.items():
        place = scratch / package.rpartition("@")[0].replace("/", "+")
        place.mkdir()
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],  # noqa: S607  # from PATH, as every developer tool
            cwd=place,
            check=True,
            capture_output=True,
            text=True,
        )
        with tarfile.open(place / packed.stdout.strip()) as archive:
            archive.extractall(place, filter="data")
        for source, name in wanted.items():
            text = (place / "package" / source).read_text()
            # Source maps are not shipped. (`splitlines` would part strings at separators that are no ends of lines.)
            lines = [line for line in text.rstrip("\n").split("\n") if "sourceMappingURL=" not in line]
            (target / name).write_text("\n".join(lines) + "\n")


def _sprite(nodes: dict[str, list[list[object]]]) -> str:
    symbols = []
    for icon in sorted(ICONS):
        parts = "".join(
            "<" + str(tag) + "".join(f' {name}="{value}"' for name, value in attributes.items()) + "/>"
            for tag, attributes in nodes[icon]
            if isinstance(attributes, dict)
        )
        symbols.append(
            f'<symbol id="{icon}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-linecap="round"'
            f' stroke-linejoin="round">{parts}</symbol>'
        )
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


if __name__ == "__main__":
    main()
