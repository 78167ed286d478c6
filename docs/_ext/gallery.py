"""The examples in the order in which they are best read; one that is not named comes last."""

from sphinx_gallery.sorting import ExplicitOrder

names = """
    quickstart bandwidth kernels edges attention_pooling which_rows sparse_attention uncertainty time_series
    marginal_effects pipeline model_comparison two_heads
"""
order = ExplicitOrder([*(f"plot_{name}.py" for name in names.split()), "*"])
