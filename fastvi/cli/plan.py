"""Command ``fastvi plan``: time and memory of a question about a saved model."""

from __future__ import annotations

from pathlib import Path

import click

import fastvi
from fastvi.cli.group import WrongInput
from fastvi.core.options import Question
from fastvi.core.registry import has_latents


def show_plan(model_path: Path, num_data: int, question: Question) -> None:
    """Measure a moment of the work and print the table."""
    try:
        model = fastvi.load(model_path)
        if not has_latents(model):
            raise WrongInput(f"MODEL must hold a model whose latents are bits or real numbers, got {model!r}")
        found = fastvi.plan(model, num_data, question=question)
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error
    click.echo(f"{model!r}\n{found}")
