"""How long does the plan of a large download take for one decision?

65,536 pieces and 100 sources, two of them whole, the others with a random half that keeps growing.
A decision is one `next` after an event: a stream that ended, or a source that has a new piece.
"""

import random
import statistics
import time

from bench.support.question import Answer, Options, table
from p2p_client.content.manifest import MOST_PIECES, PieceIndex
from p2p_client.download.picker.pieces import span
from p2p_client.download.plan import Open, Plan
from p2p_client.models import PeerId

SOURCES = 100
WHOLE = 2
DECISIONS = 2_000
QUICK_DECISIONS = 50
STEP_SECONDS = 0.01


def measure(options: Options) -> Answer:
    took = milliseconds_of(options.size(DECISIONS, QUICK_DECISIONS))
    cells = [f"{statistics.median(took):.3f}", f"{statistics.mean(took):.3f}", f"{max(took):.3f}"]
    what = f"{MOST_PIECES:,} pieces, {SOURCES} sources: {len(took):,} decisions"
    head = ["scheduler", "median ms", "mean ms", "worst ms"]
    return Answer(table(head, [[what, *cells]]))


def milliseconds_of(decision_count: int) -> list[float]:
    rng = random.Random(1)
    plan = Plan(span(0, MOST_PIECES), 4, seed=1, me=PeerId("me"))
    names = [PeerId(f"source-{number:03}") for number in range(SOURCES)]
    for number, name in enumerate(names):
        plan.offer(name, is_whole=number < WHOLE)
        if number >= WHOLE:
            plan.learned(name, rng.getrandbits(MOST_PIECES))
    running: list[Open] = []
    took = list[float]()
    now = 0.0
    for _ in range(decision_count):
        now += STEP_SECONDS
        begun = time.perf_counter()
        plan.learned(rng.choice(names[WHOLE:]), 1 << rng.randrange(MOST_PIECES))
        if len(running) >= 4:
            finish(plan, running.pop(0), now)
        commands = plan.next(now)
        took.append(1e3 * (time.perf_counter() - begun))
        running += [command for command in commands if isinstance(command, Open)]
    return took


def finish(plan: Plan, command: Open, now: float) -> None:
    for piece in range(command.first, plan.stop_of(command.stream)):
        plan.heard(command.stream, piece, now)
        plan.verified(command.stream, PieceIndex(piece), now)
    plan.closed(command.stream, now)
