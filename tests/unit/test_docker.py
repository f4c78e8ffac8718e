"""The images' files: linted and consistent with the repository. Nothing is built."""

import pathlib
import re
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = ["cpu.Dockerfile", "gpu.Dockerfile"]
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("docker", "scripts")
    for path in (ROOT / folder).glob("**/*.sh")
)


def run(*command):
    """Runs a command in the repository; returns (exit status, what it printed)."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def tool(name):
    """A program that a package of the `test` extra put beside this Python."""
    return str(pathlib.Path(sys.executable).parent / name)


def instructions(dockerfile):
    """[keyword, argument, …] of each instruction, comments and flags left out."""
    lines = (
        line
        for line in (DOCKER / dockerfile).read_text().splitlines()
        if not line.lstrip().startswith("#")
    )
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        [word for word in line.split() if not word.startswith("--")]
        for line in joined.splitlines()
        if line.strip()
    ]


def copied(dockerfile):
    """Sources of every COPY."""
    return [
        source
        for keyword, *arguments in instructions(dockerfile)
        if keyword == "COPY"
        for source in arguments[:-1]
    ]


def kept(dockerfile):
    """What the build sees: each file names it, after `*` shuts everything out."""
    lines = (DOCKER / f"{dockerfile}.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return [rule[1:] for rule in rules if rule.startswith("!")]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_hadolint_finds_nothing(dockerfile):
    assert run(tool("hadolint"), "--no-color", f"docker/{dockerfile}") == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script):
    assert run(tool("shellcheck"), "--severity=warning", "--color=never", script) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(script):
    assert run("bash", "-n", script) == (0, "")


@pytest.mark.parametrize(
    ("dockerfile", "extras"), [("cpu.Dockerfile", []), ("gpu.Dockerfile", ["gpu"])]
)
def test_images_are_made_by_the_install_script(dockerfile, extras):
    installs = [
        words
        for words in instructions(dockerfile)
        if words[0] == "RUN" and "scripts/install.sh" in words
    ]
    assert installs == [["RUN", "bash", "scripts/install.sh", *extras]]


def test_gpu_image_builds_the_gpu_collectives():
    environment = {
        word
        for keyword, *words in instructions("gpu.Dockerfile")
        if keyword == "ENV"
        for word in words
    }
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in environment


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_copied_files_exist_and_are_seen(dockerfile):
    sources = copied(dockerfile)
    assert sources[-1] == "."
    for source in sources[:-1]:
        assert (ROOT / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in kept(dockerfile)), (
            source
        )


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_dependencies_are_installed_before_the_code_is_copied(dockerfile):
    steps = [" ".join(words) for words in instructions(dockerfile)]
    assert steps.index("COPY . .") > next(
        i for i, step in enumerate(steps) if "scripts/install.sh" in step and step.startswith("RUN")
    )


def test_no_image_has_a_key():
    for dockerfile in DOCKERFILES:
        assert "/etc/ssh/ssh_host_*" in (DOCKER / dockerfile).read_text()
        assert not any("ssh-keygen" in words for words in instructions(dockerfile))


def test_compose_has_two_hosts():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert sorted(compose["services"]) == ["a", "b"]
    for name, service in compose["services"].items():
        context = (DOCKER / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]).is_file()
        assert (context / service["command"][1]).is_file()
        assert service["hostname"] == name
        volumes = dict(volume.split(":") for volume in service["volumes"])
        assert volumes == {"ssh": "/ssh", "data": "/work/data", "runs": "/work/runs"}
        assert set(volumes) == set(compose["volumes"])


def test_documents_name_scripts_that_exist():
    named = {
        path
        for name in ("README.md", "compose.yaml")
        for path in re.findall(r"scripts/[\w./-]*\w", (DOCKER / name).read_text())
    }
    assert {"scripts/prepare.py", "scripts/train.py"} <= named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
