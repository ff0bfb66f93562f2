"""`treadle train`: a recipe, or a TOML file of one's own, trained and kept in a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from treadle.cli.runs import add_overrides, run_of


def arguments(parser: ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("recipe", help="digits, or a TOML file; to resume, also a run's folder")
    parser.add_argument("--epochs", type=int, help="passes over the training data: --set training.epochs=N")
    parser.add_argument("--seed", type=int, help="of first parameters and orders: --set training.seed=N")
    parser.add_argument("--folder", type=Path, help="where the run is kept (a new folder in the user's data)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in the folder, or the last one"
    )
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, or reference for NumPy (cpu)")
    add_overrides(parser)


def run(options: Namespace) -> int:
    """Train, say how well, and where it is kept."""
    import treadle as td
    from treadle.errors import ArgumentError
    from treadle.train import Progress
    from treadle.train.interruption import INTERRUPTED
    from treadle.train.progress import shown_values
    from treadle.train.recipe.places import new_run
    from treadle.train.recipe.recipe import read_recipe
    from treadle.train.recipe.run import FILE, make_run

    name = Path(options.recipe)
    folder: Path | None = options.folder
    if (name / FILE).exists():
        if not options.resume:
            raise ArgumentError(f"{name} is a run: --resume goes on with it")
        folder, name = name, name / FILE
    shorthands = {"epochs": options.epochs, "seed": options.seed}
    overrides = [f"training.{key}={value}" for key, value in shorthands.items() if value is not None]
    recipe = read_recipe(name, [*options.set, *overrides])
    folder = folder or (recipe.training.folder and Path(recipe.training.folder))
    with td.device(options.device):
        made = make_run(recipe)
        if folder is None:
            folder = run_of(recipe.name) if options.resume else new_run(recipe.name)
        trainer = made.fit(folder, resume=options.resume, callbacks=[Progress()])
    history = trainer.history
    measured = shown_values(trainer.latest, [n for n in trainer.latest if n.startswith("validation/")])
    if measured:
        print(f"after epoch {trainer.epoch}: {', '.join(measured)}")
    print(f"kept in {folder}: recipe, checkpoints, log.csv, curves.html")
    print(history.report())
    skipped = getattr(made.data.training, "skipped", 0)
    if skipped:
        print(f"left out {skipped} that could not be read, the first: {made.data.training.faults[0]}")
    return 130 if history.stopped == INTERRUPTED else 0
