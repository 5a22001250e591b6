"""FeatureTransformers of a cluster are registered: on a real API server, and what is decided about each object."""

import json
import logging
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from platform_assets.definitions import build_definitions
from platform_assets.features.declared import Transformers, declared_transformers, load_transformers
from platform_assets.features.transformer_crd import GROUP, PLURAL, VERSION, crd
from platform_assets.features.transformer_objects import (
    KIND,
    Registration,
    record,
    registered_objects,
    registration_of,
)
from platform_assets.features.transformer_spec import API_VERSION, transformer_of_object
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from resources.cluster import ClusterError, ClusterUnreachableError
from resources.custom_objects import ClusterObjects
from resources.settings import PlatformSettings
from scripts.k8s import MANIFESTS
from sensors.definitions import transformer_sensor
from sensors.transformers import Judgement, Surroundings, judged, status_of
from tests.api_server import ApiServer, api_server
from tests.features.transformer_objects import Object, transformer
from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:Unverified HTTPS request"
)  # the server's certificate is its own

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
AROUND = Surroundings(
    taken={"flight_lag": "the file flight-lag.yaml"}, datasets=["credit_scorecard_dataset", "loans_dataset"]
)
SOURCE = "s3://risk-data/raw/"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty one."""
    return Ledger.open(tmp_path / "ledger.db", principal="tests")


def seen(content: Object | None = None, *, uid: str = "u1", generation: int = 1, **more: Any) -> Object:
    """An object as a cluster has it."""
    content = deepcopy(content or transformer())
    content["metadata"] |= {"uid": uid, "generation": generation, "resourceVersion": "7", "namespace": "risk"}
    return content | more


def registration(content: Object | None = None, **changes: Any) -> Registration:
    """That of an object."""
    stated = {"namespace": "risk", "uid": "u1", "generation": 1} | changes
    return registration_of(transformer_of_object(content or transformer()), **stated)


# --- What is decided ------------------------------------------------------------------------------------------


def test_a_valid_object_is_registered():
    """By the name that lines use."""
    found = judged(seen(), AROUND, None, namespace="risk")

    assert (found.reason, found.transformer and found.transformer.name) == ("Registered", "credit_woe")


def test_an_invalid_object_is_told_its_first_problem():
    """With the field; an object may be older than the rules of the cluster."""
    found = judged(seen(transformer(woe={"maxBins": 1})), AROUND, None, namespace="risk")

    assert (found.reason, found.transformer) == ("Invalid", None)
    assert found.message.startswith("spec.woe.maxBins: ")


def test_an_object_has_no_name_of_former_tables():
    """As no file has: features of earlier releases lie there."""
    found = judged(seen(transformer("zscore", name="credit-tokens")), AROUND, None, namespace="risk")

    assert (found.reason, found.transformer) == ("NameTaken", None)
    assert "credit_tokens is the name of the platform itself" in found.message


def test_an_object_of_a_dataset_that_nobody_makes_is_invalid():
    """It says which there are."""
    found = judged(seen(transformer(inputSource="asset://bonds_dataset")), AROUND, None, namespace="risk")

    assert found.reason == "Invalid"
    assert found.message == (
        "spec.inputSource: no line makes bonds_dataset; known are credit_scorecard_dataset, loans_dataset"
    )


def test_a_file_keeps_its_name():
    """Whoever comes with an object of that name is told where it is taken."""
    found = judged(seen(transformer("lag", name="flight-lag")), AROUND, None, namespace="risk")

    assert (found.reason, found.transformer) == ("NameTaken", None)
    assert found.message == ("flight_lag is the name of the file flight-lag.yaml; give the object another")


def test_an_object_of_another_namespace_keeps_its_name():
    """Two namespaces may share a ledger. Once it is removed the name is free."""
    other = registration(namespace="fraud")

    taken = judged(seen(), AROUND, other, namespace="risk")
    free = judged(seen(), AROUND, replace(other, state="removed"), namespace="risk")

    assert (taken.reason, free.reason) == ("NameTaken", "Registered")
    assert "the object credit-woe in namespace fraud" in taken.message


def test_a_status_is_written_once():
    """What it says already is not said again; a new version is."""
    judgement = judged(seen(), AROUND, None, namespace="risk")
    status = status_of(seen(), judgement, registration(), version=None, now=NOW)
    assert status is not None

    told = seen(status={key: value for key, value in status.items() if value is not None})
    later = NOW + timedelta(hours=1)
    assert status_of(told, judgement, registration(), version=None, now=later) is None
    fitted = status_of(told, judgement, registration(), version=3, now=later)
    assert fitted is not None
    assert fitted["newestVersion"] == "v3"


def test_a_condition_tells_since_when_it_is_so():
    """Its time changes when it does, not when its reason or message does; others' conditions stay."""
    invalid = Judgement("Invalid", "spec: no")
    other = {"type": "Synced", "status": "True"}
    status = status_of(seen(status={"conditions": [other]}), invalid, None, version=None, now=NOW)
    assert status is not None
    assert (status["conditions"][0], status["assetKey"]) == (other, None)

    later = NOW + timedelta(hours=1)
    taken = status_of(seen(status=status), Judgement("NameTaken", "x"), None, version=None, now=later)
    sound = status_of(
        seen(status=status), Judgement("Registered", ""), registration(), version=None, now=later
    )

    assert taken is not None
    assert sound is not None
    assert [each["conditions"][1]["lastTransitionTime"] for each in (status, taken, sound)] == [
        "2026-11-30T12:00:00Z",
        "2026-11-30T12:00:00Z",
        "2026-11-30T13:00:00Z",
    ]
    assert sound["assetKey"] == "credit_woe"


def test_an_invalid_change_leaves_what_was_registered():
    """And its status says so."""
    told = status_of(seen(generation=2), Judgement("Invalid", "spec: no"), registration(), version=2, now=NOW)

    assert told is not None
    assert told["conditions"][0]["message"] == "spec: no; what was registered of generation 1 stays"
    assert (told["observedGeneration"], told["assetKey"], told["newestVersion"]) == (2, "credit_woe", "v2")


# --- What the ledger keeps ------------------------------------------------------------------------------------


def test_what_is_registered_is_read_back(ledger: Ledger):
    """By name; with what is removed left out."""
    for content in (transformer("lag", name="b"), transformer(name="a"), transformer(name="c")):
        record(ledger, registration(content))
    record(ledger, replace(registration(transformer(name="c")), state="removed"))

    found = registered_objects(ledger)

    assert [content.name for _, content in found] == ["a", "b"]
    assert found[0][1].spec == transformer_of_object(transformer()).spec
    assert [place for place, _ in found] == [
        "the object a in namespace risk",
        "the object b in namespace risk",
    ]


def test_what_is_told_again_changes_nothing_and_what_comes_back_is_told(ledger: Ledger):
    """The same generation may be registered, removed for a file of its name, and registered again."""
    once = registration()
    gone = replace(once, state="removed")

    assert [record(ledger, each) for each in (once, once, gone, gone, once)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert [each.body["state"] for each in ledger.entries(kind=KIND)] == [
        "registered",
        "removed",
        "registered",
    ]


def test_annotations_of_tools_are_not_kept(ledger: Ledger):
    """Into one of them kubectl writes the whole object."""
    content = transformer()
    content["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "platform-assets/description": "Of loans.",
    }
    record(ledger, registration(content))

    ((_, found),) = registered_objects(ledger)
    assert found.metadata.annotations == {"platform-assets/description": "Of loans."}


def test_one_that_cannot_be_read_any_more_takes_down_itself_alone(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
):
    """A version that allows less has come; the object is named, and none of its values."""
    old = registration(transformer(name="old"))
    old.object["spec"]["woe"] = {"maxBins": 1}
    record(ledger, old)
    record(ledger, registration())

    with caplog.at_level(logging.ERROR):
        assert [content.name for _, content in registered_objects(ledger)] == ["credit_woe"]

    assert (
        "the object old in namespace risk was registered and cannot be read any more: spec.woe.maxBins"
        in caplog.text
    )


# --- On an API server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A server that knows the kind."""
    with api_server(MANIFESTS / "crds") as found:
        yield found


@pytest.fixture(scope="module")
def api(server: ApiServer) -> Any:
    """The Python client's way to its objects."""
    import kubernetes

    return kubernetes.client.CustomObjectsApi(server.client())


class Namespace:
    """A namespace of the server, and the sensor that looks at it."""

    def __init__(self, server: ApiServer, api: Any, outside: OutsideSystems) -> None:
        self.name = f"n{uuid4().hex[:8]}"
        self.server, self.api, self.outside = server, api, outside
        self.objects = ClusterObjects(self.name, api_version=API_VERSION, plural=PLURAL, api=api)
        self.files: dict[str, str] = {}
        self.sensor = self.sensed()

    def sensed(self, objects: Callable[[], Any] | None = None) -> dg.SensorDefinition:
        """The sensor, as a code location that is loaded now has it."""
        return transformer_sensor(
            self.outside, ["reviews_small"], self.files, objects=objects or (lambda: self.objects)
        )

    def tick(self, sensor: dg.SensorDefinition | None = None) -> str:
        """What a tick says."""
        with dg.DagsterInstance.ephemeral() as instance:
            tick = (sensor or self.sensor).evaluate_tick(dg.build_sensor_context(instance=instance))
        assert tick.skip_message
        return tick.skip_message

    def apply(self, content: Object) -> None:
        """As kubectl does."""
        done = self.server.kubectl("-n", self.name, "apply", "-f", "-", given=content)
        assert done.returncode == 0, done.stderr

    def get(self, name: str = "credit-woe") -> Object:
        """The object as it is now."""
        found: Object = self.api.get_namespaced_custom_object(GROUP, VERSION, self.name, PLURAL, name)
        return found

    def condition(self, name: str = "credit-woe") -> tuple[str, str]:
        """Status and reason of `Registered`."""
        (found,) = self.get(name)["status"]["conditions"]
        return found["status"], found["reason"]

    def states(self) -> list[tuple[str, str, int]]:
        """What the ledger has noted, oldest first."""
        entries = self.outside.ledger.entries(kind=KIND)
        return [(each.subject, each.body["state"], each.body["generation"]) for each in entries]


@pytest.fixture
def namespace(server: ApiServer, api: Any, tmp_path: Path) -> Namespace:
    """An empty one."""
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "home"))
    return Namespace(server, api, outside)


def test_an_object_is_registered_changed_and_removed(namespace: Namespace):
    """The ledger has each once, however often the sensor looks; a restarted one goes on."""
    namespace.apply(transformer(inputSource=SOURCE))
    assert namespace.tick() == "credit-woe: registered as credit_woe, generation 1"
    assert namespace.tick() == "no object has changed"
    status = namespace.get()["status"]
    assert (status["observedGeneration"], status["assetKey"]) == (1, "credit_woe")
    assert namespace.condition() == ("True", "Registered")

    namespace.apply(transformer(inputSource=SOURCE, woe={"maxBins": 6}))
    assert namespace.tick(namespace.sensed()) == "credit-woe: registered as credit_woe, generation 2"
    assert namespace.get()["status"]["observedGeneration"] == 2
    ((_, found),) = registered_objects(namespace.outside.ledger)
    stated = transformer_of_object(transformer(inputSource=SOURCE, woe={"maxBins": 6}))
    assert found.spec.normalised() == stated.spec.normalised()

    namespace.server.kubectl("-n", namespace.name, "delete", "ft", "credit-woe")
    assert namespace.tick() == "credit_woe: removed: the object is gone"
    assert namespace.tick() == "no object has changed"
    assert registered_objects(namespace.outside.ledger) == []

    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()
    assert namespace.states() == [
        ("credit_woe", "registered", 1),
        ("credit_woe", "registered", 2),
        ("credit_woe", "removed", 2),
        ("credit_woe", "registered", 1),
    ]


def test_an_object_that_is_no_good_here_is_told(namespace: Namespace):
    """What was registered of it stays, and it is registered when it is mended."""
    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()
    namespace.apply(transformer(inputSource="asset://bonds_dataset"))

    assert namespace.tick().startswith("credit-woe: Invalid: spec.inputSource: no line makes bonds_dataset")

    assert namespace.condition() == ("False", "Invalid")
    message = namespace.get()["status"]["conditions"][0]["message"]
    assert message.endswith("; what was registered of generation 1 stays")
    assert namespace.get()["status"]["assetKey"] == "credit_woe"
    assert namespace.states() == [("credit_woe", "registered", 1)]
    assert [found.spec.input_source for _, found in registered_objects(namespace.outside.ledger)] == [SOURCE]
    assert namespace.tick() == "no object has changed"

    namespace.apply(transformer(inputSource="asset://reviews_small_dataset"))
    namespace.tick()
    assert namespace.condition() == ("True", "Registered")
    assert namespace.states()[1:] == [("credit_woe", "registered", 3)]


def test_an_object_of_a_laxer_time_is_told(namespace: Namespace):
    """An older CRD had let it in. Its status can be written all the same, though the object would be refused today."""

    def is_taken(content: Object) -> bool:
        return (
            namespace.server.kubectl("-n", namespace.name, "apply", "-f", "-", given=content).returncode == 0
        )

    lax = crd()
    schema = lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    one_bin = transformer(inputSource=SOURCE, woe={"maxBins": 1})
    assert namespace.server.kubectl("apply", "-f", "-", given=lax).returncode == 0
    try:
        wait_for(lambda: is_taken(one_bin), "the lax CRD takes one bin", every=0.1)
    finally:
        assert namespace.server.kubectl("apply", "-f", "-", given=crd()).returncode == 0
    no_bin = transformer(inputSource=SOURCE, name="other", woe={"maxBins": 0})
    wait_for(lambda: not is_taken(no_bin), "the CRD refuses no bin", every=0.1)
    namespace.server.kubectl("-n", namespace.name, "delete", "ft", "other")

    assert namespace.tick().startswith("credit-woe: Invalid: spec.woe.maxBins: ")

    assert namespace.condition() == ("False", "Invalid")
    assert namespace.states() == []


def test_an_object_whose_name_a_file_gets_gives_it_up(namespace: Namespace):
    """From the next load on; when the file is gone, the object is registered again."""
    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()
    namespace.files["credit_woe"] = "the file credit.yaml"

    said = namespace.tick(namespace.sensed())
    assert "credit_woe: removed: credit_woe is the name of the file credit.yaml" in said
    assert namespace.condition() == ("False", "NameTaken")
    assert "assetKey" not in namespace.get()["status"]
    assert registered_objects(namespace.outside.ledger) == []

    namespace.files.clear()
    namespace.tick(namespace.sensed())
    assert namespace.condition() == ("True", "Registered")
    assert [state for _, state, _ in namespace.states()] == ["registered", "removed", "registered"]


def test_an_object_is_an_asset_after_the_next_load(namespace: Namespace):
    """On a cluster; beside those of files, which keep their names."""
    namespace.apply(transformer(inputSource=SOURCE, name="risk-woe"))
    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()
    outside = namespace.outside
    assert set(declared_transformers(outside).sound) == set(load_transformers().sound)

    outside.settings = outside.settings.model_copy(update={"profile": "cluster"})
    declared = declared_transformers(outside)

    assert set(declared.sound) == {*load_transformers().sound, "risk_woe"}
    assert declared.sound["risk_woe"].of_cluster
    assert declared.sound["risk_woe"].place == f"the object risk-woe in namespace {namespace.name}"
    (broken,) = declared.broken
    assert (broken.name, "credit_woe.yaml" in broken.problem) == ("credit_woe", True)
    definitions = build_definitions(outside, [], (), Transformers({"risk_woe": declared.sound["risk_woe"]}))
    assert dg.AssetKey("risk_woe") in {spec.key for spec in definitions.resolve_all_asset_specs()}


def test_one_object_that_is_wrong_stops_no_other(namespace: Namespace):
    """Each has a status of its own."""
    namespace.apply(transformer(name="a", inputSource="asset://bonds_dataset"))
    namespace.apply(transformer(name="b", inputSource=SOURCE))

    said = namespace.tick().splitlines()

    assert [line.partition(":")[0] for line in said] == ["a", "b"]
    assert (namespace.condition("a"), namespace.condition("b")) == (
        ("False", "Invalid"),
        ("True", "Registered"),
    )


@pytest.mark.parametrize("moment", ["before the status is written", "after the status is written"])
def test_a_tick_that_was_killed_is_made_good_by_the_next(namespace: Namespace, moment: str):
    """Nothing is registered twice, and the status says what became of it."""

    class Killed(BaseException):
        pass

    class Dying(ClusterObjects):
        def patch_status(self, seen: Any, status: Any) -> bool:
            if moment.startswith("after"):
                super().patch_status(seen, status)
            raise Killed

    namespace.apply(transformer(inputSource=SOURCE))
    dying = Dying(namespace.name, api_version=API_VERSION, plural=PLURAL, api=namespace.api)
    with pytest.raises(Killed):
        namespace.tick(namespace.sensed(lambda: dying))

    assert namespace.tick() == "no object has changed"
    assert namespace.condition() == ("True", "Registered")
    assert namespace.states() == [("credit_woe", "registered", 1)]
    assert namespace.get()["metadata"]["generation"] == 1


def test_an_api_server_that_is_away_is_one_sentence(namespace: Namespace):
    """Nothing is taken for removed meanwhile; the next tick goes on."""
    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()

    namespace.server.wire.become("cut")
    try:
        said = namespace.tick()
    finally:
        namespace.server.wire.become("open")

    assert said.startswith("the Kubernetes API does not answer: ")
    assert "\n" not in said
    assert namespace.states() == [("credit_woe", "registered", 1)]
    assert namespace.tick() == "no object has changed"


def test_a_cluster_that_does_not_know_the_kind_says_what_to_do(namespace: Namespace):
    """Nothing is taken for removed either."""
    unknown = ClusterObjects(namespace.name, api_version="kubeflow.org/v2", plural=PLURAL, api=namespace.api)

    assert namespace.tick(namespace.sensed(lambda: unknown)) == (
        "the cluster does not serve featuretransformers.kubeflow.org/v2: kubectl apply -k k8s/crds"
    )


def test_outside_of_a_cluster_there_are_no_objects(namespace: Namespace):
    """A code location that was told it is on one, and is not, says so."""
    sensor = transformer_sensor(namespace.outside, [], {})

    assert "runs in no pod" in namespace.tick(sensor)


def test_a_status_is_not_written_over_what_others_wrote(namespace: Namespace):
    """An object that has changed since it was seen is left for the next tick; so is one that is gone."""
    namespace.apply(transformer(inputSource=SOURCE))
    (before,) = namespace.objects.found()
    assert namespace.objects.patch_status(before, {"assetKey": "first"})

    assert not namespace.objects.patch_status(before, {"assetKey": "second"})
    assert namespace.get()["status"]["assetKey"] == "first"
    namespace.server.kubectl("-n", namespace.name, "delete", "ft", "credit-woe")
    assert not namespace.objects.patch_status(before, {"assetKey": "third"})


def test_a_status_that_the_cluster_refuses_is_an_error(namespace: Namespace):
    """It says which object's, in the server's words."""
    namespace.apply(transformer(inputSource=SOURCE))
    (found,) = namespace.objects.found()

    with pytest.raises(
        ClusterError, match=r"the status of credit-woe cannot be written: .*newestVersion"
    ) as refused:
        namespace.objects.patch_status(found, {"newestVersion": "3"})
    assert not isinstance(refused.value, ClusterUnreachableError)


def test_kubectl_shows_what_became_of_objects(namespace: Namespace):
    """Type, days, source, and whether it is registered; with `-o wide` the reason and the columns."""
    namespace.apply(transformer(inputSource=SOURCE))
    namespace.tick()

    shown = namespace.server.kubectl("-n", namespace.name, "get", "features", "-o", "wide").stdout
    header, line = shown.splitlines()
    assert header.split() == [
        "NAME",
        "TYPE",
        "DAYS",
        "SOURCE",
        "REGISTERED",
        "REASON",
        "NEWEST",
        "COLUMNS",
        "AGE",
    ]
    assert line.split()[:6] == ["credit-woe", "woe", "30", SOURCE, "True", "Registered"]
    assert json.loads(line.split()[6]) == ["Income", "Home"]
    assert crd()["spec"]["names"]["categories"] == ["features"]
