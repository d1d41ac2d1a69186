"""Collects the console's texts into its catalogues and compiles them; run it with `make texts`."""

from pathlib import Path

from babel.messages.frontend import CommandLineInterface

HERE = Path(__file__).parent
WEB = HERE.parent / "src" / "rackhand" / "web"
LANGUAGES = ("ru",)


def main() -> None:
    """Extract, merge, compile."""
    collected = HERE / "console.pot"
    babel = CommandLineInterface()
    babel.run(
        ["pybabel", "-q", "extract", "-F", str(HERE / "babel.cfg"), "-k", "marked", "--no-location", "--no-wrap",
         "--sort-output", "--omit-header", "-o", str(collected), str(WEB)]
    )  # fmt: skip
    for language in LANGUAGES:
        catalogue = WEB / "locale" / language / "LC_MESSAGES" / "console.po"
        verb = "update" if catalogue.exists() else "init"
        rest = (
            ["--no-fuzzy-matching", "--ignore-obsolete", "--no-wrap"] if verb == "update" else ["--no-wrap"]
        )
        babel.run(["pybabel", "-q", verb, "-i", str(collected), "-o", str(catalogue), "-l", language, *rest])
        compiled = catalogue.with_suffix(".mo")
        babel.run(["pybabel", "-q", "compile", "-i", str(catalogue), "-o", str(compiled), "-l", language])
    collected.unlink()


if __name__ == "__main__":
    main()
