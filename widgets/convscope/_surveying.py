"""A survey behind an instrument: given, or made in the background with progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Layer, Network
from convscope_core.render import crop
from convscope_core.survey import Exemplar, Survey, SurveyProgress, surveying

from ._instrument import Answer, Instrument, described, framed, shown_layers

__all__ = ["SurveyPart"]

#: Side of the crops of the unit panel, px.
CROP_SIDE = 112
#: Weaker examples, beside the top ones.
WEAKER = 6
#: Pictures a pass: a drag waits for one of them at most.
BATCH = 4
#: Partial results are shown at most this often, seconds.
SHOW_EVERY = 1.5
#: Bars of the histogram of activations, at most and (where there are as many bins) at least.
BARS, LEAST = 24, 10


class SurveyPart(Instrument):
    """What instruments with a survey share: the survey itself, its progress, exemplars and health of a layer."""

    _survey = traitlets.Dict().tag(sync=True)
    _labels = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, net: Network, images: Images | None = None, survey: Survey | None = None, **traits: Any) -> None:
        self.survey: Survey | None = survey
        self._whole: dict[int, np.ndarray] = {}
        self._cancel = threading.Event()
        super().__init__(net, images, **traits)
        if survey is None:
            self._survey = {"state": "none", "revision": 0, "done": 0, "total": 0, "left": None, "skipped": 0}
            return
        if survey.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected a survey of {net.name} with these weights (fingerprint {net.fingerprint[:8]}); got one of "
                f"{survey.network} ({survey.fingerprint[:8]}). Survey the pictures with this network."
            )
        count = int(survey.seen.sum())
        self._show("done", count, count)

    # ---- making one

    def start_survey(
        self, images: Images, k: int = 9, indices: Sequence[int] | None = None, start: Survey | None = None
    ) -> None:
        """Survey pictures in the background, between the requests of the front end.

        Parameters
        ----------
        images : Images
            The pictures to look through.
        k : int, default 9
            Exemplars a unit.
        indices : sequence of int, optional
            Look only at these of the pictures.
        start : Survey, optional
            Go on from this survey of the first of `images`.
        """
        names = [layer.name for layer in shown_layers(self.net)]
        steps = surveying(
            self.net,
            images,
            names if start is None else None,
            k if start is None else start.k,
            batch_size=BATCH,
            indices=indices,
            start=start,
        )
        before = 0 if start is None else int(start.seen.sum())
        todo = len(images) if indices is None else len(indices)
        self._cancel.clear()
        self._show("running", before, before + todo, fresh=False)
        self._worker.start(self._survey_job(steps, before))

    def _survey_job(self, steps: Iterator[SurveyProgress], before: int) -> Iterator[None]:
        begun = shown = time.monotonic()
        done = total = before
        state = "done"
        try:
            for step in steps:
                self.survey = step.survey
                done, total = before + step.done, before + step.total
                now = time.monotonic()
                fresh = now - shown > SHOW_EVERY
                shown = now if fresh else shown
                if self._cancel.is_set():
                    state = "cancelled"
                    break
                left = (now - begun) / step.done * (step.total - step.done) if step.done else None
                self._show("running", done, total, left, fresh=fresh)
                yield
        except Exception as error:
            self._show("failed", done, total)
            self.send({"event": "error", "kind": "survey", "error": {**described(error), "kind": "survey"}})
            return
        self._show(state, done, total)

    def _show(self, state: str, done: int, total: int, left: float | None = None, fresh: bool = True) -> None:
        """Tell the front end how far the survey is; `fresh` results are asked for anew."""
        survey, before = self.survey, self._survey or {}
        revision, dead = int(before.get("revision", 0)), before.get("dead", {})
        if fresh and survey is not None:
            revision += 1
            dead = {layer.name: float(survey.health(layer).dead.mean()) for layer in survey.layers}
            if len(survey.labels) > 1:  # with one class there is nothing to prefer
                self._labels = list(survey.labels)
        self._survey = {
            "state": state,
            "revision": revision,
            "done": done,
            "total": total,
            "left": left,
            "skipped": len(survey.skipped) if survey is not None else 0,
            "dead": dead,
        }

    def _cancelled(self) -> None:
        # Seen by the job after the batch under way, a fraction of a second: what it has is kept and shown.
        self._cancel.set()

    # ---- answering from it

    def _surveyed(self) -> Survey:
        if self.survey is None:
            raise ArgumentError(
                "There is no survey yet: give the instrument survey=..., or wait until its own has seen a picture."
            )
        return self.survey

    def _whole_picture(self, image: int) -> np.ndarray:
        """A surveyed picture as the network sees it, (H, W, 3) uint8; the last few are kept."""
        found = self._whole.get(image)
        if found is None:
            found = self.net.picture(self._surveyed().images[image].image)
            while len(self._whole) >= 64:
                self._whole.pop(next(iter(self._whole)))
            self._whole[image] = found
        return found

    def _crop(self, exemplar: Exemplar, side: int) -> tuple[np.ndarray, bool]:
        """The patch of an exemplar, and whether it is the whole picture, its field being as large as that."""
        picture = self._whole_picture(exemplar.image)
        box = exemplar.box
        whole = (box.bottom - box.top) >= picture.shape[0] and (box.right - box.left) >= picture.shape[1]
        if whole:
            box = type(box)(0, 0, *picture.shape[:2])
        if max(box.bottom - box.top, box.right - box.left) > side // 2:
            return crop(picture, box, side=side), whole
        # A field of a few pixels is shown as the pixels that they are.
        few = Image.fromarray(crop(picture, box))
        return np.asarray(few.resize((side, side), Image.Resampling.NEAREST)), whole

    def _best_patches(self, layer: Layer, side: int) -> np.ndarray:
        survey = self._surveyed()
        best = [survey.top(layer.name, channel)[:1] for channel in range(layer.channels)]
        out = np.full((layer.channels, side, side, 3), 128, np.uint8)
        # Picture by picture, so that each is read once.
        for channel in sorted(range(layer.channels), key=lambda c: best[c][0].image if best[c] else -1):
            if best[channel] and best[channel][0].value > 0:
                out[channel] = self._crop(best[channel][0], side)[0]
        return out

    def _answer_health(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        layer = self.net.layer(str(content["layer"]))
        health = self._surveyed().health(layer.name)
        arrays = [np.ascontiguousarray(one, np.float32) for one in (health.maximum, health.active_images)]
        first = self._surveyed().duplicates(layer.name).astype(np.int32)
        return {"layer": layer.name}, [one.tobytes() for one in (*arrays, first)]

    def _answer_unit(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        survey = self._surveyed()
        layer = self.net.layer(str(content["layer"]))
        channel = int(content["channel"])
        top = survey.top(layer.name, channel)
        exemplars, crops = self._shown(top)
        health = survey.health(layer.name)
        labels = [label for one in top if one.value > 0 and (label := survey.label(one.image)) is not None]
        # The first of equally frequent ones is the stronger picture's.
        most = max(labels, key=labels.count, default=None)
        counts, edges = bars(health.histogram[channel], health.edges)
        fields = {
            "layer": layer.name,
            "channel": channel,
            "exemplars": exemplars,
            "side": CROP_SIDE,
            "counts": counts,
            "edges": edges,
            "images": int(survey.seen.sum()),
            "share": float(health.active_images[channel]),
            "purity": None if most is None else [most, labels.count(most), len(labels)],
            "classes": [[one.label, one.preference] for one in survey.preferences(layer.name, channel)],
            "similar": [[one.channel, one.correlation] for one in survey.similar(layer.name, channel)],
        }
        return fields, [b"".join(crops)]

    def _answer_weaker(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """Pictures that excite a unit less than the top ones do, from a random sample."""
        survey = self._surveyed()
        layer, channel = self.net.layer(str(content["layer"])), int(content["channel"])
        found, quantiles = [], []
        for one in survey.quantiles(layer.name, channel, WEAKER):
            # The sample knows how strongly, not where: that is found again, for these few.
            maps = self.net.activations(survey.images[one.image].image, layer.name)[layer.name][0, channel]
            row, column = divmod(int(maps.argmax()), maps.shape[1])
            found.append(Exemplar(one.value, one.image, row, column, layer.box(row, column)))
            quantiles.append(one.quantile)
        exemplars, crops = self._shown(found)
        for exemplar, quantile in zip(exemplars, quantiles, strict=True):
            exemplar["quantile"] = quantile
        fields = {"layer": layer.name, "channel": channel, "exemplars": exemplars, "side": CROP_SIDE}
        return fields, [b"".join(crops)]

    def _shown(self, found: Sequence[Exemplar]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Exemplars as the front end shows them, and their patches."""
        images = self._surveyed().images
        exemplars, crops = [], []
        for one in found:
            patch, whole = self._crop(one, CROP_SIDE)
            picture = images[one.image]
            crops.append(patch.tobytes())
            exemplars.append(
                {
                    "value": one.value,
                    "image": one.image,
                    "name": picture.name,
                    "path": None if picture.path is None else str(picture.path.absolute()),
                    "label": picture.label,
                    "row": one.row,
                    "column": one.column,
                    "box": [one.box.top, one.box.left, one.box.bottom, one.box.right],
                    "whole": whole,
                }
            )
        return exemplars, crops

    def _answer_whole(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        image = int(content["picture"])
        return framed(self._whole_picture(image), image)

    def _forget(self) -> None:
        super()._forget()
        self._whole.clear()


def bars(counts: np.ndarray, edges: np.ndarray) -> tuple[list[int], list[float]]:
    """The pictures' maxima as a few bars for a person to read.

    The first bar holds the pictures that do not activate the unit; the others are the survey's half-octaves, from the
    largest maximum downwards, what lies below them added to the lowest.

    Parameters
    ----------
    counts : ndarray
        (B,) int, pictures in each of the survey's bins.
    edges : ndarray
        (B - 1,) float, the bins' inner edges, ascending.

    Returns
    -------
    list of int, list of float
        Counts of n bars, and their n + 1 edges; the first bar ends at 0.
    """
    # Bin b holds edges[b - 1] <= value < edges[b]; the bin around zero is where an inactive unit's maximum falls.
    active = int(np.searchsorted(edges, 0.0)) + 1
    positive = counts[active:]
    filled = np.flatnonzero(positive)
    if len(filled) == 0:
        return [int(counts.sum())], [0.0, 0.0]
    last = active + int(filled[-1])
    # From the least active picture on, but over a range wide enough to tell a narrow distribution from a broad one.
    first = max(active, last - BARS + 2, min(active + int(filled[0]), last - LEAST + 2))
    lower = int(counts[active:first].sum())
    shown = [int(count) for count in counts[first : last + 1]]
    shown[0] += lower
    inner = [float(edges[b]) for b in range(first - 1, min(last + 1, len(edges)))]
    return [int(counts[:active].sum()), *shown], [0.0, *inner]
