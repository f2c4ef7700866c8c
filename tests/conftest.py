"What holds in every test: no network, one thread, no windows, the same random numbers. Set before torch and transformers are imported."
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: threads would mostly wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # and those that wait, where a test asks for two, leave the core to the other worker

import random
import sys

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded():
    "Every test starts from the same state of the global generators"
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules: sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def golden_checkpoints():
    "Writes the checkpoints of golden.GOLDEN, in half a second, for the test files that ask for them"
    import golden
    golden.write_golden(golden.GOLDEN)
    yield
    golden.FOLDER.cleanup()


LONGEST = ["test_notebooks", "test_guides", "test_browser", "test_training", "test_jupyterlab", "test_publishing", "test_pair",
           "test_reproduce", "test_evaluation"]


def pytest_collection_modifyitems(items):
    "The files that take longest come first, so that the two workers end at about the same time"
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))
