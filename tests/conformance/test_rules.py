"""Our three clients, as command lines, keep every rule that the runner tries."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.clients import LANGUAGES, Command
from tests.conformance.rules import beyond, getting, serving, sharing, swarming
from tests.conformance.rules.__main__ import command_of
from tests.conformance.rules.book import RULES, Rule, try_rule

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test of a language builds it

assert all((beyond, getting, serving, sharing, swarming)), "imported for their rules"

each_rule = pytest.mark.parametrize("rule", RULES, ids=[f"{r.side}: {r.text}" for r in RULES])


@pytest.mark.parametrize("language", LANGUAGES)
@each_rule
async def test_the_rule_holds(rule: Rule, language: str, client: Callable[[str], Command]) -> None:
    outcome = await try_rule(rule, client(language))

    assert not outcome.failure, f"{outcome}\n{outcome.failure}"


def test_a_client_is_found_from_here_though_it_is_started_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "my-client"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)

    assert command_of("./my-client --quiet") == (str(program), "--quiet")
    with pytest.raises(ValueError, match=r"no program '\./another'"):
        command_of("./another")
