"""The gallery: every explanation of a picture side by side, and what is left of each when the network forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convscope_core.datasets import Images
from convscope_core.network import Network
from convscope_core.patterns import Patterns

from ._static import bundle
from .panes.gallery import GalleryPane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import GalleryOptions

__all__ = ["Gallery"]


class Gallery(GalleryPane):
    """Compare all methods of explanation on a few pictures, each with its control.

    One row a picture, one column a method, in three groups that answer different questions: *function*, how the score
    changes with the picture; *signal*, what the network picked out of it; *attribution*, how much each place
    contributed. Each column has its own scale of colours, the same for all pictures and written at its head: two
    methods have no common unit; `scale_by` has others. A click on a class explains that class.

    Under each map stands its control: the same map of the same class after the network's top layers have been
    randomised, and how alike the two are (Spearman's ρ of the magnitudes). A map that hardly changes hardly depends on
    what those layers learnt, however much it looks like the thing in the picture.

    Parameters
    ----------
    net : Network
    images : path, picture, folder, list or Images
        What `Images.of` takes; the first twelve that can be read are shown, and those passed by are named.
    methods : str or list of str, optional
        Names of `cs.methods(net)`. Default: all that this network supports, at most eight; those it does not support
        are listed with the reason.
    target : int or str, optional
        Class to explain in all rows. Default: the most probable class of each picture.
    control : bool, default True
        Whether to compute and show the controls.
    options : dict of str to dict, optional
        Options of methods, by their name: ``{"deconvnet": {"switches": False}}``.
    patterns : Patterns, optional
        From `fit_patterns`, of this network: for PatternNet and PatternAttribution, which are not possible without.
    **traits
        Further traits: `targets`, `extended`, `top`, `seed`, `opacity`, `scale_by`, `colours`.

    Raises
    ------
    ImageError
        If not one picture can be read.
    ArgumentError, traitlets.TraitError
        If an option is out of range; the message states what was expected.

    Notes
    -----
    What the maps can and cannot show. Deconvnet and guided backprop show what a unit sees, not why a class was chosen:
    in the pointing game the strongest place of a deconvnet's map lies on the object less often than the centre of the
    picture does (67.5 against 69.6, in percent, VOC 2007, VGG-16). Neither they nor the others show that a place is
    needed: only changing the picture does (`OcclusionMap`). A control that differs is necessary for a map that
    depends on what was learnt, and not sufficient for one that is right.

    References
    ----------
    J. Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018, section 3 (the randomisation is stated in
    `convscope_core.explain.randomised`). P.-J. Kindermans et al.: Learning how to explain neural networks, ICLR 2018,
    section 1 (function, signal, attribution). R. Fong, M. Patrick, A. Vedaldi: Understanding Deep Networks via
    Extremal Perturbations and Smooth Masks, ICCV 2019, table 1 (the pointing game).

    Examples
    --------
    >>> gallery = cs.Gallery(net, ["cat.jpg", "cup.jpg"])      # doctest: +SKIP
    >>> gallery.wait(None)                                     # doctest: +SKIP
    >>> gallery.attribution(0, "gradient").values              # doctest: +SKIP
    >>> gallery.similarities                                   # doctest: +SKIP
    {(0, 'gradient'): 0.22, (0, 'guided_backprop'): 0.81}
    """

    _name = "gallery"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        images: Any,
        methods: str | Sequence[str] | None = None,
        target: int | str | None = None,
        control: bool = True,
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        patterns: Patterns | None = None,
        **traits: Unpack[GalleryOptions],
    ) -> None:
        chosen = {} if target is None else {"target": target}
        super().__init__(
            net,
            images=Images.of(images),
            methods=[methods] if isinstance(methods, str) else None if methods is None else list(methods),
            control=control,
            method_options=options,
            patterns=patterns,
            **chosen,
            **traits,
        )
        self.start()
