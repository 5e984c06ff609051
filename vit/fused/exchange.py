"""Converts a fused training's row to the state of `vit.training.fit.Fit` and back, so each can resume the other."""

from typing import Any

import torch
from torch import Tensor

from vit.fused.layout import Layout
from vit.fused.state import State
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.muon import Muon
from vit.training.optim import build_optimizers
from vit.training.recipes import Recipe


class Exchange:
    """Converts between the rows of one layout and the states of plain trainings of one shape and one optimizer."""

    def __init__(self, config: ViTConfig, layout: Layout, muon_dtype: torch.dtype) -> None:
        self._layout, self._muon_dtype = layout, muon_dtype
        self._model = VisionTransformer(config)
        """A model on the CPU, whose parameters are the keys by which the optimizers store their state."""

    def to_plain(self, state: State, recipe: Recipe, learning_rate: float) -> dict[str, Any]:
        """The entries model, average and optimizers of `Fit.state_dict`, on the CPU, from the one row in `state`."""
        weights, average, first, second, momentum, step = (tensor.cpu() for tensor in state)
        optimizers = build_optimizers(self._model, recipe, self._muon_dtype)
        if int(step):
            muon = self._layout.num_muon
            moments = [torch.cat((torch.zeros(muon), tensor[0])) for tensor in (first, second)]
            exp_avg, exp_avg_sq = (self._layout.views(row) for row in moments)
            buffers = self._layout.views(torch.cat((momentum[0], torch.zeros(self._layout.size - muon))))
            for optimizer, name, parameter in self._trained(optimizers):
                if isinstance(optimizer, Muon):
                    optimizer.state[parameter] = {"momentum_buffer": buffers[name].clone()}
                else:
                    optimizer.state[parameter] = {
                        "step": step.float().clone(),
                        "exp_avg": exp_avg[name].clone(),
                        "exp_avg_sq": exp_avg_sq[name].clone(),
                    }
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        return {
            "model": self._parameters(weights[0]),
            "averaged": self._parameters(average[0]) if recipe.ema_decay else None,
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }

    def from_plain(self, plain: dict[str, Any], recipe: Recipe) -> State:
        """A state of one row, on the CPU, from what `Fit.state_dict` returned."""
        layout, muon = self._layout, self._layout.num_muon
        weights = layout.row(plain["model"])
        optimizers = build_optimizers(self._model, recipe, self._muon_dtype)
        for optimizer, its_state in zip(optimizers, plain["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        kept: dict[str, dict[str, Tensor]] = {"exp_avg": {}, "exp_avg_sq": {}, "momentum_buffer": {}}
        steps = torch.zeros((), dtype=torch.int64)
        for optimizer, name, parameter in self._trained(optimizers):
            its = optimizer.state[parameter]
            for kind, by_name in kept.items():
                by_name[name] = its.get(kind, torch.zeros_like(parameter))
            steps = its.get("step", steps).to(torch.int64)
        first, second, momentum = (layout.row(by_name) for by_name in kept.values())
        average = layout.row(plain["averaged"]) if plain["averaged"] else weights.clone()
        first, second, momentum = first[None, muon:], second[None, muon:], momentum[None, :muon]
        return State(weights[None], average[None], first, second, momentum, steps)

    def model(self, row: Tensor) -> VisionTransformer:
        """A new model with a copy of the weights in a row (P,)."""
        with torch.device("meta"):  # draws no random weights, which would only be replaced
            model = VisionTransformer(self._model.config)
        model.load_state_dict(self._parameters(row), assign=True)
        return model

    def _parameters(self, row: Tensor) -> dict[str, Tensor]:
        """Copies of the parameters in a row by name, in the model's own order."""
        views = self._layout.views(row)
        return {name: views[name].clone() for name, _ in self._model.named_parameters()}

    def _trained(self, optimizers: list[torch.optim.Optimizer]) -> list[tuple[torch.optim.Optimizer, str, Tensor]]:
        """Each parameter with the optimizer that trains it and with its name."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        groups = [(optimizer, group) for optimizer in optimizers for group in optimizer.param_groups]
        return [(optimizer, names[id(each)], each) for optimizer, group in groups for each in group["params"]]
