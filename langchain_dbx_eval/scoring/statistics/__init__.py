"""Uncertainty of metrics: intervals, paired tests, power, agreement of judges.

Pure functions of arrays of values and cluster ids; they neither read files nor know evaluations.
``docs/statistics.md`` explains each number, and ``benchmarks/interval_coverage.py`` measures how
often the intervals cover the truth. Importing this package imports numpy and scipy: import it where
it is used.

Modules:
    estimates: the mean of independent or clustered values, and its standard error.
    intervals: confidence intervals of a mean: Wilson, Student's t, BCa bootstrap.
    repeats: pass@k, pass^k, and the variance between and within records.
    paired: differences between paired values: intervals, tests, Holm's correction.
    power: minimum detectable effect, required rows, non-inferiority.
    agreement: Cohen's kappa, Krippendorff's alpha, prediction-powered intervals.
"""

from __future__ import annotations

from langchain_dbx_eval._internal.imports import require

require("scipy", extra="eval")

from langchain_dbx_eval.scoring.statistics.agreement import (  # noqa: E402
    Agreement,
    cohens_kappa,
    krippendorffs_alpha,
    prediction_powered_mean,
)
from langchain_dbx_eval.scoring.statistics.estimates import (  # noqa: E402
    MeanEstimate,
    clustered_standard_error,
    estimate_mean,
)
from langchain_dbx_eval.scoring.statistics.intervals import (  # noqa: E402
    Interval,
    bootstrap_interval,
    interval_of,
    mean_interval,
    wilson_interval,
)
from langchain_dbx_eval.scoring.statistics.paired import (  # noqa: E402
    PairedDifference,
    PairedTest,
    compare_pairs,
    holm,
    mcnemar,
    quantile_differences,
)
from langchain_dbx_eval.scoring.statistics.power import (  # noqa: E402
    is_non_inferior,
    minimum_detectable_effect,
    required_rows,
)
from langchain_dbx_eval.scoring.statistics.repeats import (  # noqa: E402
    VarianceComponents,
    estimate_pass,
    pass_at_k,
    pass_hat_k,
    variance_components,
)

__all__ = [
    "Agreement",
    "Interval",
    "MeanEstimate",
    "PairedDifference",
    "PairedTest",
    "VarianceComponents",
    "bootstrap_interval",
    "clustered_standard_error",
    "cohens_kappa",
    "compare_pairs",
    "estimate_mean",
    "estimate_pass",
    "holm",
    "interval_of",
    "is_non_inferior",
    "krippendorffs_alpha",
    "mcnemar",
    "mean_interval",
    "minimum_detectable_effect",
    "pass_at_k",
    "pass_hat_k",
    "prediction_powered_mean",
    "quantile_differences",
    "required_rows",
    "variance_components",
    "wilson_interval",
]
