"""A packed new cluster in the user's cache: unpacking it is quicker than initdb.

The file is a digest followed by a zip archive. It is renamed into place, so that it is never
half there, and one whose digest does not fit is not used.
"""

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

from vin.embedded.home import EmbeddedError, make_private

DIGEST_BYTES = hashlib.sha256().digest_size


def template_path(version: str) -> Path | None:
    """Where the template of a version lies; None when this user can have no private cache."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(root, "vin")
        make_private(cache)
    except (EmbeddedError, RuntimeError):  # Path.home raises the latter
        return None
    return cache / f"postgresql-{version}.template"


def unpack(template: Path, cluster: Path) -> bool:
    """Make a cluster from the template; False, and nothing made, if it is absent or damaged."""
    try:
        content = memoryview(template.read_bytes())
    except OSError:
        return False
    digest, archive = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        return False
    cluster.mkdir(mode=0o700)
    with ZipFile(io.BytesIO(archive)) as zipped:
        zipped.extractall(cluster)
    return True


def pack(cluster: Path, template: Path) -> None:
    """Keep a cluster that no server has used yet as the template, if the cache has room."""
    archive = io.BytesIO()
    with ZipFile(archive, "w") as zipped:
        for path in cluster.rglob("*"):
            zipped.write(path, path.relative_to(cluster))
    digest = hashlib.sha256(archive.getbuffer()).digest()
    new = template.with_name(f"{template.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            new.write_bytes(digest + archive.getbuffer())
            new.replace(template)
        finally:
            new.unlink(missing_ok=True)
