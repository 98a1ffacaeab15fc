"""The command line: attack, audit, gate, compare, verify, report, plugins, new-plugin, doctor, schema, and what plugins add.

Exit codes: 0 where all is well; 1 where a gate fails, a comparison or a verification finds something, or `doctor` something broken;
2 where a command can't be done as asked, which the message explains.

Nothing here imports torch before a command needs it, so that `--help` and `plugins` answer at once.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperGroup

from mmadv.catalog import qualify
from mmadv.errors import MmadvError, ParameterError, PluginError, nearest
from mmadv.host import HOOKS, Host, Plugin, describe

if TYPE_CHECKING:
    from mmadv.audit import Audit
    from mmadv.gates import Gate

FACTORY = re.compile(r"[\w.]+:[\w.]+")
FAIL_UNDER = typer.Option(
    metavar="[CAMPAIGN[@EPS]=]SHARE",
    help="Exit 1 where robust accuracy, in the worst case at the largest eps, is below this share; may be repeated.",
)
ALLOW_SUSPECT = typer.Option(help="Judge figures whose verdict is suspect by their value; else they fail.")
JUNIT = typer.Option(metavar="FILE", help="Write the gates as JUnit XML.")
JSON = typer.Option("--json", metavar="FILE", help="Write the outcome as JSON.")
STYLES = {"loaded": "green", "failed": "red", "collision": "red", "blocked": "yellow"}
TRUST = {"reliable": "green", "suspect": "yellow", "invalid": "red"}


def host_of(ctx: typer.Context) -> Host:
    """The host of this invocation, loaded on first use without what `--no-plugin` names.

    Raises:
        PluginError: `--no-plugin` or `MMADV_PLUGINS` names a plugin that does not exist.
    """
    root = ctx.find_root()
    if root.obj is None:
        root.obj = Host(blocked=root.params.get("no_plugin") or ())
    host: Host = root.obj
    return host


def plugin_commands(host: Host, taken: Iterable[str]) -> dict[str, Any]:
    """The commands that plugins add; one that raises or takes a name that is in use is listed as failed.

    Args:
        host: the plugins.
        taken: names that are in use already.
    """
    commands: dict[str, Any] = {}
    for plugin in host.loaded:
        with host.guard(plugin):
            own = typer.Typer()  # a plugin that raises half-way leaves nothing behind
            plugin.call("mmadv_commands", cli=own)
            brought = typer.main.get_group(own).commands
            if clash := sorted(set(brought) & {*taken, *commands}):
                raise PluginError(
                    f"its command {clash[0]!r} exists already", fix="rename it, or group it under add_typer"
                )
            commands.update(brought)
    return commands


class _Root(TyperGroup):
    """The root command, which asks plugins for theirs only when it does not know a name."""

    _brought: dict[str, Any] | None = None

    def brought(self, ctx: Any) -> dict[str, Any]:
        """The commands of plugins; each is asked once."""
        if self._brought is None:
            self._brought = plugin_commands(host_of(ctx), self.commands)
        return self._brought

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.commands, *sorted(self.brought(ctx))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self.commands.get(cmd_name) or self.brought(ctx).get(cmd_name)


app = typer.Typer(cls=_Root, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mmadv {metadata.version('mmadv')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    no_plugin: Annotated[
        # Eager, so that `--no-plugin x --help` does not load x either.
        list[str] | None,
        typer.Option("--no-plugin", metavar="NAME", is_eager=True, help="Leave this plugin out; may be repeated."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure how models hold up against adversarial inputs, in every modality with one engine."""


@app.command()
def plugins(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    hook: Annotated[str | None, typer.Option(metavar="NAME", help="Only plugins that implement this hook.")] = None,
) -> None:
    """List the plugins: loaded, failed, in collision or blocked, with cause and remedy."""
    if hook is not None and hook not in HOOKS:
        raise ParameterError(f"there is no hook {hook!r}", where="--hook", fix=nearest(hook, HOOKS))
    listed = [plugin for plugin in _checked(ctx) if hook is None or hook in plugin.hooks]
    if as_json:
        print(json.dumps([_as_json(plugin) for plugin in listed], indent=2))
    else:
        _print_plugins(Console(), listed)
    if ctx.find_root().params["debug"]:
        for plugin in listed:
            if plugin.error:
                traceback.print_exception(plugin.error)


@app.command()
def new_plugin(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, which qualifies all that it brings, such as acme.")],
    kind: Annotated[str, typer.Option(help="attack (on images), or modality.")] = "attack",
    out: Annotated[Path | None, typer.Option(help="The folder to make; its name if not given.")] = None,
) -> None:
    """Write an installable plugin that passes its own tests, as a start for your own."""
    from mmadv import scaffold

    folder = scaffold.write(name, kind, Path(name) if out is None else out, host_of(ctx))
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            print(file.relative_to(folder.parent))
    print(f"next: cd {shlex.quote(os.path.relpath(folder))} && pip install -e '.[test]' && pytest")


@app.command()
def doctor(ctx: typer.Context) -> None:
    """Report versions, devices, plugins and the cache; exit 1 when something has failed."""
    console, broken = Console(), []
    facts = {"python": f"{platform.python_version()} ({sys.executable})", "platform": platform.platform()}
    facts |= {name: _version(name) for name in ("mmadv", "torch", "pluggy", "numpy")}
    try:
        facts |= _torch_facts()
    except Exception as error:
        broken.append("torch")
        facts["devices"] = f"torch cannot be imported: {type(error).__name__}: {error}"
    facts |= _cache_facts()
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(Text(name, style="bold"), Text(value))
    console.print(grid)
    checked = _checked(ctx)
    _print_plugins(console, checked)
    broken += [plugin.name for plugin in checked if plugin.state in ("failed", "collision")]
    if broken:
        console.print(Text(f"failed: {', '.join(broken)}", style="red"), soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def audit(
    ctx: typer.Context,
    spec: Annotated[Path, typer.Argument(help="The audit's YAML file.")],
    out: Annotated[Path, typer.Option(help="The run folder; a run that was stopped goes on where it was.")],
    workers: Annotated[int, typer.Option(help="Processes that share the work; the records are the same.")] = 1,
    fail_under: Annotated[list[str] | None, FAIL_UNDER] = None,
    allow_suspect: Annotated[bool, ALLOW_SUSPECT] = False,
    junit: Annotated[Path | None, JUNIT] = None,
    as_json: Annotated[Path | None, JSON] = None,
) -> None:
    """Run an audit into a folder, and write its report; the last line is the report's path."""
    from mmadv import report as drawing
    from mmadv.audit import Audit
    from mmadv.gates import Gate, check
    from mmadv.spec import read

    gates = [Gate.of(one) for one in fail_under or []]
    made = Audit(read(spec), out, host_of(ctx))
    check(gates, {stage.campaign.name: stage.levels for stage in made.stages})  # before hours of work, not after
    summary = _run(made, workers)
    path = drawing.write(made, summary)
    passed = _gated(Console(), summary, gates, allow_suspect, junit, as_json)
    print(path)
    if not passed:
        raise typer.Exit(1)


@app.command()
def gate(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    fail_under: Annotated[list[str], FAIL_UNDER],
    allow_suspect: Annotated[bool, ALLOW_SUSPECT] = False,
    junit: Annotated[Path | None, JUNIT] = None,
    as_json: Annotated[Path | None, JSON] = None,
) -> None:
    """Judge a finished run by what it must hold; exit 1 where it doesn't."""
    from mmadv.audit import Audit
    from mmadv.gates import Gate

    made, summary = Audit.of_finished(run, host_of(ctx))
    made.confirm(summary)  # what a release rests on is not taken from a file that anybody can write into
    if not _gated(Console(), summary, [Gate.of(one) for one in fail_under], allow_suspect, junit, as_json):
        raise typer.Exit(1)


@app.command()
def compare(
    ctx: typer.Context,
    run_a: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    run_b: Annotated[Path, typer.Argument(help="Of another, or the same.")],
    a: Annotated[str | None, typer.Option(help="A campaign of the first; all that both have, if not given.")] = None,
    b: Annotated[str | None, typer.Option(help="The campaign of the second to compare it with.")] = None,
    fail_if_worse: Annotated[bool, typer.Option(help="Exit 1 where the second is significantly worse.")] = False,
    as_json: Annotated[Path | None, JSON] = None,
) -> None:
    """Compare two runs example by example, and say which differences are more than chance."""
    from mmadv import compare as comparing
    from mmadv.audit import Audit
    from mmadv.runs import write_json

    sides = [Audit.of_finished(run, host_of(ctx))[0] for run in (run_a, run_b)]
    found = comparing.compare(sides[0], sides[1], (a, b))
    console = Console()
    for one in found:
        table = Table(
            "eps", "a", "b", "both hold", "only a", "only b", "none", "p", "differ", title=f"a  {one.a}\nb  {one.b}"
        )
        for point in one.points:
            counts = (point.both, point.only_a, point.only_b, point.neither)
            table.add_row(
                "clean" if point.eps is None else f"{point.eps:.4g}",
                f"{100 * point.a:.1f} %", f"{100 * point.b:.1f} %", *map(str, counts), f"{point.p:.2g}",
                Text("yes", style="yellow") if point.differs else "not shown",
            )  # fmt: skip
        console.print(table)
        if one.left_out:
            console.print(Text(f"{one.left_out} examples are not in both, or were not judged in both", style="yellow"))
        for word, mine, other in one.unequal:
            console.print(Text(f"the attackers differ in {word}: {mine} | {other}", style="yellow"), soft_wrap=True)
    console.print(
        "p: McNemar's exact test over paired examples, Holm's correction over all eps of all campaigns", highlight=False
    )
    if as_json is not None:
        write_json(as_json, {"comparisons": [one.plain for one in found]})
    if fail_if_worse and any(one.worse for one in found):
        raise typer.Exit(1)


@app.command()
def attack(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A qualified attack, such as image.pgd.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    model: Annotated[
        str,
        typer.Option(
            help="A folder that save_pretrained of transformers wrote, a hub name, or a trusted factory package.module:function."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A table (csv, tsv, json, jsonl, parquet), a folder with one subfolder for each class, or a trusted factory "
            "package.module:function."
        ),
    ],
    text_column: Annotated[str | None, typer.Option(help="Of the table: texts.")] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Of the table: class numbers, or the model's own names of its classes.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Of the table: picture files in its folder.")] = None,
    audio_column: Annotated[str | None, typer.Option(help="Of the table: recordings in its folder.")] = None,
    transcript_column: Annotated[str | None, typer.Option(help="Of the table: what is said.")] = None,
    word: Annotated[
        list[str] | None,
        typer.Option(
            "--data-word", "-d", metavar="WORD=VALUE", help="A further word of the data, such as size=[224,224]."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (CUDA, MPS or else the CPU), cpu, cuda, …; auto for a folder or hub name.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the model's weights, such as bfloat16; as saved if not given.")
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(help="Inputs in one pass, or auto; auto for a folder or hub name. It changes no result."),
    ] = None,
    eps: Annotated[list[str] | None, typer.Option(help="Largest perturbation, such as 8/255; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the attack.")] = None,
    queries: Annotated[int | None, typer.Option(help="Forward passes per example, at most.")] = None,
    access: Annotated[str | None, typer.Option(help="gradient, score or decision.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use so many examples.")] = None,
    seed: Annotated[int, typer.Option(help="Of all noise.")] = 0,
    threat: Annotated[
        list[str] | None,
        typer.Option("--threat", "-t", metavar="WORD=VALUE", help="A word of the space, such as norm=linf."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="WORD=VALUE", help="A parameter of the attack.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="WORD=VALUE", help="A word of the target, such as device=cuda."),
    ] = None,
) -> None:
    """Attack one model on one data set: an audit of one campaign, without a spec."""
    import yaml

    from mmadv import report as drawing
    from mmadv.audit import Audit
    from mmadv.catalog import Catalog
    from mmadv.spec import parse

    modality = Catalog(host_of(ctx)).attack(name, where="NAME").modality
    # What an option of its own says is not said by a word too: one of them would be ignored.
    own: dict[str, Any] = {"name": name, "steps": steps}
    entry = _given(own) | _words(parameter, "--parameter", {**own, "queries": queries})
    own = {"eps": eps, "access": access, "queries": queries}
    limits = {"eps": [], **_given(own)} | _words(threat, "--threat", own)
    built, played = (bool(FACTORY.fullmatch(name)) and not Path(name).exists() for name in (model, data))
    usual = {} if built else {"device": "auto", "batch_size": "auto"}
    run_on = {"device": device, "dtype": dtype, "batch_size": batch_size}
    columns = {
        "text_column": text_column, "label_column": label_column, "image_column": image_column, "audio_column": audio_column,
        "transcript_column": transcript_column, "limit": limit,
    }  # fmt: skip
    campaign = {
        "name": name,
        "modality": modality,
        "target": {
            "factory" if built else "model": model,
            **usual,
            **_given(run_on),
            **_words(target, "--target", {"factory": model, "model": model, **run_on}),
        },
        "data": {
            "factory" if played else "path": data,
            **_given(columns),
            **_words(word, "--data-word", {"factory": data, "path": data, **columns}),
        },
        "threat": limits,
        "attacks": [entry],
    }
    plain = {"title": f"{name} on {model}", "seed": seed, "campaigns": [campaign]}
    made = Audit(parse(yaml.safe_dump(plain), "the command line", numbered=False), out, host_of(ctx))
    print(drawing.write(made, _run(made)))


@app.command()
def verify(ctx: typer.Context, run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Judge every recorded success once more from what is on disk; exit 1 when something is not as recorded."""
    from mmadv.audit import Audit
    from mmadv.verify import verify as judge_again

    made = Audit.of_folder(run, host_of(ctx))
    console, wrong = Console(), 0
    with _progress(console) as progress:
        for line in judge_again(made, progress):
            wrong += 1
            console.print(Text(line, style="red"), soft_wrap=True)
    if wrong:
        console.print(Text(f"{wrong} findings: this run is not what it was", style="red"))
        raise typer.Exit(1)
    console.print(Text("verified: every recorded success stands", style="green"))


@app.command()
def report(ctx: typer.Context, run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Draw the report of a finished run again; the last line is its path."""
    from mmadv import report as drawing
    from mmadv.audit import Audit

    print(drawing.write(*Audit.of_finished(run, host_of(ctx))))


@app.command()
def schema() -> None:
    """Print the JSON schema of audit specs, for editors."""
    from mmadv.spec import Spec

    print(json.dumps(Spec.model_json_schema(), indent=2))


def _run(made: Audit, workers: int = 1) -> dict[str, Any]:
    """Run an audit, and print its summary."""
    console = Console()
    with _progress(console) as progress:
        summary = made.run(progress, workers=workers)
    table = Table(
        Column("campaign", overflow="fold"),
        "clean",
        "eps",
        "robust, at most",
        "stored",
        "verdict",
        title=summary["title"],
    )
    for campaign in summary["campaigns"]:
        clean = campaign["clean"]
        rows = campaign["worst"] or [{"eps": None, "robust": None, "stored": None}]
        for number, point in enumerate(rows):
            first = number == 0
            table.add_row(
                Text(campaign["name"] if first else ""),
                _percent(clean) if first else "",
                "" if point["eps"] is None else f"{point['eps']:.4g}",
                _percent(point["robust"]),
                _share(point["stored"]),
                Text(campaign["trust"], style=TRUST[campaign["trust"]]) if first else "",
            )
    console.print(table)
    if weak := summary["weakest"]:
        kept = f"{weak['kept']['hits']} of {weak['kept']['total']} right answers kept"
        scale = f" ({weak['scale']})" if weak["scale"] else ""
        judged = "" if weak["trust"] == "reliable" else f", {weak['trust']}"
        console.print(
            Text(f"weakest link: {weak['name']}{judged}, {kept} at eps {weak['eps']:.4g}{scale}"), soft_wrap=True
        )
    for campaign in summary["campaigns"]:
        for whose in (campaign, *campaign["attacks"]):
            for alarm in whose["alarms"]:
                told = f"{campaign['name']}: {whose['label']}: " if "label" in whose else f"{campaign['name']}: "
                seen = Text(f"{told}{alarm['code']}: {alarm['message']}", style=TRUST[alarm["trust"]])
                console.print(seen, soft_wrap=True)
        if fixed := [
            f"{point['untouchable']} at eps {point['eps']:.4g}" for point in campaign["worst"] if point["untouchable"]
        ]:
            told = f"{campaign['name']}: of examples that count as robust, nothing may be changed of {', '.join(fixed)}"
            console.print(Text(told, style="yellow"), soft_wrap=True)
        if left := campaign["skipped"]:
            lines = [
                f"{campaign['name']}: {len(left)} left out of the data",
                *(f"  {one['key']}: {one['why']}" for one in left[:5]),
            ]
            more = [f"  … and {len(left) - 5} more, in summary.json"] if len(left) > 5 else []
            console.print(Text("\n".join([*lines, *more]), style="yellow"), soft_wrap=True)
    for one in summary["missing"]:
        console.print(
            Text(f"left out: {one['name']}: {one['what']} ({one['where']})\n  fix: {one['fix']}", style="yellow"),
            soft_wrap=True,
        )
    return summary


def _gated(
    console: Console,
    summary: dict[str, Any],
    gates: list[Gate],
    allow_suspect: bool,
    junit: Path | None,
    as_json: Path | None,
) -> bool:
    """Judge gates, print and write the outcome; whether all pass."""
    from mmadv.gates import judged
    from mmadv.gates import junit as as_junit
    from mmadv.runs import write_json, write_text

    results = judged(summary, gates, allow_suspect=allow_suspect)
    for one in results:
        state = Text("pass", style="green") if one.passed else Text("FAIL", style="red")
        told = f"  {one.campaign}: {one.check}" + ("" if one.passed else f": {one.failure}")
        console.print(state.append(told, style="default"), soft_wrap=True)
    if junit is not None:
        write_text(junit, as_junit(summary, results))
    if as_json is not None:
        told_all = [{**vars(one), "passed": one.passed} for one in results]
        write_json(as_json, {**summary, "gates": told_all, "passed": all(one.passed for one in results)})
    return all(one.passed for one in results)


def _share(rate: dict[str, Any] | None) -> str:
    return "–" if rate is None or rate["value"] is None else f"{100 * rate['value']:.1f} %"


def _percent(rate: dict[str, Any] | None) -> str:
    if rate is None or rate["value"] is None:
        return "–"
    return f"{100 * rate['value']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _given(words: Mapping[str, Any]) -> dict[str, Any]:
    """Words whose options were given; whole numbers as such."""
    return {
        word: int(value) if word == "batch_size" and re.fullmatch(r"[+-]?\d+", str(value)) else value
        for word, value in words.items()
        if value is not None
    }


def _words(given: list[str] | None, option: str, taken: Mapping[str, Any]) -> dict[str, Any]:
    """`WORD=VALUE` options as plain data, each value read as YAML; no word twice, and none that another option has `taken`."""
    import yaml

    found: dict[str, Any] = {}
    for one in given or []:
        word, equals, value = one.partition("=")
        if not equals or not word:
            raise ParameterError(f"{one!r} is not WORD=VALUE", where=option, fix=f"write {option} word=value")
        if word in found or taken.get(word) is not None:
            raise ParameterError(f"{word!r} is given twice", where=f"{option} {one}", fix="give it once")
        try:
            found[word] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            what = f"{value!r} is no value: {getattr(error, 'problem', error)}"
            raise ParameterError(
                what, where=f"{option} {one}", fix="write it as YAML, such as 0.1, [1, 2] or name"
            ) from error
    return found


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """A bar with the time left on a terminal, and a line for each new thing elsewhere."""
    began, first, last = 0.0, -1, ""

    def left(done: int, total: int) -> str:
        nonlocal began, first
        if first < 0:  # set-up, and what an earlier run did, say nothing of what is left
            began, first = time.monotonic(), done
        spent = time.monotonic() - began
        return "" if done == first else f", about {spent / (done - first) * (total - done):.0f} s left"

    def tell(done: int, total: int, what: str) -> None:
        nonlocal last
        line = f"{done}/{total} {what}{left(done, total)}" if total else what
        if console.is_terminal:
            status.update(line)
        elif what != last:
            console.print(line, highlight=False, soft_wrap=True)
        last = what

    with console.status("set-up") as status:
        yield tell


def _checked(ctx: typer.Context) -> list[Plugin]:
    """All plugins, after each was asked for its commands too."""
    cast("_Root", ctx.find_root().command).brought(ctx)
    return list(host_of(ctx).plugins.values())


def _registers(plugin: Plugin) -> dict[str, list[str]]:
    return {kind: [qualify(plugin.name, record.name) for record in found] for kind, found in plugin.records.items()}


def _as_json(plugin: Plugin) -> Mapping[str, object]:
    shown = ("name", "distribution", "version", "state", "hooks", "cause", "remedy")
    return {name: getattr(plugin, name) for name in shown} | {"registers": _registers(plugin)}


def _print_plugins(console: Console, plugins: list[Plugin]) -> None:
    table = Table("plugin", "distribution", "version", "state", "registers")
    for plugin in plugins:
        registers = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in _registers(plugin).items() if names)
        state = Text(plugin.state, style=STYLES[plugin.state])
        table.add_row(*map(Text, (plugin.name, plugin.distribution, plugin.version)), state, Text(registers))
    console.print(table if plugins else "no plugins")
    for plugin in plugins:
        if plugin.cause:
            lines = f"{plugin} {plugin.state}: {plugin.cause}\n  fix:   {plugin.remedy}"
            console.print(Text(lines, style=STYLES[plugin.state]), soft_wrap=True)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _torch_facts() -> dict[str, str]:
    import torch

    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"devices": ", ".join(["cpu", *devices]), "threads": f"{torch.get_num_threads()} of {os.cpu_count()}"}


def _cache_facts() -> dict[str, str]:
    from mmadv.assets import cache_folder

    cache = cache_folder().absolute()
    present = next(path for path in (cache, *cache.parents) if path.exists())
    return {"cache": str(cache), "free disk": f"{shutil.disk_usage(present).free / 2**30:.1f} GiB"}


def main() -> None:
    """Run the command line: an error is a message and exit code 2; 1 is that of gates."""
    sys.path.append(os.getcwd())  # last, so that nothing there takes the place of a package
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if not isinstance(error, MmadvError):
            error = MmadvError(describe(error), where="a victim, a plugin or mmadv itself", fix="--debug shows where")
        Console(stderr=True).print(Text(f"error: {error}", style="red"), soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
