"""Gives the paths of a vertical's files under the data folder, and locks its work against other processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.locks import LockHeld, lock_file


class FolderInUse(UserError):
    """Another process does the same work on the same folder; the message says which."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one vertical: `<data>/<vertical>/{tables,checkpoints,models,plots,data-docs}`."""

    data: Path
    vertical: str

    @property
    def folder(self) -> Path:
        return self.data.absolute() / self.vertical

    @property
    def tables(self) -> str:
        return str(self.folder / "tables")

    def table(self, name: str) -> str:
        return f"{self.tables}/{name}"

    @contextmanager
    def lock(self, work: str) -> Iterator[None]:
        """Let no other process do `work` here during the block; a killed process releases it. Raises FolderInUse."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = lock_file(self.folder / f"{work}.lock", wait=0)
        except LockHeld as holder:
            raise FolderInUse(
                f"{work} of {self.vertical} runs in {self.folder} already, as {holder}: wait for its end, stop it, or use "
                "another folder"
            ) from None
        with lock:
            yield

    def checkpoint(self, query: str) -> str:
        return str(self.folder / "checkpoints" / query)

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def plots(self) -> Path:
        return self.folder / "plots"

    @property
    def docs(self) -> Path:
        return self.folder / "data-docs"
