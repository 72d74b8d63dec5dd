"""The list of kernels against a GPU: peaks and links, the shares of them that kernels reach, seconds."""
