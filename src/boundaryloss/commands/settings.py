"""The command `settings`."""

import click

from boundaryloss.commands.common import examples


@click.command(epilog=examples("boundaryloss settings --schema > settings.schema.json"))
@click.option("--schema", is_flag=True, help="Print a JSON schema, for an editor that checks TOML.")
def settings(schema: bool) -> None:
    """List the settings of `train --config` and of experiments."""
    import json

    from boundaryloss.training.config import describe_settings, settings_schema

    if schema:
        click.echo(json.dumps(settings_schema(), indent=2))
        return
    for name, default, meaning in describe_settings():
        click.echo(f"{name} = {default}\n{click.wrap_text(meaning, 100, '    ', '    ')}")
