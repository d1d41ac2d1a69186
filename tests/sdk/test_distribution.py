"""The client alone: its wheel holds nothing else of ours, and works without the rest."""

import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

import rackhand
from rackhand import sdk
from tests.test_house_rules import imports, modules

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path

import rackhand.sdk
from rackhand.sdk import AsyncClient, Client, servers

assert rackhand.__file__ is None, rackhand.__file__
assert Path(rackhand.sdk.__file__).is_relative_to(sys.argv[1]), rackhand.sdk.__file__
with Client("https://rackhand.example.com", token="AB"):
    print(rackhand.sdk.__version__, servers.get(7).path)
ours = sorted(name for name in sys.modules if name.partition(".")[0] == "rackhand")
assert all(name == "rackhand" or name.startswith("rackhand.sdk") for name in ours), ours
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, by the build backend that is here."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--no-index", "--disable-pip-version-check", "--wheel-dir", str(out), str(ROOT / "packaging" / "sdk"),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=100)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_the_client_alone(wheel: Path) -> None:
    assert wheel.name == f"rackhand_sdk-{sdk.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "rackhand" / "sdk").iterdir()
        if path.is_file()
    }
    assert "rackhand/sdk/py.typed" in sources
    about = {name for name in names if name.startswith(f"rackhand_sdk-{sdk.__version__}.dist-info/")}
    assert names - about == sources | {"rackhand/sdk/LICENSE"}
    metadata = zipfile.ZipFile(wheel).read(f"rackhand_sdk-{sdk.__version__}.dist-info/METADATA").decode()
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: httpx>=0.28"
    ]


def test_wheel_works_without_the_product(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    # With httpx and what it needs, but not the product: -S reads no .pth file, by which an editable one is found.
    libraries = Path(httpx.__file__).parents[1]
    paths = f"sys.path[:0] = [{str(installed)!r}, {str(libraries)!r}]"
    seen = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; {paths}\n{PROGRAM}", str(installed)],
        check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert seen.stderr == ""
    assert seen.stdout == f"{sdk.__version__} dci/v3/server/7\n"


def test_client_imports_httpx_and_the_standard_library() -> None:
    for name, tree in modules(ROOT / "src" / "rackhand" / "sdk"):
        for imported in imports(tree):
            package = imported.partition(".")[0]
            is_own = imported.startswith("rackhand.sdk.")
            assert is_own or package in {"httpx", *sys.stdlib_module_names}, f"{name} imports {imported}"


def test_client_and_product_have_one_version() -> None:
    assert sdk.__version__ == rackhand.__version__
