"""The default model of diptych, `everyday`, and its sample gallery, as files beside this one.

`diptych serve` finds them through the entry point group `diptych.models`.
"""
