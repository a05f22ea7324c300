"""The units of a network over its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import IPython
import traitlets

from convscope_core.arguments import is_number
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.evolution import Checkpoints, EvolutionRecorder, EvolutionResult
from convscope_core.network import Network

from ._charted import Charted
from ._layers import middle, shown_layers
from ._static import bundle
from .explorer import Explorer
from .panes.evolution import EvolutionPane, short

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import EvolutionOptions

__all__ = ["Evolution"]


class Evolution(EvolutionPane, Charted):
    """Watch what the units of a network look for while it is trained.

    As in figure 4 of Zeiler & Fergus (2014): a row a unit, a column a checkpoint. Each cell shows the picture that
    excites the unit most of all with the weights of then (its *winner*): the patch that the unit sees and what the unit
    picked out of it. A line between two columns marks a jump: another picture won. The slider goes through the
    training; the unit panel shows the chosen unit at the chosen checkpoint; beneath, curves say how much changes in
    each layer.

    Given an `EvolutionRecorder` while a loop trains in the same kernel, it grows by a column with every checkpoint. The
    pictures are looked through in the background, on a thread of the instrument's own: training does not wait for it,
    and has the same bits as without.

    Parameters
    ----------
    source : EvolutionResult, EvolutionRecorder, Checkpoints, folder or mapping
        A finished result of `evolution`, of which nothing is computed again; or checkpoints in any form that
        `Checkpoints.of` takes, or the recorder that still writes them.
    images : folder, list, data set or single picture, optional
        Pictures to look through (see `Images.of`). Needed for all but a finished result, which has its own.
    layer : str, optional
        The layer to open on; by default a convolution in the middle of the network.
    net : Network, torch.nn.Module or Checkpoints, optional
        What the checkpoints are of, where they do not know it; see `Checkpoints.of`.
    k : int, default 9
        Pictures to keep for each unit and checkpoint that is looked through here.
    **traits
        Initial traits: `selected`, `checkpoint`, `show`, `order`, `rows`, `spread`, `curve`, `method`, `contrast`.

    Attributes
    ----------
    result : EvolutionResult or None
        What has been looked through so far.
    curves : Curves
        The bqplot figure beneath.
    box : ipywidgets.VBox
        The panes with the chart beneath.

    Raises
    ------
    ArgumentError
        If there are no pictures, or the checkpoints are of another network.
    LayerError
        If the network has no such layer.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.1, fig. 4.

    Examples
    --------
    >>> recorder = cs.EvolutionRecorder(model, at=range(9), input_size=112)         # doctest: +SKIP
    >>> cs.Evolution(recorder, images=shapes)                                       # doctest: +SKIP
    """

    _name = "evolution"
    _esm = bundle(_name)

    #: What it is called in the notebook, for the line of code that opens the explorer.
    _variable = traitlets.Unicode("evolution").tag(sync=True)

    def _given_network(self, source: Any = None, *_: Any, net: Any = None, **__: Any) -> Network:
        """One like those of the checkpoints: they differ in their weights only."""
        if isinstance(source, EvolutionResult):
            self._source, self._alike = source, source.checkpoints
            return source.network(-1)
        checkpoints = Checkpoints.of(source, net)
        self._source = source if isinstance(source, EvolutionRecorder) else checkpoints
        self._alike = checkpoints
        return checkpoints.architecture

    def __init__(
        self,
        source: Any,
        images: Any = None,
        layer: str | None = None,
        *,
        net: Any = None,
        k: int = 9,
        **traits: Unpack[EvolutionOptions],
    ) -> None:
        finished = isinstance(source, EvolutionResult)
        if finished and not (images is None and net is None):
            raise ArgumentError(
                "Expected a finished result alone, got images or a net beside it. It is shown as it is: "
                "Evolution(result). For other pictures, Evolution(result.checkpoints, images)."
            )
        if not finished and images is None:
            raise ArgumentError(
                "Expected pictures to look through, got none. Evolution(recorder, images='photos/'), or give it a "
                "finished result: Evolution(cs.evolution(recorder, 'photos/'))."
            )
        pictures = source.images if finished else Images.of(images)
        followed = source.layers if finished else shown_layers(self.net)
        layers = [one.name for one in followed]
        if isinstance(self._source, EvolutionRecorder):
            traits = {"order": "index", **traits}  # rows that stay where they are while columns come
        opened = middle(self.net) if layer is None else layer
        if layer is None and opened not in layers:
            opened = layers[len(layers) // 2]
        super().__init__(
            self.net,
            source=self._source,
            alike=self._alike,
            images=pictures,
            layers=layers,
            k=k,
            layer=opened,
            **traits,
        )
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for this one chart.
        from ._curves import Curves

        self.curves = Curves(self)
        self._put_beneath(self.curves.figure, self.curves.close)
        self._show_chart()

    @traitlets.observe("_evolution")
    def _show_chart(self, _change: Any = None) -> None:
        """Leave the chart out before the first checkpoint: it would be axes of nothing."""
        if not hasattr(self, "box"):
            return
        children = (self, self.curves.figure) if self._evolution["checkpoints"] else (self,)
        if len(self.box.children) != len(children):
            self.box.children = children

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._variable = variable(self)
        return super()._repr_mimebundle_(**kwargs)

    def explorer(self, checkpoint: int | None = None, *, epoch: float | None = None) -> Explorer:
        """Open the microscope on a checkpoint: its network, its survey, the layer and the unit that are chosen here.

        Parameters
        ----------
        checkpoint : int, optional
            Its index, from 0; by default the one that is looked at.
        epoch : float, optional
            Its epoch, in place of the index.

        Raises
        ------
        ArgumentError
            If there is no such checkpoint yet, or both are given.
        """
        result = self._evolved()
        if epoch is not None:
            if checkpoint is not None:
                raise ArgumentError(
                    f"Expected checkpoint or epoch, got both: {checkpoint!r} and {epoch!r}. Leave one out."
                )
            known = {short(one): index for index, one in enumerate(result.checkpoints) if one.epoch is not None}
            name = f"{epoch:g}" if is_number(epoch) else str(epoch)
            if name not in known:
                raise ArgumentError(
                    f"Expected an epoch of which there is a checkpoint ({', '.join(known) or 'none is known'}), "
                    f"got {epoch!r}."
                )
            checkpoint = known[name]
        count = len(result.checkpoints)
        index = self._index({"checkpoint": self.checkpoint}) if checkpoint is None else checkpoint
        if not -count <= index < count:
            raise ArgumentError(f"Expected checkpoint, an index from 0 to {count - 1}, got {index}.")
        return Explorer(
            result.network(index), result.images, result.survey(index), layer=self.layer, selected=self.selected
        )


def variable(widget: object) -> str:
    """The name by which the notebook knows a widget, as far as it has one."""
    shell = IPython.get_ipython()
    known = {} if shell is None else shell.user_ns
    names = (name for name, value in list(known.items()) if value is widget and not name.startswith("_"))
    return next(names, "evolution")
