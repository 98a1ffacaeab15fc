"""The command line with distributions that are really installed, each bad in its own way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "distributions"
NAMES = ("acme", "broken", "duplicate", "exits", "misspelt", "needsnewer", "toonew", "unmet")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder that every distribution under `tests/distributions` is installed into."""
    target = tmp_path_factory.mktemp("site")
    install = ["-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation", "--no-cache"]
    sources = [str(folder.parent) for folder in sorted(FIXTURES.glob("*/pyproject.toml"))]
    subprocess.run([sys.executable, *install, "--python", sys.executable, "--target", target, *sources], check=True)
    return target


@pytest.fixture
def python(site):
    """Run Python where only the fixture distributions are allowed, the real plugins left out."""

    every = ",".join(NAMES)

    def run(*args, allowed=every):
        env = {**os.environ, "PYTHONPATH": str(site), "MMADV_PLUGINS": allowed, "COLUMNS": "200", "NO_COLOR": "1"}
        command = [sys.executable, "-W", "error", *args]
        return subprocess.run(command, env=env, cwd=site, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def mmadv(python):
    return lambda *args, **kwargs: python("-m", "mmadv.cli", *args, **kwargs)


def as_json(result):
    assert result.returncode == 0, result.stderr
    return {plugin["name"]: plugin for plugin in json.loads(result.stdout)}


def test_every_plugin_is_listed_with_cause_and_remedy(mmadv):
    listed = as_json(mmadv("plugins", "--json"))
    assert list(listed) == sorted(listed)
    seen = {name: (listed[name]["state"], listed[name]["cause"], listed[name]["remedy"]) for name in NAMES}
    misspelt = seen.pop("misspelt")
    assert misspelt[:2] == ("failed", "it implements the unknown hook 'mmadv_atacks'")
    assert misspelt[2].startswith("did you mean 'mmadv_attacks'?")
    running = subprocess.check_output([sys.executable, "-m", "mmadv.cli", "--version"], text=True).strip()
    assert seen == {
        "acme": ("loaded", "", ""),
        "broken": (
            "failed",
            "RuntimeError: no luck",
            "pip install -U mmadv-fixture-broken, or pip uninstall mmadv-fixture-broken",
        ),
        "duplicate": (
            "collision",
            "offered by mmadv-fixture-duplicate-a 1.0 and by mmadv-fixture-duplicate-b 2.0",
            "keep one: pip uninstall mmadv-fixture-duplicate-a, or pip uninstall mmadv-fixture-duplicate-b",
        ),
        "exits": (
            "failed",
            "SystemExit: 7",
            "pip install -U mmadv-fixture-exits, or pip uninstall mmadv-fixture-exits",
        ),
        "needsnewer": (
            "failed",
            f"it needs mmadv>=99, and {running} is running",
            "pip install 'mmadv>=99', or another version of mmadv-fixture-needs-newer-mmadv",
        ),
        "toonew": (
            "failed",
            "mmadv_attacks: 'noise' is written for hook api 99, mmadv has 1",
            "pip install -U mmadv",
        ),
        "unmet": (
            "failed",
            "ModuleNotFoundError: No module named 'mmadv_fixture_nowhere'",
            "install what provides the module 'mmadv_fixture_nowhere', or pip uninstall mmadv-fixture-unmet",
        ),
    }


def test_a_good_plugin_is_listed_whole(mmadv):
    assert as_json(mmadv("plugins", "--json"))["acme"] == {
        "name": "acme",
        "distribution": "mmadv-fixture-acme",
        "version": "1.2.3",
        "state": "loaded",
        "hooks": ["mmadv_attacks", "mmadv_commands"],
        "registers": {"attacks": ["acme.noise"]},
        "cause": "",
        "remedy": "",
    }


def test_neither_owner_of_a_name_is_imported_nor_what_cannot_work(python):
    code = "import sys; from mmadv.host import Host; Host(); print(sorted(m for m in sys.modules if 'fixture' in m))"
    result = python("-c", code)
    assert result.stderr == ""
    assert result.stdout.strip() == "['mmadv_fixture_acme', 'mmadv_fixture_misspelt', 'mmadv_fixture_toonew']"


def test_an_attack_of_an_installed_plugin_is_built(python):
    code = (
        "from mmadv.catalog import Catalog, build; from mmadv.host import default_host;"
        "print(build(Catalog(default_host()).attack('acme.noise'), {'scale': 2.0}))"
    )
    result = python("-c", code)
    assert result.stdout.strip() == "Noise(scale=2.0)", result.stderr


def test_the_table_shows_states_and_remedies(mmadv):
    result = mmadv("plugins")
    assert result.returncode == 0
    assert "acme.noise" in result.stdout
    assert "broken (mmadv-fixture-broken 1.0) failed: RuntimeError: no luck\n" in result.stdout
    assert "fix:   pip install -U mmadv-fixture-broken" in result.stdout
    assert result.stderr == ""


def test_debug_shows_the_traceback_of_a_failed_plugin(mmadv):
    assert 'raise RuntimeError("no\\nluck")' in mmadv("--debug", "plugins").stderr


def test_the_listing_can_be_narrowed_to_a_hook(mmadv):
    assert list(as_json(mmadv("plugins", "--json", "--hook", "mmadv_commands"))) == ["acme"]
    assert as_json(mmadv("plugins", "--json", "--hook", "mmadv_goals")) == {}
    result = mmadv("plugins", "--hook", "mmadv_atacks")
    assert result.returncode == 2
    assert "did you mean 'mmadv_attacks'?" in result.stderr


def test_the_allow_list_restricts_loading(mmadv):
    listed = as_json(mmadv("plugins", "--json", allowed="acme"))
    assert listed["acme"]["state"] == "loaded"
    assert {listed[name]["state"] for name in NAMES[1:]} == {"blocked"}
    assert {plugin["state"] for plugin in as_json(mmadv("plugins", "--json", allowed="")).values()} == {"blocked"}


def test_no_plugin_leaves_plugins_out(mmadv):
    listed = as_json(mmadv("--no-plugin", "broken", "--no-plugin", "acme", "plugins", "--json"))
    assert [listed[name]["state"] for name in ("acme", "broken", "exits")] == ["blocked", "blocked", "failed"]
    assert "acme-greet" not in mmadv("--no-plugin", "acme", "--help").stdout


def test_an_absent_plugin_is_a_message_and_a_traceback_only_with_debug(mmadv):
    result = mmadv("plugins", allowed="acme,acne")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(
        "error: no installed plugin is called 'acne'\n  where: MMADV_PLUGINS\n  fix:   did you"
    )
    assert "Traceback" not in result.stderr
    assert "Traceback" in mmadv("--debug", "plugins", allowed="acne").stderr


def test_commands_of_plugins_are_offered_and_run(mmadv):
    listing = mmadv("--help")
    assert listing.returncode == 0
    assert "Greet somebody." in listing.stdout
    assert mmadv("acme-greet", "you").stdout == "hello you\n"
    assert mmadv("acme-greet", "you", allowed="broken").returncode == 2


COMMANDS = """
import sys
from mmadv import cli
from mmadv.hookspecs import GoalSpec, hookimpl
from mmadv.host import Host

class Bad:
    @hookimpl
    def mmadv_goals(self):
        return [GoalSpec(name="other", summary="", factory=dict)]

    @hookimpl
    def mmadv_commands(self, cli):
        @cli.command()
        def fresh(): print("fresh")
        {then}

class Good:
    @hookimpl
    def mmadv_commands(self, cli):
        cli.command("fine")(lambda: print("fine"))

cli.Host = lambda blocked: Host(allowed=(), extra={{"bad": Bad(), "good": Good()}})
sys.argv[1:] = {argv}
cli.main()
"""


@pytest.mark.parametrize(
    ("then", "cause"),
    [
        ("raise OSError('half-way')", "OSError: half-way"),
        ("cli.command('doctor')(lambda: None)", "its command 'doctor' exists already"),
    ],
)
def test_a_plugin_that_fails_to_add_its_commands_leaves_nothing_behind(python, then, cause):
    def run(*argv):
        return python("-c", COMMANDS.format(then=then, argv=argv))

    assert run("fine").stdout == "fine\n"
    assert run("fresh").returncode == 2
    bad = as_json(run("plugins", "--json"))["bad"]
    assert (bad["state"], bad["cause"], bad["registers"]) == ("failed", cause, {})
    assert "Commands" in run("--help").stdout


def test_doctor_reports_and_fails_when_a_plugin_has(mmadv):
    result = mmadv("doctor", allowed="acme,broken")
    assert result.returncode == 1
    assert "failed: broken\n" in result.stdout
    for fact in ("python", "platform", "mmadv", "torch", "pluggy", "numpy", "devices", "threads", "cache", "free disk"):
        assert f"\n{fact} " in f"\n{result.stdout}"
    assert "devices    cpu" in result.stdout
    assert mmadv("doctor", allowed="acme").returncode == 0


TORCHLESS = (
    "import atexit, sys; from mmadv.cli import main;"
    "atexit.register(lambda: print('torch imported:', 'torch' in sys.modules, file=sys.stderr));"
    "sys.argv[1:] = {args}; main()"
)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["plugins"], ["plugins", "--json"], ["plugins", "--help"]])
def test_what_only_lists_does_not_import_torch(python, args):
    result = python("-c", TORCHLESS.format(args=args))
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == "torch imported: False"


def test_no_plugin_of_ours_imports_torch_to_be_listed():
    env = {name: value for name, value in os.environ.items() if name != "MMADV_PLUGINS"}
    command = [sys.executable, "-c", TORCHLESS.format(args=["plugins", "--json"])]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == "torch imported: False"
    loaded = {name for name, one in as_json(result).items() if one["state"] == "loaded"}
    assert {"audio", "chain", "foolbox", "image", "joint", "rl", "series", "text"} <= loaded
