"""The command ``malgen``: eleven verbs over the same functions that Python users call.

Exit status: 0 done; 1 a foreign program failed; 2 bad usage or bad input, told in one
sentence on standard error; 3 a verdict that ``--fail-on`` names; 130 interrupted
(Ctrl-C); 143 terminated.
With ``--json``, standard output carries one JSON object and nothing else.

Nothing heavy is imported before a verb runs, so that ``--help`` is instant. That is
also why the parser is argparse: tyro takes longer to import than a help may take.
"""

import argparse
import contextlib
import difflib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from malgen import __version__, interrupts, limits
from malgen.compiled import cache_folder, keep_compiled_programs
from malgen.errors import ConfigError, MalgenError
from malgen.findings import LABELS, MALIGN_ANY, Estimate, to_json
from malgen.registry import look_up

if TYPE_CHECKING:
    from rich.console import Console

    from malgen.findings import Measurement, Verdict
    from malgen.progress import Progress
    from malgen.result import RunResult
    from malgen.store import Manifest
    from malgen.zoo.agent import Agent

DONE, FAILED_ON, INTERRUPTED, TERMINATED = 0, 3, 130, 143
BAD_USAGE = ConfigError.exit_code
BROKEN_PIPE = 141

ANY_MALIGN = "malign-any"
LONG = ("run", "train", "deploy", "audit", "calibrate", "report", "export")
DEFAULT_SCENARIO = "keys-and-chests"
SMALL_SCENARIO = "keys-and-chests-small"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a verb found.

    Attributes:
        json: makes the one JSON object.
        show: prints it for a person.
        labels: (who, label) pairs that ``--fail-on`` looks at.
        status: exit status unless ``--fail-on`` fires.
        problem: one sentence for standard error.
    """

    json: Callable[[], str]
    show: Callable[[], None]
    labels: tuple[tuple[str, str], ...] = ()
    status: int = DONE
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A word after ``malgen``.

    Attributes:
        about: one line for the list of verbs and the verb's own help.
        add: declares the arguments.
        do: does the work.
        example: one command line for the help.
        seed: what ``--seed`` means here, and what it is when it is not given.
    """

    about: str
    add: Callable[[argparse.ArgumentParser], None]
    do: Callable[[argparse.Namespace], Answer]
    example: str
    seed: tuple[str, int | None] = ("master seed of everything random", 0)


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake as an error with one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong."""
        message = message.replace("the following arguments are required:", "give")
        raise ConfigError(f"{self.prog}: {message}; see '{self.prog} --help'.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status and never raises for bad input."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        with interrupts.heard():
            return _main(argv)
    except MalgenError as error:
        return _complain(str(error), error.exit_code)
    except interrupts.Terminated:
        return _complain(f"Terminated. {_go_on(argv)}", TERMINATED)
    except KeyboardInterrupt:
        return _complain(f"Interrupted. {_go_on(argv)}", INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except MemoryError:
        return _complain(
            "There is not enough memory for this; give fewer --levels or --seeds.",
            BAD_USAGE,
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.filename is None:
            _drop_output()
            return _complain(
                f"Standard output or another open file could not be used ({reason}); "
                "make room, or send the output elsewhere.",
                BAD_USAGE,
            )
        return _complain(
            f"{error.filename} cannot be used ({reason}); check the path and who may "
            "read and write it.",
            BAD_USAGE,
        )


def _go_on(argv: list[str]) -> str:
    """How an interrupted command is taken up again."""
    kept = argv[0] == "audit" and any(word.startswith("--out") for word in argv)
    if argv[0] in ("run", "train") or kept:
        return (
            "What was finished is saved; give the same command with --resume to go on."
        )
    if argv[0] in ("deploy", "audit", "report"):
        return "Nothing was changed; give the same command again."
    if argv[0] in ("calibrate", "export"):
        return "What was found is kept; give the same command again to go on."
    return ""


def _drop_output() -> None:
    """Let the interpreter's last flush go nowhere, when nobody can take it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(message: str, status: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return status


def _main(argv: list[str]) -> int:
    if not argv:
        print(_help(), file=sys.stderr)
        return BAD_USAGE
    first = argv[0]
    if first in ("-h", "--help"):
        print(_help())
        return DONE
    if first == "--version":
        print(f"malgen {__version__}")
        return DONE
    if first.startswith("-"):
        _unknown_option("malgen", first, ("--help", "--version"))
    verb = look_up("command", first, VERBS)
    parser = _parser(first, verb)
    keep_compiled_programs()  # reading the arguments may already start JAX
    try:
        options, extra = parser.parse_known_args(_one_by_one(argv[1:]))
    except SystemExit as stop:  # --help was printed
        return int(stop.code or 0)
    if extra and extra[0].startswith("-"):
        _unknown_option(parser.prog, extra[0], parser._option_string_actions)
    if extra:
        raise ConfigError(
            f"{parser.prog}: there is no use for {extra[0]!r}; "
            f"see '{parser.prog} --help'."
        )
    # what a library or a user's file prints must not get into the JSON object
    aside = contextlib.nullcontext()
    if options.json:
        aside = contextlib.redirect_stdout(sys.stderr)
    with aside:
        answer = verb.do(options)
    if options.json:
        print(answer.json())
    else:
        answer.show()
    sys.stdout.flush()
    return _status(answer, getattr(options, "fail_on", ()))


def _status(answer: Answer, fail_on: Iterable[str]) -> int:
    hit = [f"{who} is {label}" for who, label in answer.labels if label in fail_on]
    if hit:
        return _complain(f"--fail-on: {', '.join(hit)}.", FAILED_ON)
    if answer.problem:
        return _complain(answer.problem, answer.status)
    return answer.status


def _unknown_option(prog: str, option: str, known: Iterable[str]) -> NoReturn:
    name = option.partition("=")[0]
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"see '{prog} --help'."
    raise ConfigError(f"{prog} has no option {name}; {hint}")


def _one_by_one(args: list[str]) -> list[str]:
    """``RUN --shift A B`` as ``RUN --shift A --shift B``, which argparse can take."""
    if not args or args[0].startswith("-"):
        return args  # RUN may still come, and must not be taken for a shift
    result = []
    open_list = False
    for index, word in enumerate(args):
        if word.startswith("-"):
            open_list = word == "--shift"
        elif open_list and args[index - 1] != "--shift":
            result.append("--shift")
        result.append(word)
    return result


def _help() -> str:
    verbs = "\n".join(f"  {name:<10}{verb.about}" for name, verb in VERBS.items())
    return (
        "usage: malgen VERB [options]\n\n"
        "Malign generalization: trained with objective X, what does a system bring\n"
        "about elsewhere, and would we rather it had failed completely?\n\n"
        f"{verbs}\n\n"
        "Every verb has --help, --seed and --json. To begin with:\n"
        "  malgen run keys-and-chests-small\n"
        "  malgen play keys-and-chests-small\n"
        "  malgen audit nearest-key"
    )


def _parser(name: str, verb: Verb) -> Parser:
    about = verb.about[0].upper() + verb.about[1:]
    parser = Parser(
        prog=f"malgen {name}",
        description=about if about.endswith("?") else f"{about}.",
        epilog=f"example: {verb.example}",
        allow_abbrev=False,
    )
    verb.add(parser)
    about, default = verb.seed
    about += "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        "--seed",
        type=_whole("--seed", 0, limits.MOST_SEED),
        default=default,
        metavar="N",
        help=about,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object on standard output"
    )
    if name in LONG:
        parser.add_argument(
            "--quiet", action="store_true", help="do not say how far the work is"
        )
    return parser


# --- arguments -------------------------------------------------------------------


def _whole(name: str, least: int, most: int | None = None) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            try:
                exact = float(text)  # 5e6 is a whole number too
            except ValueError:
                exact = 0.5
            if exact != exact or abs(exact) > 2**53 or exact != int(exact):
                return limits.whole(name, text, least, most)
            number = int(exact)
        return limits.whole(name, number, least, most)

    return convert


def _price(text: str) -> float:
    try:
        return limits.price(float(text))
    except ValueError:
        return limits.price(text)


def _labels(text: str) -> tuple[str, ...]:
    known = dict.fromkeys((*LABELS, ANY_MALIGN))
    found: list[str] = []
    for name in text.split(","):
        look_up("label", name.strip(), known)
        any_malign = name.strip() == ANY_MALIGN
        found += MALIGN_ANY if any_malign else (name.strip(),)
    return tuple(found)


def _shift(text: str) -> tuple[str, float]:
    from malgen.scenarios import find_shift
    from malgen.shifts import parse_shift

    name, strength = parse_shift(text)
    find_shift(name)
    return name, strength


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario", metavar="SCENARIO", help="a name that 'malgen list' shows"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="folder that 'malgen train' wrote"
    )


def _add_price(parser: argparse.ArgumentParser, default: float | None = 1.0) -> None:
    parser.add_argument(
        "--price",
        type=_price,
        default=default,
        metavar="S",
        help="what one unit of harm costs, in chests "
        + ("(default: the run's, or 1)" if default is None else "(default: 1)"),
    )


def _add_shifts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shift",
        dest="shifts",
        type=_shift,
        action="append",
        default=[],
        metavar="NAME[=STRENGTH]",
        help="what differs from training, strength from 0 to 1; give it again for "
        "more (default: the scenario's own deployment)",
    )


def _add_levels(
    parser: argparse.ArgumentParser, default: int | None, least: int, unless: str
) -> None:
    parser.add_argument(
        "--levels",
        type=_whole("--levels", least, limits.MOST_LEVELS),
        default=default,
        metavar="N",
        help=f"deployment levels, at least {least} (default: {unless})",
    )


def _add_seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds",
        type=_whole("--seeds", 1, limits.MOST_SEEDS),
        default=3,
        metavar="N",
        help="independent training runs (default: %(default)s)",
    )


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", action="store_true", help="go on where an interrupted run stopped"
    )


def _add_fail_on(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on",
        type=_labels,
        default=(),
        metavar="LABEL[,LABEL]",
        help="exit with status 3 when the verdict of any seed is one of these; "
        "malign-any stands for " + ", ".join(MALIGN_ANY),
    )


# --- run, train, deploy, report --------------------------------------------------


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _add_scenario(parser)
    _add_seeds(parser)
    _add_price(parser)
    _add_levels(parser, 512, 30, "512")
    parser.add_argument(
        "--controls", action="store_true", help="run the control arms too (longer)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the run (default: runs/SCENARIO-seedN)",
    )
    _add_resume(parser)
    _add_fail_on(parser)


def _progress(
    options: argparse.Namespace, job: str
) -> contextlib.AbstractContextManager["Progress"]:
    """Where a verb reports to; nowhere with ``--quiet``."""
    from malgen.progress import Console, Silent

    if options.quiet:
        return contextlib.nullcontext(Silent())
    return Console(memory=cache_folder() / "times.json", job=job)


def _run(options: argparse.Namespace) -> Answer:
    from malgen import experiment
    from malgen.scenarios import find_scenario

    find_scenario(options.scenario)
    out = experiment.choose_folder(
        options.scenario, options.seed, out=options.out, resume=options.resume
    )
    job = f"run {options.scenario}" + " with controls" * options.controls
    with _progress(options, job) as progress:
        result = experiment.run(
            options.scenario,
            out=out,
            seeds=options.seeds,
            seed=options.seed,
            price=options.price,
            levels=options.levels,
            controls=options.controls,
            resume=options.resume,
            progress=progress,
        )
    return _answer_of(result, out)


def _answer_of(result: "RunResult", run: Path) -> Answer:
    return Answer(
        json=lambda: to_json(result),
        show=lambda: show_run(result, run / "report.html"),
        labels=tuple((f"seed {s.seed}", s.verdict.label) for s in result.seeds),
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _add_scenario(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="folder to write the run to",
    )
    _add_seeds(parser)
    parser.add_argument(
        "--timesteps",
        type=_whole("--timesteps", 1, limits.MOST_TIMESTEPS),
        metavar="N",
        help="environment steps per training run (default: the recipe's)",
    )
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="what is trained, a name that 'malgen list' shows (default: the recipe's)",
    )
    _add_resume(parser)


def _train(options: argparse.Namespace) -> Answer:
    from malgen import experiment
    from malgen.scenarios import find_scenario

    find_scenario(options.scenario)
    with _progress(options, f"train {options.scenario}") as progress:
        experiment.train(
            options.scenario,
            out=options.out,
            seeds=options.seeds,
            seed=options.seed,
            timesteps=options.timesteps,
            network=options.network,
            resume=options.resume,
            progress=progress,
        )
    return _wrote("run", options.out, f"next: malgen deploy {options.out}")


def _deploy_arguments(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_shifts(parser)
    _add_price(parser, None)
    _add_levels(parser, None, 30, "the run's")


def _deploy(options: argparse.Namespace) -> Answer:
    from malgen import experiment

    _manifest_of(options.run, options.seed)
    with _progress(options, "deploy") as progress:
        rollouts = experiment.deploy(
            options.run,
            shifts=options.shifts,
            price=options.price,
            levels=options.levels,
            progress=progress,
        )
    return _wrote("rollouts", rollouts, f"next: malgen audit {options.run}")


def _report(options: argparse.Namespace) -> Answer:
    from malgen import experiment

    _manifest_of(options.run, options.seed)
    with _progress(options, "report") as progress:
        progress.update("report", 0.0)
        page = experiment.report(options.run)
    return _wrote("report", page, "open it in a browser")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--onnx", action="store_true", required=True, help="as ONNX files"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the files (default: RUN/onnx)",
    )


def _export(options: argparse.Namespace) -> Answer:
    from malgen.export import export

    _manifest_of(options.run, options.seed)
    with _progress(options, "export") as progress:
        found = export(options.run, out=options.out, progress=progress)

    def show() -> None:
        for each in found:
            print(
                f"{each.path}: as the network on {each.observations} observations, "
                f"up to {each.difference:.1e} in a logit or value"
            )

    files = [asdict(each) for each in found]
    return Answer(json=lambda: json.dumps({"files": files}, indent=2), show=show)


def _wrote(what: str, path: Path, then: str) -> Answer:
    def show() -> None:
        out = _console()
        out.print(f"{what}: {path}", markup=False)
        out.print(then, style="dim", markup=False)

    return Answer(json=lambda: json.dumps({what: str(path)}, indent=2), show=show)


def _manifest_of(run: Path, seed: int | None) -> "Manifest":
    """What is written in the run's folder, if a given seed does not contradict it."""
    from malgen.store import read_manifest

    manifest = read_manifest(run)
    if seed is not None and seed != manifest.seed:
        raise ConfigError(
            f"{run} was made with seed {manifest.seed} and not {seed}; leave --seed "
            "out, or train again with the other seed."
        )
    return manifest


# --- audit -----------------------------------------------------------------------


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="RUN|AGENT|FILE|MODULE:FACTORY",
        help="folder of a run, name of a scripted agent, a policy in an .onnx or "
        ".safetensors file, or a function of yours that returns one; with a scenario "
        "file, one or more policies",
    )
    parser.add_argument(
        "--scenario",
        metavar="SCENARIO|FILE.py",
        help="where an agent or a file is judged: a name, or a Python file that "
        f"describes an environment of your own (default: {DEFAULT_SCENARIO})",
    )
    _add_policy(parser)
    _add_foreign(parser)
    _add_price(parser, None)
    _add_shifts(parser)
    parser.add_argument(
        "--no-gate",
        dest="gate",
        action="store_false",
        help="do not demand competence on the training distribution first",
    )
    _add_levels(parser, None, 2, "as few as a decision takes")
    parser.add_argument(
        "--instruments",
        metavar="NAME[,NAME]",
        help="what is asked beside: names that 'malgen list' shows, verdict for those "
        "that the label rests on, or all (default)",
    )
    _add_no_cache(parser)
    _add_fail_on(parser)


def _add_foreign(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with such a policy or a scenario file")
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep finished episodes and the verdict there; with a scenario file also "
        "a report",
    )
    group.add_argument(
        "--resume", action="store_true", help="go on with the audit in DIR"
    )


def _add_policy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with a policy that malgen did not train")
    group.add_argument(
        "--view",
        type=_view,
        metavar="VIEW",
        help="what it sees, as malgen/KeysAndChests-v0 showed it: none (the "
        "whole level), agent, or an odd number (default: what the shape of its "
        "observations says)",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        default=None,
        help="load files that run code when they are loaded: Stable-Baselines3's .zip, "
        "pickles, torch files",
    )
    group.add_argument(
        "--time-limit",
        type=_seconds,
        metavar="S",
        help="seconds that one call into a policy or an environment may take "
        "(default: 30)",
    )


def _view(text: str) -> str:
    from malgen.adapters.views import parse_view

    parse_view(text)  # refuses what is none
    return text


def _seconds(text: str) -> float:
    try:
        return limits.seconds(float(text))
    except ValueError:
        return limits.seconds(text)


def _foreign_policy(options: argparse.Namespace) -> dict[str, Any]:
    """What was said about a policy that malgen did not train, as ``audit`` takes it."""
    found: dict[str, Any] = {}
    if options.trust:
        found["trust"] = True
    if options.time_limit is not None:
        found["seconds"] = options.time_limit
    if options.view is not None:
        from malgen.adapters.views import parse_view

        found["view"] = parse_view(options.view)
    return found


def _add_no_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-cache",
        dest="use_cache",
        action="store_false",
        help="ask the instruments again, whatever they found before",
    )


def _audit(options: argparse.Namespace) -> Answer:
    if options.scenario and options.scenario.endswith(".py"):
        return _audit_foreign(options)
    if options.instruments is None:  # no default, so that a scenario file can refuse it
        options.instruments = "all"
    if len(options.targets) > 1:
        raise ConfigError(
            "Several policies are audited together in an environment of your own; give "
            "--scenario FILE.py, or one policy at a time."
        )
    (options.target,) = options.targets
    target = Path(options.target)
    if target.is_dir():
        for option in ("view", "trust", "time_limit", "out", "resume"):
            if getattr(options, option) not in (None, False):
                raise ConfigError(
                    f"--{option.replace('_', '-')} is for policies that malgen did not "
                    "train; leave it out for a run."
                )
        return _audit_run(target, options)
    from malgen.adapters.actors import is_foreign

    if is_foreign(options.target):
        return _audit_policy(options.target, options)
    if target.exists():
        if target.suffix != ".safetensors":
            raise ConfigError(
                f"{target} is no policy file that malgen can read; give an .onnx or a "
                ".safetensors file."
            )
        return _audit_policy(target, options)
    if target.suffix or len(target.parts) > 1:
        raise ConfigError(
            f"There is no file or folder {target}; give the folder of a run, the name "
            "of an agent, a file with a policy, or package.module:factory."
        )
    from malgen.zoo.catalog import AGENTS

    look_up("agent", options.target, AGENTS)
    return _audit_policy(options.target, options)


def _audit_run(run: Path, options: argparse.Namespace) -> Answer:
    manifest = _manifest_of(run, options.seed)
    if options.scenario not in (None, manifest.scenario):
        raise ConfigError(
            f"{run} was trained on {manifest.scenario} and not on {options.scenario}; "
            "leave --scenario out."
        )
    if options.shifts or options.levels is not None:
        raise ConfigError(
            "The shifts and levels of a run are decided when it is deployed; give "
            f"--shift and --levels to 'malgen deploy {run}' and audit it then."
        )
    from malgen import experiment

    with _progress(options, "audit a run") as progress:
        result = experiment.audit_run(
            run,
            price=options.price,
            gate=options.gate,
            instruments=options.instruments,
            use_cache=options.use_cache,
            progress=progress,
        )
    return _answer_of(result, run)


def _audit_policy(policy: str | Path, options: argparse.Namespace) -> Answer:
    from malgen.auditing import audit
    from malgen.scenarios import find_scenario

    scenario = options.scenario or DEFAULT_SCENARIO
    find_scenario(scenario)
    with _progress(options, f"audit {scenario}") as progress:
        verdict = audit(
            policy,
            scenario,
            price=1.0 if options.price is None else options.price,
            gate=options.gate,
            seed=options.seed or 0,
            levels=options.levels,
            shifts=options.shifts,
            instruments=options.instruments,
            use_cache=options.use_cache,
            out=options.out,
            resume=options.resume,
            progress=progress,
            **_foreign_policy(options),
        )
    return Answer(
        json=verdict.to_json,
        show=lambda: show_verdict(verdict),
        labels=((str(policy), verdict.label),),
    )


def _audit_foreign(options: argparse.Namespace) -> Answer:
    from malgen.foreign import audit, summary

    if options.shifts:
        raise ConfigError(
            "A scenario file has its own deployment; leave --shift out, or describe "
            "another deployment in another file."
        )
    if options.view is not None:
        raise ConfigError(
            "A scenario file makes its own observations; leave --view out."
        )
    if options.instruments is not None:
        raise ConfigError(
            "The instruments look at malgen's own worlds and not at the environment of "
            "a scenario file; leave --instruments out."
        )
    with _progress(options, f"audit {options.scenario}") as progress:
        result = audit.audit_foreign(
            options.targets,
            options.scenario,
            price=options.price,
            gate=options.gate,
            seed=options.seed or 0,
            levels=options.levels,
            out=options.out,
            resume=options.resume,
            progress=progress,
            **_foreign_policy(options),
        )

    def show() -> None:
        out = _console()
        for line in summary.lines(result):
            out.print(line, markup=False)
        if options.out:
            out.print(f"report: {options.out / 'report.html'}", markup=False)

    one = result.seeds[0].verdict if len(result.seeds) == 1 else None
    return Answer(
        json=one.to_json if one else lambda: to_json(result),
        show=show,
        labels=tuple((s.called, s.verdict.label) for s in result.seeds),
    )


# --- calibrate -------------------------------------------------------------------


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenario",
        metavar="SCENARIO",
        default=SMALL_SCENARIO,
        help="where the zoo is measured (default: %(default)s)",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="the instruments' short forms, as 'malgen audit' takes them",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the result into malgen itself, for all later audits",
    )
    _add_no_cache(parser)


def _calibrate(options: argparse.Namespace) -> Answer:
    from malgen import calibration
    from malgen.scenarios import find_scenario

    find_scenario(options.scenario)
    job = f"calibrate {options.scenario}" + " small" * options.small
    with _progress(options, job) as progress:
        found = calibration.calibrate(
            options.scenario,
            full=not options.small,
            seed=options.seed,
            use_cache=options.use_cache,
            progress=progress,
        )
    if options.write:
        calibration.write(found)
    return Answer(
        json=lambda: to_json(found),
        show=lambda: _console().print(calibration.in_words(found), markup=False),
    )


# --- list, play, check -----------------------------------------------------------

# What a verdict rests on: the names of its findings in verdict.json.
FINDINGS = {
    "train gate": "is it competent where it was trained?",
    "against switched off": "is it worse than a system that does nothing?",
    "against the X-reference": "does it bring what an exact X-optimizer brings?",
    "X-reference": "is X itself safe here, even with the worst ties?",
    "critical stakes": "from which price of harm on is switched off better?",
    "failure preference": "is it worse intact than degraded or shut down early?",
    "capability": "does it act directly, or serve any goal well?",
    "goal": "what does it pursue, and how well would each goal be served?",
}


def _list(options: argparse.Namespace) -> Answer:
    found = catalog()

    def show() -> None:
        from rich.table import Table

        out = _console()
        for group, members in found.items():
            table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
            for member in members:
                table.add_row(f"  [bold]{member['name']}[/]", member["about"])
                if "process" in member:
                    how = f"goal: {member['goal']}; {member['process']}"
                    table.add_row("", f"[dim]{how}[/]")
            out.print(group, style="bold cyan")
            out.print(table)

    return Answer(json=lambda: json.dumps(found, indent=2), show=show)


def catalog() -> dict[str, list[dict[str, str]]]:
    """Everything with a name, by kind; each with one line about it.

    Agents of the zoo also have a *goal* and a *process*, true by construction.
    """
    from malgen.audits.battery import INSTRUMENTS
    from malgen.progress import in_time
    from malgen.scenarios import SCENARIOS
    from malgen.shifts import SHIFTS
    from malgen.training.recipes import NETWORKS
    from malgen.worlds.keys_and_chests import HARMS, OBJECTIVES, KeysAndChests
    from malgen.zoo.catalog import AGENTS

    def scored(kind: str, objective) -> tuple[str, str]:
        if objective.events is None:
            return objective.name, f"{kind}, not a plain sum of events"
        sums = ", ".join(f"{value:+g} per {event}" for event, value in objective.events)
        return objective.name, f"{kind}: {sums}"

    groups = {
        "scenarios": [(s.name, s.about) for s in SCENARIOS.values()],
        "worlds": [
            (KeysAndChests.name, "any key opens any chest; spare keys are not yours")
        ],
        "agents": [],
        "networks": list(NETWORKS.items()),
        "objectives": [
            *(scored("objective", o) for o in OBJECTIVES.values()),
            *(scored("harm", o) for o in HARMS.values()),
        ],
        "shifts": [(s.name, s.about) for s in SHIFTS.values()],
        "instruments": [
            (i.name, f"{i.question} (about {in_time(i.seconds)})")
            for i in INSTRUMENTS.values()
        ],
        "findings": list(FINDINGS.items()),
    }
    found = {
        group: [{"name": name, "about": about} for name, about in members]
        for group, members in groups.items()
    }
    found["agents"] = [_agent(agent) for agent in AGENTS.values()]
    return found


def _agent(agent: "Agent") -> dict[str, str]:
    about = {"name": agent.name, "about": agent.about}
    if agent.card is None:
        return about
    card = agent.card
    return about | {"goal": card.goal or "none", "process": card.process}


def _play_arguments(parser: argparse.ArgumentParser) -> None:
    _add_scenario(parser)
    parser.add_argument(
        "--level", type=Path, metavar="FILE", help="a level drawn in ASCII"
    )
    _add_shifts(parser)
    parser.add_argument(
        "--train", action="store_true", help="play the training setting"
    )
    _add_price(parser)


def _play(options: argparse.Namespace) -> Answer:
    from malgen import play

    session = play.play(
        options.scenario,
        level_file=options.level,
        seed=options.seed,
        shifts=options.shifts,
        train=options.train,
        price=options.price,
        # standard output belongs to the JSON object
        screen=sys.stderr if options.json else sys.stdout,
    )

    def show() -> None:
        for line in session.summary():
            print(line)

    return Answer(json=session.to_json, show=show)


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="RUN|AGENT",
        help="folder that 'malgen train' wrote, or name of a scripted agent",
    )
    parser.add_argument(
        "--level",
        type=Path,
        metavar="FILE",
        help="a level drawn in ASCII (default: one of the deployment)",
    )
    parser.add_argument(
        "--scenario",
        metavar="SCENARIO",
        help=f"whose rules and horizon hold for an agent (default: {DEFAULT_SCENARIO})",
    )
    _add_price(parser, None)


def _watch(options: argparse.Namespace) -> Answer:
    from malgen import watch

    target = Path(options.target)
    if target.exists() or len(target.parts) > 1:
        _manifest_of(target, None)
    seen = watch.watch(
        options.target,
        scenario=options.scenario,
        level_file=options.level,
        price=options.price,
        seed=options.seed,
    )

    def show() -> None:
        for line in seen.lines():
            print(line)

    return Answer(json=lambda: to_json(seen), show=show)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE.py", type=Path, help="your Python file; it is imported"
    )


def _check(options: argparse.Namespace) -> Answer:
    from malgen import check

    found = check.check_file(options.file, seed=options.seed)
    return Answer(
        json=found.to_json,
        show=lambda: check.show(found, _console()),
        status=found.status,
        problem=found.problem,
    )


# --- printing --------------------------------------------------------------------


def _console() -> "Console":
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)  # ":two:" may be a name
    # what goes to a file or a pipe need not fit a window
    return Console(highlight=False, emoji=False, soft_wrap=True, width=110)


def show_run(result: "RunResult", report: Path) -> None:
    """The verdict, one row per seed, the claim about the recipe, and what to do next.

    Args:
        result: what the run found.
        report: where the page lies.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out = _console()
    out.print(result.sentence, style="bold", markup=False)
    columns = ("chests", "harm", "U over off", "critical stakes", "capability")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("seed", justify="right")
    table.add_column("label", no_wrap=True)
    for column in columns:
        table.add_column(column)
    for seed in result.seeds:
        v = seed.verdict
        numbers = (v.intended, v.harm, v.z, v.critical_stakes, v.capability)
        table.add_row(
            str(seed.seed),
            v.label.replace("-", "-\n", 1),
            *(Text(_cell(number)) for number in numbers),
        )
    out.print(table)
    for seed in result.seeds:
        if said := in_short(seed.verdict):
            out.print(f"seed {seed.seed}: {said}", markup=False)
    out.print(result.recipe.sentence, markup=False)
    out.print(f"next: {result.next_step}", markup=False)
    out.print(f"report: {report}", markup=False)


def show_verdict(verdict: "Verdict") -> None:
    """The verdict, and what each instrument found.

    Args:
        verdict: on one policy.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    out = _console()
    out.print(str(verdict), markup=False)
    if not verdict.instruments:
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("instrument", no_wrap=True)
    table.add_column("answer")
    table.add_column("key number")
    table.add_column("s", justify="right")
    for found in verdict.instruments:
        table.add_row(
            found.instrument,
            Text(found.answer),
            Text(_key_number(found)),
            "" if found.reason else f"{found.seconds:.0f}",
        )
    out.print(table)
    for line in conclusions(verdict):
        out.print(line, markup=False)


def _key_number(found: "Measurement") -> str:
    """The first number of an instrument, with its interval."""
    for name, estimate in found.estimates.items():
        if estimate.value is None and estimate.note:
            return f"{name} {estimate.note}"
        return f"{name} {estimate}"
    return ""


def conclusions(verdict: "Verdict") -> list[str]:
    """What the instruments together say, in lines.

    Args:
        verdict: with what they found.
    """
    from malgen.audits.optimizer import CRITERIA, LIMIT

    lines = [f"goal: {verdict.goal.sentence}"] if verdict.goal else []
    report = verdict.optimizer
    if report is None:
        return lines
    for criterion in CRITERIA:
        score = getattr(report, criterion)
        ends = Estimate(
            value=score.score,
            low=score.low,
            high=score.high,
            unit="score",
            levels=0,
            note="no score",
        )
        why = report.reasons.get(criterion, "")
        lines.append(
            f"{criterion.replace('_', ' ')}: {ends}, {score.coverage} independent "
            f"kind{'s' * (score.coverage != 1)} of evidence" + (f" ({why})" * bool(why))
        )
    return [*lines, f"in short: {in_short(verdict)}", f"limit: {LIMIT}"]


def in_short(verdict: "Verdict") -> str:
    """What it pursues and whether it searches, in one sentence; "" if not asked."""
    reports = [r for r in (verdict.goal, verdict.optimizer) if r is not None]
    said = "; ".join(report.sentence.rstrip(".") for report in reports)
    return f"{said}." if said else ""


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not measured"
    return str(estimate).replace(" ", "\n", 1)


VERBS: dict[str, Verb] = {
    "run": Verb(
        about="the whole story: train, deploy, audit, report",
        add=_run_arguments,
        do=_run,
        example="malgen run keys-and-chests-small --fail-on malign-any",
    ),
    "list": Verb(
        about="scenarios, worlds, agents, objectives, shifts, instruments, findings",
        add=lambda parser: None,
        do=_list,
        example="malgen list",
        seed=("changes nothing here", 0),
    ),
    "play": Verb(
        about="play in the terminal: a level you drew, or a fresh one",
        add=_play_arguments,
        do=_play,
        example="malgen play keys-and-chests-small --seed 7",
        seed=("of the levels that are drawn", 0),
    ),
    "watch": Verb(
        about="see what an agent or a run does on one level, yours or a fresh one",
        add=_watch_arguments,
        do=_watch,
        example="malgen watch nearest-key --level my_level.txt",
        seed=("of the level that is drawn and of what the agent does", 0),
    ),
    "train": Verb(
        about="train policies and write a run folder",
        add=_train_arguments,
        do=_train,
        example="malgen train keys-and-chests-small --out runs/mine",
    ),
    "deploy": Verb(
        about="let the policies of a run act somewhere new",
        add=_deploy_arguments,
        do=_deploy,
        example="malgen deploy runs/mine --shift supply=0.5 maze",
        seed=("the seed that the run must have been made with", None),
    ),
    "audit": Verb(
        about="would we rather it had failed completely?",
        add=_audit_arguments,
        do=_audit,
        example="malgen audit nearest-key --scenario keys-and-chests-small",
        seed=("of the levels; for a run, the seed it must have been made with", None),
    ),
    "calibrate": Verb(
        about="how often are the instruments right on agents whose answer is known?",
        add=_calibrate_arguments,
        do=_calibrate,
        example="malgen calibrate --small",
        seed=("of the levels", 0),
    ),
    "report": Verb(
        about="one self-contained HTML file",
        add=_add_run,
        do=_report,
        example="malgen report runs/mine",
        seed=("the seed that the run must have been made with", None),
    ),
    "export": Verb(
        about="the networks of a run as ONNX files that anybody can run",
        add=_export_arguments,
        do=_export,
        example="malgen export runs/mine --onnx",
        seed=("the seed that the run must have been made with", None),
    ),
    "check": Verb(
        about="does my world, agent, objective or shift keep the laws?",
        add=_check_arguments,
        do=_check,
        example="malgen check my_world.py",
        seed=("of the random walks", 0),
    ),
}
