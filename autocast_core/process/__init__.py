"""This process: when the garbage collector runs, which modules are loaded late, where log lines go, how child processes
end, and how a full disk is told.

Which imports may stand inside a function, and why:

- A runtime, a server's client or another heavy or optional package (onnxruntime, tensorrt, mlflow, prefect, boto3,
  matplotlib, rich, uvicorn, pydantic on the converter's path) where a caller of the module may not need it. Importing
  mlflow takes seconds, onnxruntime loads a library of 50 MB, and tensorrt may be absent.
- A module of AutoCast Flow that leads to such a package: a command (`flows.cli`, `autocast_core.__main__`) imports its
  flow or its stages in the function that runs them, so that ``--help`` and usage errors take no seconds.
- In the converter's stages, what only a measured decision needs: simulation, evaluation and searches are 90 modules,
  which cost a tenth of converting 5,000 nodes by thresholds.
- A module that must be imported after the environment was prepared: Prefect reads its settings when it is imported, so
  `flows.local.environment.set_defaults` comes first.
- What only a child process needs (`autocast_core.backends.tensorrt.child` and `gpu`).

Every other import stands at the top of its file. Names used in annotations only are imported under ``TYPE_CHECKING``.
The public names of `autocast_core` are loaded on first use (lazy_loader). `lazy_imports` postpones modules
that third parties import; its docstring says which process may use it.
"""
