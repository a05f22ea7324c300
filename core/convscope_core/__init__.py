"""The kernel side of convscope: tensors in, tensors out; no widget and no notebook is imported here."""
