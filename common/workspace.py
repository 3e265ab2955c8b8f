"""Where a vertical's files lie under the data folder."""

from dataclasses import dataclass
from pathlib import Path


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
