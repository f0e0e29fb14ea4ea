"""The command `settings`."""

import click


@click.command()
@click.option("--schema", is_flag=True, help="Print a JSON schema, for an editor that checks TOML.")
def settings(schema: bool) -> None:
    """List what `train --config` and experiments can set: name, default, meaning."""
    import json

    from boundaryloss.training.config import describe_settings, settings_schema

    if schema:
        click.echo(json.dumps(settings_schema(), indent=2))
        return
    for name, default, meaning in describe_settings():
        click.echo(f"{name} = {default}\n{click.wrap_text(meaning, 100, '    ', '    ')}")
