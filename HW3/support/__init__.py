"""The machine room: what surrounds training and is no machine learning. You need not read it.

A run: `flags` and `flag_types` (the command line), `process` (exit codes, errors in one line, signals),
`run` (the bookkeeping around epochs), `run_folder` (where a run writes), `checkpoint` (saving, loading,
resuming), `runtime` (device, precision, seeds, losses, progress), `cuda_graph` (steps that a GPU replays),
`grids` (pictures of an epoch), `reference` (what the runs shown in README.md reached). What exists: `stages`
(the table of the five), `data_files` (MNIST and its relatives on disk), `synthetic` (digits drawn by code),
`files` (files on other people's machines). For the tools: `restore` (models from their checkpoints), `boards`
(labelled pictures).
"""
