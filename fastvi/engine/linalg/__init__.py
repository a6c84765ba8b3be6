"""Products and solves of the same bits for any number of threads.

BLAS and LAPACK sum in another order for another number of threads, so their last bits depend on it. No result
is made by them: large products are ``products.py``, small ones ``np.einsum`` without ``optimize``.
"""
