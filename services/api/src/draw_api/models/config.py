"""The configuration document with its versions, differences and reference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, JsonValue

from draw_api.models.paging import Answer
from draw_shared.contracts.server_config import REFERENCE, ServerConfig

FieldKind = Literal["boolean", "integer", "text", "choice", "list"]

ACRONYMS: Final = {
    "ae": "AE", "ip": "IP", "ips": "IPs", "pdu": "PDU", "tls": "TLS", "ca": "CA", "sop": "SOP",
    "uid": "UID", "ct": "CT", "mr": "MR", "rt": "RT", "vr": "VR", "jpeg": "JPEG", "rle": "RLE",
    "gb": "(GB)", "acse": "ACSE", "dimse": "DIMSE", "seconds": "(s)",
    "days": "(days)", "bytes": "(bytes)", "percent": "(%)", "months": "(months)",
    "c_echo": "C-ECHO", "c_store": "C-STORE", "c_find": "C-FIND", "c_move": "C-MOVE",
    "c_get": "C-GET",
}  # fmt: skip
UNITS: Final = {"bytes": "(bytes)", "gb": "(GB)", "seconds": "(s)"}
"""Endings of the names of sizes and times, and how a label says it."""
SELDOM_CHANGED: Final = frozenset(
    {
        "network.max_associations_per_address",
        "network.max_associations_per_ae_title",
        "network.reserved_associations",
        "network.max_pdu_bytes",
        "network.network_timeout_seconds",
        "network.acse_timeout_seconds",
        "network.dimse_timeout_seconds",
        "network.max_connections",
        "network.max_connections_per_address",
        "network.trusted_proxies",
        "network.tls.keep_plain_port",
        "network.tls.client_ca_file",
        "network.tls.client_certificates",
        "storage.structure",
        "storage.naming",
        "storage.max_object_bytes",
        "security.accept_user_identity",
        "sop_classes.promiscuous",
        "sop_classes.further",
        "transfer_syntaxes.explicit_vr_big_endian",
        "transfer_syntaxes.further",
        "services.auto_start",
        "query_retrieve.parallel_sub_associations",
        "query_retrieve.stable_after_seconds",
        "query_retrieve.settle_time_seconds",
        "logging.connection_attempts",
        "logging.received_files",
        "logging.performance_metrics",
    }
)
SECTION_TITLES: Final = {
    "sop_classes": "SOP classes",
    "services": "DIMSE services",
    "query_retrieve": "Query/retrieve",
}


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of a document: a row of `server_config` or of `routing_documents`."""

    version: int
    document: dict[str, Any]
    created_at: datetime
    created_by: str
    comment: str


class ConfigVersion(Answer):
    """One version of the configuration document."""

    version: int = Field(examples=[7])
    created_at: datetime
    created_by: str = Field(examples=["admin"])
    comment: str
    document: ServerConfig


class ConfigChange(Answer):
    """One setting that differs between two versions; `field` is a dotted path."""

    field: str = Field(examples=["network.port"])
    before: JsonValue = Field(examples=[11112])
    after: JsonValue = Field(examples=[104])


class ConfigHistoryEntry(Answer):
    """Who changed what, and when; compared with the version before."""

    version: int = Field(examples=[7])
    created_at: datetime
    created_by: str = Field(examples=["admin"])
    comment: str
    changes: list[ConfigChange] = Field(description="empty for the first version")


class ConfigField(Answer):
    """Everything a form needs to know about one setting."""

    path: str = Field(examples=["network.port"], description="dotted path in the document")
    label: str = Field(examples=["Port"])
    help: str = Field(examples=["TCP port to listen on"])
    kind: FieldKind = Field(examples=["integer"])
    default: JsonValue = Field(examples=[11112])
    minimum: int | None = Field(default=None, examples=[1])
    maximum: int | None = Field(default=None, examples=[65535])
    choices: list[str] = Field(default=[], description="allowed values of a choice")
    max_length: int | None = Field(default=None, description="of a text")
    effect: Literal["live", "rebind"] = Field(
        description="`live`: in force for the next association; `rebind`: the port is opened again"
    )
    advanced: bool = Field(default=False, description="seldom changed: a form may fold it away")

    @property
    def unit(self) -> str:
        """The unit of a size or a time: bytes, gb, seconds; empty for other settings."""
        ending = self.path.rpartition("_")[2]
        return ending if self.kind == "integer" and ending in UNITS else ""

    @property
    def label_without_unit(self) -> str:
        """The label for values that are written with their unit."""
        return self.label.removesuffix(UNITS[self.unit]).rstrip() if self.unit else self.label


class ConfigSection(Answer):
    """One section of the document."""

    name: str = Field(examples=["network"])
    title: str = Field(examples=["Network"])
    help: str = Field(examples=["Where and how associations are accepted."])
    fields: list[ConfigField]


class ConfigReference(Answer):
    """Every setting with default, range and meaning, in the order of a form."""

    sections: list[ConfigSection]


def reference() -> ConfigReference:
    """Return the reference of this release."""
    schema = ServerConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    defaults = REFERENCE.model_dump(mode="json")
    sections = []
    for name in ServerConfig.model_fields:
        section = _resolve(schema["properties"][name], definitions)
        sections.append(
            ConfigSection(
                name=name,
                title=SECTION_TITLES.get(name, _label(name)),
                help=section.get("description", ""),
                fields=list(_fields(name, section, definitions, defaults[name])),
            )
        )
    return ConfigReference(sections=sections)


def patch_schema() -> dict[str, Any]:
    """Return the JSON schema of a merge patch: the document's, nothing required, null resets."""
    schema = ServerConfig.model_json_schema()
    return _make_patchable(schema, schema["$defs"])


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[ConfigChange]:
    """Yield each setting that differs, by its dotted path."""
    for name in after.keys() | before.keys():
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield ConfigChange(field=f"{prefix}{name}", before=old, after=new)


def document_of(model: BaseModel) -> dict[str, Any]:
    """Return a document in the form in which it is stored."""
    return model.model_dump(mode="json")


def _make_patchable(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    found = _resolve(schema, definitions)
    if "properties" not in found:
        plain = {k: v for k, v in found.items() if k not in {"default", "rebinds"}}
        return {"anyOf": [plain, {"type": "null"}]}
    properties = {k: _make_patchable(v, definitions) for k, v in found["properties"].items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _fields(
    prefix: str,
    section: Mapping[str, Any],
    definitions: Mapping[str, Any],
    defaults: Any,  # noqa: ANN401 - JSON
) -> Iterator[ConfigField]:
    for name, given in section["properties"].items():
        path = f"{prefix}.{name}"
        found = _resolve(given, definitions)
        if "properties" in found:
            yield from _fields(path, found, definitions, defaults[name])
        else:
            yield _field(path, name, found, defaults[name])


def _field(path: str, name: str, schema: Mapping[str, Any], default: JsonValue) -> ConfigField:
    kind = {"boolean": "boolean", "integer": "integer", "array": "list"}.get(schema["type"], "text")
    return ConfigField(
        path=path,
        label=("TLS: " if ".tls." in path else "") + _label(name),
        help=schema.get("description", ""),
        kind="choice" if "enum" in schema else kind,
        default=default,
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        choices=schema.get("enum", []),
        max_length=schema.get("maxLength"),
        effect="rebind" if schema.get("rebinds") else "live",
        advanced=path in SELDOM_CHANGED,
    )


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its references resolved; what stands beside a reference wins."""
    reference = schema.get("$ref")
    if reference is None:
        return dict(schema)
    target = definitions[reference.rpartition("/")[2]]
    return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}


def _label(name: str) -> str:
    words = [name] if name in ACRONYMS else name.split("_")
    text = " ".join(ACRONYMS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]
