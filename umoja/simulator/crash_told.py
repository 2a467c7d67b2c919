"""A run of the crash harness at the terminal: its progress, its figures and its verdict."""

import logging
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from umoja.simulator.crash import Plan, run

TOLD_EVERY = 10  # kills, where nobody watches a bar


def crashed(plan: Plan) -> dict[str, Any]:
    """Run the harness and show on standard error how far it is. See crash.run for what is raised."""
    console = Console(stderr=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("making people and money", total=plan.kills)

        def tell(done: int, text: str) -> None:
            progress.update(task, description=text, completed=done)
            if not console.is_terminal and (done % TOLD_EVERY == 0 or done == plan.kills):
                said = f"umoja crash: {done} of {plan.kills} kills; {text}"
                console.print(said, markup=False, highlight=False)

        return run(plan, tell)


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the report for people, violations left out."""
    shown = {name: value for name, value in found.items() if name not in {"violations", "right"}}
    shown["killed"] = ", ".join(f"{what} {times}" for what, times in found["killed"].items())
    return [(name.replace("_", " "), str(value)) for name, value in shown.items()]


def verdict(found: dict[str, Any]) -> str:
    """Return what it comes to in a sentence, with how to do the same again where it is bad."""
    if found["right"]:
        return (
            f"{found['kills']} kills: nothing acknowledged is missing, nothing is doubled,"
            " everything unknown was resolved, the books are right"
        )
    again = (
        f"umoja crash --kills {found['kills']} --engine {found['engine']} --seed {found['seed']}"
    )
    many = len(found["violations"])
    return f"{many} PROMISES WERE BROKEN; the same kills again: {again}; logs in {found['kept']}"
