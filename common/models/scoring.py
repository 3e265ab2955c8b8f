"""Computes a model's score as a Spark column: the same expression in a stream and in batch.

A stream joins its rows with a one-row frame (model_version, model_parameters) that it reads anew at every batch, and
adds `score_column`. The numbers arrive as data; the structure is fixed for as long as the query runs.
"""

import re
from typing import Protocol

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.models.check import check_structure
from common.models.structure import PARAMETERS

QUOTED_FEATURE = re.compile(r"`[^`]+`")  # in a checked structure only features stand in backticks


class ScoringModel(Protocol):
    """The parts of a model that decide its score."""

    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def structure(self) -> str: ...
    @property
    def parameters(self) -> tuple[float, ...]: ...
    @property
    def version(self) -> str: ...


def score_column(model: ScoringModel) -> Column:
    """A double from 0 to 1 over the model's feature columns and the column `model_parameters`; null while those are null."""
    return F.expr(score_expression(model))


def score_expression(model: ScoringModel) -> str:
    """The checked structure as SQL that takes each feature as a double, whatever its column is. Raises UnsafeModel.

    What the check admits fails on no row of doubles: they become infinite where whole numbers would overflow, which is an error
    and ends the query. A value that is no number gives no score. Spark leaves out a cast to the type that a column has.
    """
    structure = check_structure(model.structure, model.features, len(model.parameters))
    return QUOTED_FEATURE.sub(r"TRY_CAST(\g<0> AS DOUBLE)", structure)


def with_score(rows: DataFrame, model: ScoringModel) -> DataFrame:
    """Rows of features with the columns model_version, model_parameters and model_score, for batch."""
    parameters = F.array(*[F.lit(parameter) for parameter in model.parameters])
    versioned = rows.withColumns({"model_version": F.lit(model.version), PARAMETERS: parameters})
    return versioned.withColumn("model_score", score_column(model))


def have_same_structure(model: ScoringModel, other_model: ScoringModel) -> bool:
    """Whether a query that runs `model` can take the parameters of `other_model`; if not, it needs a restart."""
    return model.structure == other_model.structure and model.features == other_model.features
