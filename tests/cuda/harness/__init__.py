"""What shows CUDA kernels right on a machine without a GPU: their PTX run on the CPU, their machine code
counted.
"""
