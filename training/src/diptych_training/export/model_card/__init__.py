"""Write the model card of an exported run.

In: the run, its data set, parities and an optional evaluation. Out: Markdown, from the templates in this
package. Start with `card.model_card`; `licence` derives the licence of the weights from their training data.
"""
