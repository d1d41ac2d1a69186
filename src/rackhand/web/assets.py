"""Files that the browser keeps: read once, compressed once, named by their content."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from rackhand.errors import NotFound

_DIRECTORY = Path(__file__).parent / "static"
_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """A file with its compressed form."""

    media_type: str
    content: bytes
    compressed: bytes
    version: str


@cache
def assets() -> dict[str, Asset]:
    """All files by the path below `static/`."""
    found = {}
    for path in sorted(_DIRECTORY.rglob("*")):
        if path.is_file() and not path.name.endswith(".LICENSE"):
            content = path.read_bytes()
            found[path.relative_to(_DIRECTORY).as_posix()] = Asset(
                media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
                content=content,
                compressed=gzip.compress(content, 6, mtime=0),
                version=hashlib.sha256(content).hexdigest()[:12],
            )
    return found


def asset_url(name: str) -> str:
    """Where a file is; the address changes with the content, so that browsers may keep it for ever."""
    return f"/static/{name}?v={assets()[name].version}"


async def serve_asset(request: Request) -> Response:
    """Answer with a file."""
    asset = assets().get(request.path_params["name"])
    if asset is None:
        raise NotFound("There is no such file.")
    is_versioned = request.query_params.get("v") == asset.version
    headers = {"cache-control": _YEAR if is_versioned else "no-cache", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.compressed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
