"""How programs of tests are compiled."""

QUICK_COMPILES = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""They are compiled for longer than they run. What XLA does before it calls LLVM, such as fusions, stays as it is."""
