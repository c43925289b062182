"""Reads what Takt has signed with python-tuf and prints, as JSON, what it has understood.

usage: python_tuf.py FOLDER PATH...

FOLDER holds 1.root.json (the root to begin with), stages/N/ (the repository as it was at visit N), targets/ (the
files), bad/NAME/ (repositories that must be refused) and director/ (director roots). PATH... are the targets to get.
"""

import functools
import json
import pathlib
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def visit(url, stage, root, memory, paths):
    """One refresh with a device's memory, and every target fetched."""
    updater = Updater(
        metadata_dir=str(memory),
        metadata_base_url=f"{url}/{stage}/",
        target_dir=str(memory),
        target_base_url=f"{url}/targets/",
        bootstrap=root,
    )
    updater.refresh()
    seen = {}
    for path in paths:
        info = updater.get_targetinfo(path)
        if info is None:
            seen[path] = None
            continue
        seen[path] = {
            "length": info.length,
            "sha256": info.hashes["sha256"],
            "custom": info.custom,
            "content": pathlib.Path(updater.download_target(info, str(memory / "target"))).read_text(),
        }
    trusted = {name: Metadata.from_file(str(memory / f"{name}.json")).signed.version for name in ("root", "snapshot")}
    return {"targets": seen, **trusted}


def directors(folder):
    """Every director root signed by itself and by the one before; its order keys by id."""
    found, before = [], None
    for path in sorted(folder.iterdir()):
        metadata = Metadata[Root].from_bytes(path.read_bytes())
        root = metadata.signed
        root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        if before is not None:
            before.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        order = root.unrecognized_fields["x-takt-order"]
        keys = [root.keys[key].keyval["public"] for key in order["keyids"]]
        found.append({"epoch": root.version, "keys": keys, "threshold": order["threshold"]})
        before = root
    return found


def main():
    folder, paths = pathlib.Path(sys.argv[1]), sys.argv[2:]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    root = (folder / "1.root.json").read_bytes()
    with tempfile.TemporaryDirectory() as memory:
        memory = pathlib.Path(memory)
        stages = sorted((folder / "stages").iterdir(), key=lambda stage: int(stage.name))
        visits = [visit(url, f"stages/{stage.name}", root, memory, paths) for stage in stages]
    refused = {}
    for bad in sorted((folder / "bad").iterdir()):
        with tempfile.TemporaryDirectory() as memory:
            try:
                visit(url, f"bad/{bad.name}", root, pathlib.Path(memory), paths)
                refused[bad.name] = None
            except RepositoryError as error:
                refused[bad.name] = type(error).__name__
    server.shutdown()
    json.dump({"visits": visits, "refused": refused, "directors": directors(folder / "director")}, sys.stdout)


if __name__ == "__main__":
    main()
