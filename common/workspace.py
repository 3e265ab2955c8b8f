"""Where a vertical's files lie under the data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.locks import Held, lock


class InUse(UserError):
    """Another process does the same work on the same folder."""


@dataclass(frozen=True)
class Workspace:
    """Folders of one vertical: `<data>/<vertical>/{tables,checkpoints,models,plots,docs}`."""

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
    def only_one(self, work: str) -> Iterator[None]:
        """Raises InUse while another process does `work` here. One that is killed lets go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            held = lock(self.folder / f"{work}.lock", wait=0)
        except Held as holder:
            raise InUse(
                f"{work} of {self.vertical} runs in {self.folder} already, as {holder}: wait for its end, stop it, or use "
                "another folder"
            ) from None
        with held:
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
