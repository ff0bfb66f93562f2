"""A recipe made: model, data and trainer; and a run's folder, from which all of it is made again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import treadle as td
from treadle import nn, optim
from treadle.errors import StateError, TreadleError
from treadle.nn.module import evaluating
from treadle.train.best import Best
from treadle.train.callback import Callback
from treadle.train.checkpoint_files import INDEX, Checkpoint, check_writable, read_checkpoint
from treadle.train.checkpoints import Checkpoints
from treadle.train.csv_log import CsvLog
from treadle.train.curves import Curves
from treadle.train.early_stopping import EarlyStopping, LowerRate
from treadle.train.recipe.batches import Augment
from treadle.train.recipe.data import Common, Data, make_data
from treadle.train.recipe.parts import OF_CLASSES, OPTIMIZERS, found, make_loss, make_optimizer, make_schedule
from treadle.train.recipe.recipe import Recipe, read_recipe
from treadle.train.step import Evaluation, drawing
from treadle.train.tensorboard import TensorBoard
from treadle.train.trainer import Trainer

FILE = "recipe.toml"
"""In a run's folder: what it was made from."""

AVERAGE = "ema.mean."
"""In front of a parameter's name: what its average is called in the optimizer's state."""


@dataclass
class Run:
    """A model with its data, made from a recipe."""

    recipe: Recipe
    model: nn.Module
    data: Data
    loss: Callable[[Any, Any], td.Array]

    @property
    def of_classes(self) -> bool:
        """Whether the model's outputs are scores of classes."""
        return self.recipe.named("loss")[0] in OF_CLASSES

    def metrics(self) -> list[str]:
        """The names of what is measured besides the loss."""
        asked = self.recipe.training.metrics
        return asked if asked is not None else ["accuracy"] * self.of_classes

    def fit(self, folder: Path | str, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> Trainer:
        """Train, keeping the recipe, checkpoints, log and curves in a folder.

        Raises:
            CheckpointError: the folder cannot be written to.
            StateError: the folder holds a run and it is not to be resumed, or it is one of another recipe.
        """
        folder = Path(folder)
        self._keep_recipe(folder, resume)
        training = self.recipe.training
        watching: list[Callback] = [CsvLog(steps=training.log_steps), Curves()]
        if training.tensorboard:
            watching.append(TensorBoard(steps=training.log_steps, graph=self.graph()))
        if training.patience is not None:
            watching.append(self._early_stopping(training.patience))
        optimizer = self.optimizer()
        if self._on_plateaus:
            watching.append(_blamed(self.recipe, "schedule", lambda: self._lower_rate(optimizer)))
        trainer = Trainer(
            self.model,
            self.loss,
            optimizer,
            metrics=self.metrics(),
            callbacks=[*callbacks, *watching, Checkpoints(best=training.best)],
            folder=folder,
            seed=training.seed,
        )
        trainer.fit(
            self.data.training, epochs=training.epochs, validation=self.data.validation, resume=resume
        )
        return trainer

    def graph(self) -> td.Array:
        """The scores, or whatever the model gives, of a placeholder for a batch: what `td.show` draws."""
        x = self.data.placeholder_of(self.recipe["data"].get("batch", Common.batch))
        with evaluating(self.model):
            return self.model(x)

    def optimizer(self) -> Any:
        """A new optimizer of the model's parameters."""
        name, keys = self.recipe.named("optimizer")
        schedule, settings = self.recipe.named("schedule")
        # A schedule counts the optimizer's steps, not the batches that one is made of.
        batches = len(self.data.training) * self.recipe.training.epochs
        steps = batches // max(1, keys.get("accumulate", 1))
        rate = keys.pop("rate", None)
        if "schedule" in self.recipe.sections and not self._on_plateaus:
            default = inspect.signature(OPTIMIZERS[name]).parameters["rate"].default
            first = default if rate is None else rate
            if first is inspect.Parameter.empty:
                raise self.recipe.wrong("optimizer", "there is no rate: it needs a number")
            warm_up = settings.pop("warm_up", 0)
            rate = _blamed(
                self.recipe, "schedule", lambda: make_schedule(schedule, settings, first, steps, warm_up)
            )
        return _blamed(self.recipe, "optimizer", lambda: make_optimizer(name, keys, self.model, rate))

    @property
    def _on_plateaus(self) -> bool:
        return self.recipe.named("schedule")[0] == "plateau"

    def _lower_rate(self, optimizer: optim.Optimizer) -> Callback:
        """What lowers the rate where the measure of the best checkpoint does not become better."""
        measure = self.recipe.training.best or "validation/loss"
        settings = {"larger_is_better": Best(measure).larger, **self.recipe.named("schedule")[1]}
        return LowerRate(optim.Plateau(optimizer, **settings), measure)

    def _early_stopping(self, patience: int) -> Callback:
        measure = self.recipe.training.best or "validation/loss"
        return _blamed(self.recipe, "training", lambda: EarlyStopping(measure, patience=patience))

    def _keep_recipe(self, folder: Path, resume: bool) -> None:
        path = folder / FILE
        if resume and path.exists():
            before = read_recipe(path)
            changed = [
                f"{section}.{key} was {before[section].get(key)!r}, is {self.recipe[section].get(key)!r}"
                for section in dict.fromkeys([*before.sections, *self.recipe.sections])
                for key in dict.fromkeys([*before[section], *self.recipe[section]])
                if before[section].get(key) != self.recipe[section].get(key)
                and (section, key) not in (("training", "epochs"), ("training", "folder"))
            ]
            if changed:
                raise StateError(
                    f"the run in {folder} is of another recipe: {'; '.join(changed)}; a run is resumed with "
                    "what it was begun with"
                )
        elif not resume and (folder / INDEX).exists():
            raise StateError(
                f"{folder} holds a run: resume=True (--resume) goes on with it; for a new one give another "
                "folder"
            )
        check_writable(folder)
        draft = folder / (FILE + ".draft")
        draft.write_text(self.recipe.text(), encoding="utf-8")
        draft.replace(path)

    def evaluate(self, metrics: Sequence[str] | None = None, *, training: bool = False) -> dict[str, Any]:
        """The loss and metrics on what is held out, or on the training data.

        Raises:
            StateError: nothing is held out.
        """
        data = self.data.plain() if training else self.data.validation
        if data is None:
            raise StateError("[evaluate] the recipe holds nothing out: evaluate the training data")
        return Evaluation(self.model, self.loss, self.metrics() if metrics is None else metrics)(data)


def make_run(recipe: Recipe) -> Run:
    """The model, with its first values, and the data of a recipe.

    Raises:
        FormatError: a section says what cannot be made; the message names it.
    """
    name, keys = recipe.named("model")
    training = recipe.training
    made = found(name, Path())
    with drawing(td.random.key(training.seed)):
        model = _blamed(recipe, "model", lambda: made(**_tuples(keys)))
    if not isinstance(model, nn.Module):
        raise recipe.wrong("model", f"{name} gives a {type(model).__name__}, which is no nn.Module")
    if training.compute_dtype != "float32":
        model.compute_dtype = training.compute_dtype
    for pattern in training.freeze:
        _blamed(recipe, "training", lambda pattern=pattern: model.freeze(pattern))
    kind, settings = recipe.named("data")
    augment = settings.pop("augment", {})
    common = {key: settings.pop(key) for key in list(settings) if key in Common.__dataclass_fields__}
    shared = Common(**common)
    data = _blamed(
        recipe,
        "data",
        lambda: make_data(kind, settings, shared, Augment(**augment, layout=shared.layout), training.seed),
    )
    return Run(recipe, model, data, make_loss(*recipe.named("loss")))


def read_run(
    folder: str | Path, which: str = "best", overrides: Sequence[str] = ()
) -> tuple[Run, Checkpoint]:
    """What was trained in a folder: its recipe made again, and the values of a checkpoint.

    Args:
        folder: of a run.
        which: "best", or "last". Without a best one, the last.
        overrides: as of `read_recipe`: other data, for instance.

    Where the optimizer has an `ema`, the model has the averages: what was evaluated in training.

    Raises:
        FileNotFoundError: there is no run.
        FormatError: a file of it is broken, or of another model.
    """
    folder = Path(folder)
    if not (folder / FILE).exists():
        raise FileNotFoundError(f"there is no run in {folder}: it has no {FILE}")
    recipe = read_recipe(folder / FILE, overrides)
    recipe.sections["model"].pop("pretrained", None)  # the checkpoint has all values
    run = make_run(recipe)
    try:
        checkpoint = read_checkpoint(folder, which)
    except FileNotFoundError:
        checkpoint = read_checkpoint(folder)
    run.model.load_state({**checkpoint.model, **_averages(checkpoint)})
    run.model.eval()
    return run, checkpoint


def _averages(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Of an optimizer that averages parameters: their averages, which evaluations in training measured."""
    return {
        name.removeprefix(AVERAGE): value.astype(checkpoint.model[name.removeprefix(AVERAGE)].dtype)
        for name, value in checkpoint.training.get("optimizer", {}).items()
        if name.startswith(AVERAGE)
    }


def _tuples(keys: dict[str, Any]) -> dict[str, Any]:
    """Lists of numbers as tuples, as modules take them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}


def _blamed(recipe: Recipe, section: str, make: Callable[[], Any]) -> Any:
    """What a section says, made; an error says which section."""
    try:
        return make()
    except (TreadleError, TypeError, ValueError) as error:
        raise recipe.wrong(section, getattr(error, "message", str(error))) from error
