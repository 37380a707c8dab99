"""How much an evaluation can detect, and how many rows a decision needs."""

from __future__ import annotations

from math import ceil

from scipy import special

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics.intervals import Interval, t_quantile

__all__ = ["is_non_inferior", "minimum_detectable_effect", "required_rows"]


def minimum_detectable_effect(
    standard_error: float,
    degrees_of_freedom: float,
    *,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float:
    """Return the smallest true difference that a test finds with this power.

    Miller (arXiv 2411.00640), power analysis: the standard error times the sum of the quantiles of
    the test and of the power; here those of Student's t, because the standard error is estimated.

    Args:
        standard_error: That of the difference.
        degrees_of_freedom: Those of the standard error.
        confidence: One minus the significance level of the two-sided test.
        power: Probability of a significant result if the difference is that large.
    """
    critical = t_quantile((1 + confidence) / 2, degrees_of_freedom)
    return (critical + t_quantile(power, degrees_of_freedom)) * standard_error


def required_rows(
    effect: float, standard_deviation: float, *, confidence: float = 0.95, power: float = 0.8
) -> int:
    """Return the number of pairs that a test needs to find a difference.

    Miller (arXiv 2411.00640), power analysis: ``n = ((z_test + z_power) · SD / effect)²``.

    Args:
        effect: The difference to find, other than 0.
        standard_deviation: That of the difference of one pair: the standard error times √n.
        confidence: One minus the significance level of the two-sided test.
        power: Probability of a significant result if the difference is that large.

    Raises:
        ConfigurationError: `effect` is 0.
    """
    if effect == 0:
        msg = "'effect' must not be 0: no number of rows is enough to find no difference."
        raise ConfigurationError(msg)
    quantiles = float(special.ndtri((1 + confidence) / 2) + special.ndtri(power))
    return ceil((quantiles * standard_deviation / effect) ** 2)


def is_non_inferior(interval: Interval, margin: float, *, lower_is_better: bool = False) -> bool:
    """Return whether a difference is worse than 0 by less than a margin, with confidence.

    The bound of a two-sided 95 % interval is a one-sided test at the level of 2.5 % (ICH E9,
    "Statistical Principles for Clinical Trials", section 3.3.2).

    Args:
        interval: The interval of candidate minus baseline.
        margin: The largest loss that is acceptable, 0 or more.
        lower_is_better: Whether a higher value is a loss, as for latency.

    Raises:
        ConfigurationError: `margin` is negative.
    """
    if margin < 0:
        msg = f"'margin' must be 0 or more, got: {margin}."
        raise ConfigurationError(msg)
    return interval.high < margin if lower_is_better else interval.low > -margin
