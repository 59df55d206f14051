import json
import subprocess
import sys

import i2moe_plugin


def run(source):
    """Runs Python elsewhere, so that nothing imported here hides what is imported there."""
    done = subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True, text=True, cwd=sys.prefix
    )
    return json.loads(done.stdout)


def test_importing_the_package_imports_no_torch():
    loaded = run(
        "import json, sys, i2moe_plugin as p; names = dir(p); p.__version__; p.I2MoEError;"
        "import i2moe_plugin.registry, i2moe_plugin.errors;"
        "print(json.dumps([names, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    names, modules = loaded
    assert set(i2moe_plugin.__all__) - {"__version__"} <= set(names)
    assert "i2moe_plugin" in modules
    assert not {"torch", "numpy", "scipy", "sklearn", "lightning_fabric"} & set(modules)


def test_every_public_name_resolves_and_is_documented():
    assert len(i2moe_plugin.__all__) == len(set(i2moe_plugin.__all__)) > 30
    for name in i2moe_plugin.__all__:
        thing = getattr(i2moe_plugin, name)
        if name != "__version__":
            assert thing.__module__.startswith("i2moe_plugin.")
            assert thing.__doc__, name


def test_every_error_is_one_of_ours():
    errors = [
        getattr(i2moe_plugin, name) for name in i2moe_plugin.__all__ if name.endswith("Error")
    ]
    assert len(errors) == 10
    assert all(issubclass(error, i2moe_plugin.I2MoEError) for error in errors)
