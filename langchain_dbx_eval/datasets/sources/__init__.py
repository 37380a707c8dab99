"""One class per kind of source that `EvalDataset.load` accepts."""
