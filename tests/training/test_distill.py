"""Distillation end to end on a tiny model: what it learns, what it writes, how it continues."""

import json
import random
import shutil

import pytest
import torch
import yaml
from conftest_tools import base_model, read_masked
