"""Training runs: the loop, the step, and what creates, resumes and logs a run.

In: a recipe (`TrainConfig`) and a packed data set. Out: a run folder with checkpoints, metrics and curves.
Read `command` first: it checks the recipe, builds a `Loop` with `prepare`, and trains. Then `loop` and
`step`. `align` and `text_teacher` bring what others trained; `interpolate` mixes weights after training.
"""
