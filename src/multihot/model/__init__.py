"""The timm model.

create.py takes the softmax classifier off, heads/install.py puts a head on, start.py gives it its first weights, and
finetune.py says what learns. sources.py reads pretrained weights, saved.py writes and reads best/.
"""
