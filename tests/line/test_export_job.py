"""`platform-assets export job`."""

import yaml

from tests.line_factory import SMALL_SPEC, platform_assets, write_spec


def test_the_job_of_several_nodes_is_shown_as_the_step_would_make_it(home, tmp_path):
    """Its files lie where the model of the line's present features would be."""
    spec = write_spec(tmp_path, resources={"gpu": 4, "nodes": 2})

    done = platform_assets(home, "export", "job", "reviews_small", "--spec", spec, "--namespace", "ml")

    assert done.returncode == 0, done.stderr
    service, job = yaml.safe_load_all(done.stdout)
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    assert job["metadata"]["namespace"] == "ml"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    trained = [
        path.name for path in (home / "objects" / "data" / "models" / "dev" / "reviews_small").iterdir()
    ]
    assert container["command"][-1] in {f"models/dev/reviews_small/{name}.checkpoint" for name in trained}


def test_a_line_of_one_node_has_no_job(home):
    """The error says which field would give it one."""
    done = platform_assets(home, "export", "job", "reviews_small", "--spec", SMALL_SPEC)

    assert done.returncode == 1
    assert "set resources.nodes in" in done.stderr
