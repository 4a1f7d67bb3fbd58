"""What one artifact is to be: model, options, target, weights; and how its file is named."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from rethined_export.checkpoints import CheckpointError, describe
from rethined_export.converters import TARGETS
from rethined_export.converters.reducing.types import EXACT, METHODS, PRECISIONS, Precision
from rethined_export.errors import UserError
from rethined_export.photo.calibration import Calibration
from rethined_export.photo.window import Window
from rethined_export.recipes import RECIPES, recipe, recognisers
from rethined_export.recipes.options import Options
from rethined_export.recipes.types import UNTRAINED, Recipe, Reference, Source


@dataclass(frozen=True)
class ExportSpec:
    """What to export; the same spec and weights give the same bytes.

    Attributes:
        model: as in the registry. options: the model's own.
        part: which of the model's programs.
        checkpoint: file of the weights; None for the shipped or, where none are, untrained ones.
        more_checkpoints: files of further networks' weights, where a model has several.
        checkpoint_key: place of the weights in it; None where it can be told.
        untrained: a stand-in that does not inpaint, also where weights are shipped.
        precision: of its numbers. integer_io: images go in and come out in 8 bits.
        calibration: what activations are measured on and weights rounded, where the precision
            needs it.
    """

    model: str
    target: str
    options: Options
    part: str = "whole"
    checkpoint: str | None = None
    more_checkpoints: tuple[str, ...] = ()
    checkpoint_key: str | None = None
    untrained: bool = False
    precision: str = EXACT
    integer_io: bool = False
    calibration: Calibration | None = None

    @property
    def recipe(self) -> Recipe[Any]:
        """Of the model."""
        return recipe(self.model)

    @property
    def shipped(self) -> Path | None:
        """The shipped weights, where those are what is exported."""
        if self.checkpoint is not None or self.untrained:
            return None
        return self.recipe.shipped(self.options)

    @property
    def source(self) -> Source | None:
        """Where the weights lie; None for a stand-in."""
        if self.checkpoint is not None:
            others = tuple(Path(name) for name in self.more_checkpoints)
            return Source(Path(self.checkpoint), self.checkpoint_key, others)
        return Source(self.shipped) if self.shipped else None

    @property
    def parts(self) -> dict[str, Self]:
        """The specs of all programs of the model, by part."""
        names = self.recipe.parts(self.options)
        return {name: replace(self, part=name) for name in names}

    def stem(self) -> str:
        """``<model>[-untrained][-<preset>]-<size>[-<form>]-<precision>[-integer-io]``."""
        options = self.options
        stand_in = UNTRAINED if self.recipe.trains and self.source is None else ""
        family, form = options.family(self.model), options.form(self.part)
        precision = f"{self.precision}-integer-io" if self.integer_io else self.precision
        pieces = (family, stand_in, options.preset_text, options.size_text, form, precision)
        return "-".join(piece for piece in pieces if piece)

    def file_name(self) -> str:
        """Name of the artifact."""
        return self.stem() + TARGETS[self.target].suffix

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**dataclasses.asdict(self), "more_checkpoints": list(self.more_checkpoints)}

    @classmethod
    def from_dict(cls, facts: Any) -> Self:
        """From JSON.

        Raises:
            TypeError, ValueError, UserError: something is missing, unknown or of another kind.
        """
        check_fields(cls, facts, "spec.")
        for field, names in (("model", RECIPES), ("target", TARGETS)):
            if facts[field] not in names:
                raise ValueError(f"spec.{field} {facts[field]!r} is unknown")
        kind = recipe(facts["model"]).options
        check_fields(kind, facts["options"], "spec.options.")
        options = kind(**{n: tuple(v) if isinstance(v, list) else v
                          for n, v in facts["options"].items()})  # fmt: skip
        options.check()
        more, calibration = tuple(facts["more_checkpoints"]), facts["calibration"]
        if calibration is not None:
            check_fields(Calibration, calibration, "spec.calibration.")
            calibration = Calibration(**calibration)
        spec = cls(**{**facts, "options": options, "more_checkpoints": more,
                      "calibration": calibration})  # fmt: skip
        if spec.part not in spec.parts:
            raise ValueError(f"spec.part {spec.part!r} is unknown")
        spec.check_precision()
        return spec

    def check_precision(self) -> None:
        """Refuse what a target lacks, or what contradicts itself.

        Raises:
            UserError: saying what there is.
        """
        target = TARGETS[self.target]
        if self.precision not in target.precisions:
            raise UserError(
                f"--precision {self.precision} is not for {self.target}; it has "
                f"{', '.join(target.precisions)}"
            )
        precision = PRECISIONS[self.precision]
        if self.calibration is not None:
            self._check_calibration(self.calibration.method, precision)
        if self.integer_io:
            self._check_integers(precision.calibrated)

    def _check_calibration(self, method: str, precision: Precision) -> None:
        if method != METHODS[0] and not precision.calibrated:
            raise UserError(
                f"--precision {precision.name} measures no activations; leave "
                "--calibration-method out"
            )
        if not precision.sees_photos:
            raise UserError(
                f"--precision {precision.name} looks at no photos; leave --calibration out"
            )
        if method not in TARGETS[self.target].methods:
            raise UserError(
                f"--calibration-method {method} is not for {self.target}; it has "
                f"{', '.join(TARGETS[self.target].methods)}"
            )

    def _check_integers(self, calibrated: bool) -> None:
        if not TARGETS[self.target].integers or not calibrated:
            able = " or ".join(target.name for target in TARGETS.values() if target.integers)
            raise UserError(
                f"--integer-io goes with --target {able} and --precision int8 or mixed, not with "
                f"{self.target} and {self.precision}"
            )
        if not self.recipe.takes_integers(self.options):
            raise UserError(
                "--integer-io: what calls this program gives it floats (several programs, or the "
                "network's own inputs); leave it out"
            )


def load_reference(spec: ExportSpec) -> Reference:
    """The network that a spec names.

    Raises:
        UserError: its checkpoint cannot be used.
    """
    try:
        reference = spec.recipe.reference(spec.options, spec.source)
    except UserError as error:
        raise UserError(f"{error}{_another_model(spec)}") from error
    # What differs from the preset in the shipped weights is no news to their user.
    return replace(reference, derived=()) if spec.shipped else reference


def _another_model(spec: ExportSpec) -> str:
    """What to ask for instead, where a checkpoint looks like another model's; or empty."""
    if spec.source is None:
        return ""
    try:
        found = describe(spec.source.path, spec.source.key, recognisers()).guess
    except CheckpointError:
        return ""
    if found is None or found.model == spec.model:
        return ""
    return f"; it looks like --model {found.model}"


def check_fields(kind: type[Any], facts: Any, where: str) -> None:
    """Every field of a dataclass is there, of the kind JSON gives it, and no other.

    Raises:
        TypeError, ValueError: naming the field, with ``where`` before it.
    """
    if not isinstance(facts, Mapping):
        raise TypeError(f"{where.rstrip('.')} is not an object")
    expected = get_type_hints(kind)
    if missing := sorted(expected.keys() - facts.keys()):
        raise ValueError(f"missing: {', '.join(where + name for name in missing)}")
    if unknown := sorted(facts.keys() - expected.keys()):
        raise ValueError(f"unknown: {', '.join(where + name for name in unknown)}")
    for name, hint in expected.items():
        if not _fits(facts[name], hint):
            wanted = " or ".join(known.__name__ for known in _json_kinds(hint))
            raise TypeError(f"{where}{name} is {facts[name]!r:.50}, not {wanted}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of the kind that a field's annotation says, and what is in it.

    Objects that stand for dataclasses are looked into by themselves.
    """
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if type(value) not in _json_kinds(hint):
        return hint is Any
    inside = get_args(hint)
    if get_origin(hint) is tuple and not is_dataclass(inside[0]):
        return all(_fits(item, inside[0]) for item in value)
    if get_origin(hint) is dict:
        return all(_fits(item, inside[1]) for item in value.values())
    return True


def _json_kinds(hint: Any) -> tuple[type, ...]:
    """The Python types that ``json.loads`` may give for a field's annotation."""
    if isinstance(hint, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _json_kinds(part))
    origin = get_origin(hint) or hint
    if origin is tuple:
        return (list,)
    if origin is Literal:
        return (str,)
    return (dict,) if is_dataclass(origin) else (origin,)


def default_spec(window: Window | None = None, target: str = "onnx") -> ExportSpec:
    """The default model and options: what commands run without an artifact.

    Args:
        window: pixels it takes; None: the options' own default.
    """
    model = next(iter(RECIPES))
    options = recipe(model).options()
    return ExportSpec(model, target, options.sized(window or options.window))
