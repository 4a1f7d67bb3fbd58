"""Which operators of a saved artifact an accelerator runs, told from the file and from rules.

The readers (``tflite``, ``onnx``, ``coreml``) turn a file into one kind of graph; ``rules`` judges
its operators by the tables in ``rules/``; ``partitions`` cuts the graph as runtimes do; ``report``
puts the figures together.
"""
