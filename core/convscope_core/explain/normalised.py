"""Rules for normalisations by statistics of the maps (layer norm, group norm, instance norm, RMS norm).

The papers of these methods speak of none of them, so every rule here is an extension, and labelled. All hold the
standard deviation constant, as published for LRP by Ali et al. 2022: the signal does not pass through what computes it.

References
----------
A. Ali, T. Schnake, O. Eberle, G. Montavon, K.-R. Müller, L. Wolf: XAI for Transformers: Better Explanations through
Conservative Propagation, ICML 2022, section 4 (LN-rule).
R. Achtibat, S. M. V. Hatefi, M. Dreyer, A. Jain, T. Wiegand, S. Lapuschkin, W. Samek: AttnLRP: Attention-Aware
Layer-Wise Relevance Propagation for Transformers, ICML 2024, section 3.3.3 (identity rule).
"""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_core.graph.backward import EXACT, At, Parts, Rule, inputs
from convscope_core.graph.normalisation import gain, transposed

__all__ = ["DIFFERENTIATED", "HELD", "IDENTITY", "ONE_INPUT", "TRANSPOSED"]

#: The phrase for rules that hold the standard deviation.
HELD = "normalisation as a linear operation, its standard deviation held constant (Ali et al. 2022)"


def _transposed(signal: Tensor, at: At) -> Parts:
    return transposed(at.node, at.input, signal)


#: For signals: the transpose of the linear operation that is left. Less its mean, times weight over deviation.
TRANSPOSED = Rule(_transposed, inputs).labelled(HELD)

#: For methods that are the gradient elsewhere: the normalisation differentiated, its statistics too.
DIFFERENTIATED = EXACT.labelled("normalisation differentiated, as in the gradient")


def _stays(signal: Tensor, at: At) -> Parts:
    del at
    return signal


#: For relevance: all of it stays where it is.
IDENTITY = Rule(_stays).labelled("normalisation passes relevance on (Achtibat et al. 2024)")


def _one_input(signal: Tensor, at: At) -> Parts:
    factor = gain(at.node, at.input).expand_as(signal)
    return torch.where(factor == 0, 0.0, signal / torch.where(factor == 0, 1.0, factor))


#: For patterns: mean and deviation held, each output is a neuron with one input, whose pattern is 1 / its gain.
ONE_INPUT = Rule(_one_input, inputs).labelled("normalisation as neurons with one input, its statistics held constant")
