"""Runbooks: what to do when a detector speaks, step by step, and who did which step when."""

from functools import lru_cache
from importlib import resources

import msgspec
import yaml


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step. `remedy` names one of the remedies; `automatic`: the system may, where it is allowed."""

    do: str
    remedy: str = ""
    automatic: bool = False


class Runbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    steps: tuple[Step, ...]

    @property
    def first_remedy(self) -> str:
        """Return the remedy that the system may carry out by itself, or ''."""
        return next((step.remedy for step in self.steps if step.automatic), "")


ANY = Runbook(
    title="Something is wrong",
    steps=(
        Step(do="Read the evidence and what changed lately."),
        Step(do="Name the cause, or appoint somebody who finds it."),
        Step(do="Tell customers on the status page what does not work."),
    ),
)
"""For a detector that has no runbook of its own."""


@lru_cache(maxsize=1)
def runbooks() -> dict[str, Runbook]:
    """Return the runbook of each detector, as the program brings them."""
    text = (resources.files("umoja.ops") / "runbooks.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Runbook])


def runbook_of(detector: str) -> Runbook:
    """Return the runbook of a detector; a plain one where it has none."""
    return runbooks().get(detector, ANY)
