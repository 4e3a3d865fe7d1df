"""What TorchServe's worker needs of torch where no network runs on torch.

``ts.protocol.otf_message_handler`` imports torch for one check, whether an answer is
a tensor. Our CPU networks run on OpenVINO, so ``serving.start`` puts this module on
the workers' path when torch is not installed: an image smaller by its size.
"""


class Tensor:
    """Never instantiated: no handler of ours answers a tensor."""
