"""Find the mappings of tensors in what a pickle holds, and choose the one that is meant."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rethined_export.checkpoints.contents import Candidate
from rethined_export.checkpoints.errors import DamageError, few, shown
from rethined_export.checkpoints.inert import Inert, Name
from rethined_export.checkpoints.rebuild import as_stored
from rethined_export.checkpoints.stored import Stored

_DEPTH = 8
#: Modules that hold one another could name the same tensors without end.
_MOST_NAMES, _LONGEST_NAME = 100_000, 400
#: Dots in a tensor's name behind which the name that is known may begin.
_MOST_DOTS = 16
#: Names that wrappers of weights have, the more telling first; the top itself comes before them.
WRAPPERS = (
    "state_dict", "model_state_dict", "gen_state_dict", "generator_state_dict", "netG_state_dict",
    "generator", "netG", "G", "gen", "g", "params", "net", "network", "model", "module", "weights",
)  # fmt: skip
_AVERAGE = re.compile(r"(^|_|\.)(ema|avg|average|averaged|shadow)(_|\.|$)", re.I)
_TRAINING = re.compile(
    r"^(.*_)?(optim\w*|opt|opt_[a-z]|[gd]_opt\w*|sched\w*|lr_sched\w*|scaler\w*|grad_scaler|amp|"
    r"rng\w*|random\w*|callbacks|loops|loss\w*|metrics?)(_\w*)?$",
    re.I,
)
_OTHER_NETWORK = re.compile(
    r"^(d|disc\w*|discriminator\w*|\w+_disc\w*|netd\w*|critic\w*|vgg\w*|teacher\w*|lpips\w*)$", re.I
)


def find_mappings(root: object) -> list[Candidate]:
    """Every mapping of tensors in an object: dictionaries, and modules with their members.

    Places are dotted keys and attributes. Objects that hold themselves are visited once.
    """
    found: list[Candidate] = []
    waiting: deque[tuple[tuple[str, ...], object]] = deque([((), root)])
    seen: set[int] = set()
    while waiting:
        parts, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        candidate, inner = _look(".".join(parts), value)
        if candidate and (candidate.tensors or candidate.odd):
            found.append(candidate)
        if len(parts) < _DEPTH:
            waiting.extend(((*parts, name), member) for name, member in inner)
    return found


def settings_of(root: object) -> dict[str, Any]:
    """The plain values that a training run keeps under ``config`` beside its weights."""
    config = root.get("config") if isinstance(root, dict) else None
    return config if isinstance(config, dict) and _is_plain(config, _DEPTH) else {}


def _is_plain(value: object, depth: int) -> bool:
    """Whether a value is text, numbers, and lists and dictionaries of such."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return True
    if depth == 0:
        return False
    if isinstance(value, dict):
        named = all(isinstance(key, str) for key in value)
        return named and all(_is_plain(item, depth - 1) for item in value.values())
    return isinstance(value, (list, tuple)) and all(_is_plain(item, depth - 1) for item in value)


def _look(place: str, value: object) -> tuple[Candidate | None, list[tuple[str, object]]]:
    """The candidate a value is, and the values inside it to look at next."""
    if isinstance(value, Inert):
        if _is_module(value):
            return _named(Candidate(place, {}), value, _module_members), []
        value = value.entries | value.state()
    if isinstance(value, (list, tuple)):
        return None, [(str(number), item) for number, item in enumerate(value) if _holds(item)]
    if not isinstance(value, dict):
        return None, []
    candidate = Candidate(place, {})
    inner: list[tuple[str, object]] = []
    for key, item in value.items():
        tensor = as_stored(item)
        if tensor and isinstance(key, str):
            candidate.tensors[key] = tensor
        elif isinstance(key, str) and (kind := _odd(item)):
            candidate.odd[key] = kind
        elif not tensor and _holds(item):
            inner.append((shown(str(key)) if isinstance(key, (str, int)) else "?", item))
    return candidate, inner


def _holds(value: object) -> bool:
    return isinstance(value, (dict, list, tuple, Inert))


def _odd(value: object) -> str:
    """What makes a tensor of a kind that is not read; empty for anything else."""
    if isinstance(value, Inert) and isinstance(value.kind, Name):
        module, name = value.kind.module, value.kind.name
        if module.startswith("torch.") and ("_rebuild" in name or name.endswith("Tensor")):
            return str(value.kind)
    return ""


def _is_module(value: Inert) -> bool:
    return all(isinstance(value.attribute(name), dict) for name in ("_parameters", "_modules"))


def find_script(root: object) -> Candidate:
    """The tensors that a TorchScript object and its members have as attributes."""
    return _named(Candidate("", {}), root, lambda value: value.state().items())


def _module_members(module: Inert) -> Iterator[tuple[object, object]]:
    """Parameters, buffers and members of a pickled module, named as torch would name them."""
    for group in ("_parameters", "_buffers", "_modules"):
        members = module.attribute(group)
        if isinstance(members, dict):
            yield from members.items()


def _named(
    candidate: Candidate, root: object, members: Callable[[Inert], Iterable[tuple[object, object]]]
) -> Candidate:
    """Fill a candidate with the tensors of an object tree, names joined by dots."""
    waiting: list[tuple[str, object]] = [("", root)]
    names = 0
    while waiting:
        prefix, value = waiting.pop()
        for name, member in members(value) if isinstance(value, Inert) else ():
            names += 1
            if names > _MOST_NAMES or len(prefix) > _LONGEST_NAME:
                raise DamageError("its modules are more, or nested deeper, than any network's")
            if not isinstance(name, str) or len(name) > _LONGEST_NAME:
                continue
            if tensor := as_stored(member):
                candidate.tensors[prefix + name] = tensor
            elif kind := _odd(member):
                candidate.odd[prefix + name] = kind
            elif isinstance(member, Inert):
                waiting.append((f"{prefix}{name}.", member))
    return candidate


# --- Choosing -----------------------------------------------------------------------------------


def is_average(place: str) -> bool:
    """Whether a place's name is that of weights averaged over a training."""
    return bool(_AVERAGE.search(place))


def is_training_state(place: str) -> bool:
    """Whether a place's name is that of an optimiser, a schedule and the like."""
    return any(_TRAINING.match(part) for part in place.split("."))


def is_other_network(place: str) -> bool:
    """Whether a place's name is that of a network only trainings need, such as a discriminator."""
    return any(_OTHER_NETWORK.match(part) for part in place.split("."))


def choose(
    candidates: list[Candidate], known: Callable[[str], bool] | None = None
) -> tuple[Candidate, list[Candidate]]:
    """The mapping that is meant, and the others that could have been.

    Those with names that ``known`` accepts come first; then weights before training state and
    discriminators; then averaged weights where they are as many as the others; then the top and
    the usual names of wrappers; then the larger.
    """
    weights = [c for c in candidates if c.tensors and not is_training_state(c.place)]
    if not weights:
        weights = [c for c in candidates if c.tensors]
    largest = max(len(c.tensors) for c in weights)

    def rank(candidate: Candidate) -> tuple[bool | int, ...]:
        count = len(candidate.tensors)
        last = candidate.place.rpartition(".")[2]
        wrapper = WRAPPERS.index(last) + 1 if last in WRAPPERS else len(WRAPPERS) + 1
        return (
            -(_hits(candidate.tensors, known) if known else 0),
            is_other_network(candidate.place),
            count * 4 < largest,
            not (is_average(candidate.place) and count == largest),
            wrapper if candidate.place else 0,
            -count,
        )

    ranked = sorted(weights, key=rank)
    rest = [
        c for c in ranked[1:] if not is_other_network(c.place) and len(c.tensors) * 4 >= largest
    ]
    return ranked[0], rest


def _hits(names: dict[str, Stored], known: Callable[[str], bool]) -> int:
    """How many names are known, whatever stands before them."""
    return sum(any(known(tail) for tail in tails(name)) for name in names)


def tails(name: str) -> Iterator[str]:
    """The name, and what remains of it behind each of its first dots."""
    for _ in range(_MOST_DOTS):
        yield name
        _, dot, name = name.partition(".")
        if not dot:
            return


def named_by(candidates: list[Candidate], key: str) -> Candidate | None:
    """The mapping at a dotted place, or the part of one whose names start with the rest of it."""
    key = key.rstrip(".")
    for candidate in candidates:
        if candidate.place == key and candidate.tensors:
            return candidate
    for candidate in sorted(candidates, key=lambda c: -len(c.place)):
        start = f"{candidate.place}." if candidate.place else ""
        if not f"{key}.".startswith(start):
            continue
        prefix = f"{key[len(start) :]}."
        part = {n[len(prefix) :]: t for n, t in candidate.tensors.items() if n.startswith(prefix)}
        if part:
            return Candidate(key, part)
    return None


# --- Saying what is there -------------------------------------------------------------------------


def summarise(root: object) -> str:
    """What an object is and, for a mapping, what its entries are; for messages."""
    if isinstance(root, dict) and root:
        entries = [
            f"{shown(str(key), 40) if isinstance(key, (str, int)) else '?'} ({_kind(value)})"
            for key, value in list(root.items())[:6]
        ]
        more = f" and {len(root) - 6} more" if len(root) > 6 else ""
        return f"a dict of {', '.join(entries)}{more}"
    if isinstance(root, (list, tuple)) and root:
        kinds = Counter(_kind(item) for item in root[:1000])
        return f"a {_kind(root)} of {len(root)} ({few(list(kinds))})"
    kind = _kind(root)
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" if root is not None else "None"


def _kind(value: object) -> str:
    """A value's type, as the pickle names it."""
    if as_stored(value):
        return "Tensor"
    if isinstance(value, Inert):
        return str(value.kind) if isinstance(value.kind, Name) else "object"
    if isinstance(value, dict):
        return "dict" if value else "empty dict"
    return type(value).__name__
