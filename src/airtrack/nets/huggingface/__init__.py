"""Models in the layouts of Hugging Face's transformers: one file a family of layouts."""
