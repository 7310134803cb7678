"""What was deployed, read back from the requests of a deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from google.protobuf.message import Message
from modal_proto import api_pb2


@dataclass(frozen=True)
class NamedSecret:
    """A secret that must exist on the platform, and the keys that it must hold."""

    name: str
    required_keys: tuple[str, ...]


class Deployed:
    """A published app: what its functions were declared with, by their names (`Engine.*` for the class)."""

    def __init__(
        self, published: api_pb2.AppPublishRequest, objects: Mapping[str, Message], contents: Mapping[str, bytes]
    ) -> None:
        self.published = published
        self._objects = objects
        self._contents = contents

    @property
    def name(self) -> str:
        """The app's name: of its deployment, or of its run."""
        created = self._objects[self.published.app_id]
        assert isinstance(created, api_pb2.AppCreateRequest)
        return self.published.name or created.description

    def function(self, name: str) -> api_pb2.Function:
        """The definition, for the GPU that is preferred most."""
        return definition(self._create_request(name))

    def gpus(self, name: str) -> list[str]:
        """GPU types in order of preference; empty on CPU."""
        ranked = self._create_request(name).function_data.ranked_functions
        functions = [r.function for r in sorted(ranked, key=lambda r: r.rank)] or [self.function(name)]
        return [kind for f in functions if (kind := f.resources.gpu_config.gpu_type)]

    def volumes(self, name: str) -> dict[str, api_pb2.VolumeGetOrCreateRequest]:
        """Mount path to the volume."""
        found = {mount.mount_path: self._objects[mount.volume_id] for mount in self.function(name).volume_mounts}
        return {path: v for path, v in found.items() if isinstance(v, api_pb2.VolumeGetOrCreateRequest)}

    def environment(self, name: str) -> dict[str, str]:
        """Variables whose values were sent with the deploy."""
        return {key: value for secret in self._secrets(name) for key, value in secret.env_dict.items()}

    def secrets(self, name: str) -> list[NamedSecret]:
        """Secrets that the platform has to know."""
        named = [secret for secret in self._secrets(name) if secret.deployment_name]
        return [NamedSecret(secret.deployment_name, tuple(secret.required_keys)) for secret in named]

    def files(self, name: str) -> dict[str, bytes]:
        """Container path to content, of all files that were sent."""
        mounts = [self._objects[mount] for mount in self.function(name).mount_ids]
        sent = [file for m in mounts if isinstance(m, api_pb2.MountGetOrCreateRequest) for file in m.files]
        return {file.filename: self._contents[file.sha256_hex] for file in sent}

    def unpack(self, name: str, root: Path) -> None:
        """Write the files that a container finds below /root to `root`."""
        for path, content in self.files(name).items():
            target = root / PurePosixPath(path).relative_to("/root")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def image(self, name: str) -> list[str]:
        """Dockerfile commands of all layers, the base first."""
        layers = self._layers(self.function(name).image_id)
        return [command for layer in layers for command in layer.dockerfile_commands]

    def image_mounts(self, name: str) -> list[str]:
        """The platform's own mounts that layers copy from, such as a Python for a foreign base."""
        layers = self._layers(self.function(name).image_id)
        mounts = [self._objects[layer.context_mount_id] for layer in layers if layer.context_mount_id]
        return [mount.deployment_name for mount in mounts if isinstance(mount, api_pb2.MountGetOrCreateRequest)]

    def layout(self) -> api_pb2.AppLayout:
        """The app's objects as containers and redeploys see them."""
        functions = [
            api_pb2.Object(object_id=i, function_handle_metadata=handle_metadata(i, self.function(name)))
            for name, i in self.published.function_ids.items()
        ]
        classes = [
            api_pb2.Object(object_id=i, class_handle_metadata=api_pb2.ClassHandleMetadata())
            for i in self.published.class_ids.values()
        ]
        dependencies = {d.object_id for name in self.published.function_ids for d in self._dependencies(name)}
        others = [api_pb2.Object(object_id=i) for i in sorted(dependencies)]
        return api_pb2.AppLayout(
            objects=[*functions, *classes, *others],
            function_ids=self.published.function_ids,
            class_ids=self.published.class_ids,
        )

    def _create_request(self, name: str) -> api_pb2.FunctionCreateRequest:
        request = self._objects[self.published.function_ids[name]]
        assert isinstance(request, api_pb2.FunctionCreateRequest)
        return request

    def _dependencies(self, name: str) -> list[api_pb2.ObjectDependency]:
        return list(self.function(name).object_dependencies)

    def _secrets(self, name: str) -> list[api_pb2.SecretGetOrCreateRequest]:
        found = [self._objects[identity] for identity in self.function(name).secret_ids]
        return [secret for secret in found if isinstance(secret, api_pb2.SecretGetOrCreateRequest)]

    def _layers(self, image_id: str) -> list[api_pb2.Image]:
        request = self._objects[image_id]
        assert isinstance(request, api_pb2.ImageGetOrCreateRequest)
        return [layer for base in request.image.base_images for layer in self._layers(base.image_id)] + [request.image]


def definition(request: api_pb2.FunctionCreateRequest) -> api_pb2.Function:
    ranked = sorted(request.function_data.ranked_functions, key=lambda r: r.rank)
    return ranked[0].function if ranked else request.function


def handle_metadata(
    identity: str, declared: api_pb2.Function | api_pb2.FunctionPrecreateRequest
) -> api_pb2.FunctionHandleMetadata:
    methods = {
        name: api_pb2.FunctionHandleMetadata(
            function_name=method.function_name,
            function_type=method.function_type,
            definition_id=identity.replace("fu-", "de-"),
            web_url=f"https://{method.webhook_config.requested_suffix or name}.invalid",
        )
        for name, method in declared.method_definitions.items()
    }
    return api_pb2.FunctionHandleMetadata(
        function_name=declared.function_name,
        function_type=declared.function_type,
        definition_id=identity.replace("fu-", "de-"),
        method_handle_metadata=methods,
    )
