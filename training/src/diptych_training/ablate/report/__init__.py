"""The outcome of an ablation as data (`results`) and as a Markdown table (`table`); model cards use both."""
