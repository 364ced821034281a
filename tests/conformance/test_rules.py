"""Our three clients, as command lines, keep every rule that the runner tries."""

from collections.abc import Callable

import pytest
from tests.conformance.clients import LANGUAGES, Command
from tests.conformance.rules import beyond, getting, serving, sharing, swarming
from tests.conformance.rules.book import RULES, Rule, try_rule

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test of a language builds it

assert all((beyond, getting, serving, sharing, swarming)), "imported for their rules"

each_rule = pytest.mark.parametrize("rule", RULES, ids=[f"{r.side}: {r.text}" for r in RULES])


@pytest.mark.parametrize("language", LANGUAGES)
@each_rule
async def test_the_rule_holds(rule: Rule, language: str, client: Callable[[str], Command]) -> None:
    outcome = await try_rule(rule, client(language))

    assert not outcome.failure, f"{outcome}\n{outcome.failure}"
