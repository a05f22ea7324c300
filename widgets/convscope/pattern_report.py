"""What became of a fit of patterns, at a glance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from convscope_core.network import Network
from convscope_core.patterns import Patterns, SignalQuality

from ._charted import Charted
from ._parts import close_whole
from ._static import bundle
from .panes.patterns import PatternsPane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import PatternOptions

__all__ = ["PatternReport"]


class PatternReport(PatternsPane, Charted):
    """For how many units of each layer a pattern was fitted, what is doubtful, and how good the estimators are.

    A row for each layer; a click, or Enter, chooses one and lists its doubtful units, of which a click chooses one
    (`selected`). Displaying it shows `box`: the
    table, and below it, where `quality` is given, the chart of the paper's figure 3.

    Parameters
    ----------
    net : Network
    patterns : Patterns
        From `fit_patterns`, of this network.
    quality : SignalQuality, optional
        From `signal_quality`.
    **traits
        Initial traits: `layer`, `only_problems`.

    Raises
    ------
    ArgumentError
        If the patterns, or the quality, are of another network or other weights, or there is no such layer among them.

    Examples
    --------
    >>> patterns = cs.fit_patterns(net, "train/", regime=("positive", "negative", "all"))
    >>> cs.PatternReport(net, patterns, cs.signal_quality(net, patterns, "val/"))
    """

    _name = "patterns"
    _esm = bundle(_name)

    def __init__(
        self, net: Network, patterns: Patterns, quality: SignalQuality | None = None, **traits: Unpack[PatternOptions]
    ) -> None:
        super().__init__(net, patterns=patterns, quality=quality, **traits)
        self.chart = None
        if quality is None:
            self._put_beneath(None, lambda: None)
            return
        # bqplot brings pandas along: not before it is needed.
        from .charts import quality_figure

        self.chart = quality_figure(quality, legend=False)  # the table has it
        self._put_beneath(self.chart, partial(close_whole, self.chart))
