"""Linear probes on embeddings, as in Radford et al. 2021, appendix A.3, and few-shot probes (section 3.1.3).

In: a split's embeddings and labels. Out: scores of a logistic regression whose strength of regularisation was
chosen on validation pictures. Read `probe` first; `logistic` fits, `sweep` chooses.
"""
