"""`/search`: search collections by texts, images, their own images, or a weighted mix of them.

`routes` has the two calls; read it first. `read` makes a `SearchInput` of a JSON body, a form or a query
string, whose models are in `request`. `response` has the models of the answer.
"""
