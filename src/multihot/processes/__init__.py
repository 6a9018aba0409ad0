"""The processes of one training: how they find each other, what they compute with, how a large model is divided."""
