"""The rules: a sentence of the contract and what tries it. Knows nothing of any of them."""

import asyncio
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.rules.world import World

RULE_SECONDS = 75.0

Trial = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Rule:
    """`side`: which command it tries, `share` or `get`."""

    side: str
    text: str
    trial: Trial


@dataclass(frozen=True)
class Outcome:
    rule: Rule
    failure: str  # empty: the rule holds

    def __str__(self) -> str:
        if not self.failure:
            return f"{self.rule.side:5}  holds   {self.rule.text}"
        return f"{self.rule.side:5}  BROKEN  {self.rule.text}: {self.failure.splitlines()[0]}"


RULES: list[Rule] = []


def rule(side: str, text: str) -> Callable[[Trial], Trial]:
    """Puts a trial into the book under the sentence that it defends."""

    def add(trial: Trial) -> Trial:
        RULES.append(Rule(side, text, trial))
        return trial

    return add


async def try_rule(rule: Rule, command: tuple[str, ...]) -> Outcome:
    """One rule in a world of its own; what it does wrong is in the outcome, never raised."""
    folder = Path(tempfile.mkdtemp(prefix="p2p-rule-"))
    world = World(folder, command)
    try:
        async with asyncio.timeout(RULE_SECONDS):
            await rule.trial(world)
        return Outcome(rule, "")
    except TimeoutError:
        return Outcome(rule, f"not done within {RULE_SECONDS:g} s\n{world.said()}")
    except Exception as error:  # whatever a client makes of it is its outcome
        told = str(error) or "".join(traceback.format_exception(error)[-2:])
        return Outcome(rule, f"{told}\n{world.said()}")
    finally:
        await world.close()
        shutil.rmtree(folder, ignore_errors=True)


async def try_all(
    commands: dict[str, tuple[str, ...]],
    *,
    at_once: int = 4,
    only: str = "",
    tell: Callable[[Outcome], object] = lambda _: None,
) -> list[Outcome]:
    """Every rule for whose side there is a command, some at once; outcomes in the book's order."""
    free = asyncio.Semaphore(at_once)

    async def one(rule: Rule) -> Outcome:
        async with free:
            outcome = await try_rule(rule, commands[rule.side])
        tell(outcome)
        return outcome

    wanted: Iterable[Rule] = (r for r in RULES if r.side in commands and only in r.text)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(rule)) for rule in wanted]
    return [task.result() for task in tasks]
