"""Label sets: named lists of labels that sort the images of a collection, and what people say of them.

What a set gives an image follows from its definition, the version that serves and the stored vector: it is
computed, never stored. Definitions and verdicts are stored. Read `service` (the use cases) first, then
`assigned`, which computes, and `view`, in which a person's word replaces the model's.
"""
