"""What coremltools leaves in a program: the same small constant, anew for each that reads it."""

from pathlib import Path

from rethined_export.converters.mil.reading import FUNCTION, open_package


def share_constants(path: Path) -> None:
    """Keep of equal strides, axes or kinds of padding in a saved package the first only.

    Each has a type and its name twice: of a small network in 8 bits they are a twentieth. Those in
    the file of weights stay as they are.
    """
    spec, root = open_package(path)
    function = spec.mlProgram.functions[FUNCTION]
    block = function.block_specializations[function.opset]
    first: dict[bytes, str] = {}
    shared: dict[str, str] = {}
    again = []
    for place, operation in enumerate(block.operations):
        for given in operation.inputs.values():
            for one in given.arguments:
                one.name = shared.get(one.name, one.name)
        if operation.type != "const" or not operation.attributes["val"].HasField("immediateValue"):
            continue
        name = operation.outputs[0].name
        value = operation.attributes["val"].SerializeToString(deterministic=True)
        if first.setdefault(value, name) != name and name not in block.outputs:
            shared[name] = first[value]
            again.append(place)
    for place in reversed(again):
        del block.operations[place]
    root.write_bytes(spec.SerializeToString(deterministic=True))
