"""CloudFormation as AWS does it, in place of moto's: asynchronous, with events, rollback and change sets.

In: the calls of the API. Out: moto's resources, made by moto's models one after the other.
An operation goes one step further each time somebody asks for the stack or its events, so tests
are deterministic and see each state; the lever `settle` lets all operations end.
Resource types, their properties and what of these cannot change in place come from the registry's
schemas that cfn-lint carries. Sources: CloudFormation API Reference and User Guide ("Stack status
codes", "Stack failure options", "Update behaviors of stack resources", "Deletion policy").
"""

import contextlib
import copy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cfnlint.schema import ResourceNotFoundError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from moto.cloudformation import models, parsing
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.exceptions import ServiceException
from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.core import TaggedEC2Resource

PAGE = 100
"""Events in one answer of DescribeStackEvents."""
NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)
STABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
NEEDS_IAM = ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::InstanceProfile")
# A name may carry a path into an attribute: Outputs.X of nested stacks is not needed here.
SUBSTITUTION = re.compile(r"\$\{([^!}.]+)(?:\.[^}]+)?\}")


class Refused(ServiceException):
    """An answer with HTTP status 400."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class FailedError(Exception):
    """A resource could not be made, changed or removed; the text is the event's reason."""


def invalid(message: str) -> Refused:
    return Refused("ValidationError", message)


@dataclass
class Resource:
    """One resource of a stack. `made` is moto's object, `properties` what it was last given."""

    logical: str
    type: str
    made: Any
    properties: dict[str, Any]
    definition: dict[str, Any]
    status: str = "CREATE_COMPLETE"
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def physical(self) -> str:
        return str(self.made.physical_resource_id)


@dataclass
class ChangeSet:
    id: str
    name: str
    type: str
    body: str
    tags: dict[str, str]
    on_failure: str
    status: str = "CREATE_PENDING"
    execution: str = "UNAVAILABLE"
    reason: str | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Stack:
    id: str
    name: str
    account: str
    region: str
    status: str = "REVIEW_IN_PROGRESS"
    reason: str | None = None
    body: str = "{}"
    tags: dict[str, str] = field(default_factory=dict)
    protected: bool = False
    token: str | None = None
    """What the call that began the newest operation gave: all its events have it."""
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    operation: Iterator[None] | None = None
    undo: list[tuple[str, Resource | None]] = field(default_factory=list)
    previous: tuple[str, dict[str, str]] = ("{}", {})
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime | None = None
    deleted: datetime | None = None

    @property
    def definitions(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body).get("Resources", {})
        return found


_stacks: list[Stack] = []
_broken: list[dict[str, Any]] = []
_lock = threading.RLock()


def install() -> None:
    # moto's answers are objects that are put into form there; ours have the API's form already.
    CloudFormationResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER = {}
    for name, action in ACTIONS.items():
        setattr(CloudFormationResponse, name, _answering(action))
    models.CloudFormationBackend.iter_tagged_resources = _tagged


def reset() -> None:
    _stacks.clear()
    _broken.clear()


def settle() -> None:
    """Let every operation end, as AWS does whether or not anybody looks."""
    with _lock:
        for stack in _stacks:
            while stack.operation:
                _advance(stack)


def break_resource(resource: str, action: str, reason: str, times: int = 1_000_000) -> None:
    """From now on, `action` (CREATE, UPDATE or DELETE) of this logical name fails with this reason."""
    _broken.append({"resource": resource, "action": action, "reason": reason, "times": times})


def mend() -> None:
    _broken.clear()


def _answering(action: Callable[[CloudFormationResponse], Any]) -> Callable[[CloudFormationResponse], Any]:
    def answer(self: CloudFormationResponse) -> Any:
        with _lock:
            answered = action(self)
        return EmptyResult() if answered is None else ActionResult(answered)

    return answer


def _tagged(backend: Any) -> Iterator[TaggedResource]:
    for stack in _stacks:
        if stack.region == backend.region_name and not stack.deleted:
            yield TaggedResource(arn=stack.id, tags=stack.tags, resource_type="cloudformation:stack")


# What a template says.


def dependencies(node: Any) -> set[str]:
    """The names that a part of a template refers to."""
    if isinstance(node, list):
        return {name for one in node for name in dependencies(one)}
    if not isinstance(node, dict):
        return set()
    found: set[str] = set()
    for key, value in node.items():
        if key == "Ref":
            found.add(value)
        elif key == "Fn::GetAtt":
            found.add(value[0] if isinstance(value, list) else value.split(".")[0])
        elif key == "Fn::Sub":
            text, local = value if isinstance(value, list) else (value, {})
            found |= {name for name in SUBSTITUTION.findall(text) if name not in local} | dependencies(local)
        elif key == "DependsOn":
            found |= {value} if isinstance(value, str) else set(value)
        else:
            found |= dependencies(value)
    return {name for name in found if not name.startswith("AWS::")}


def ordered(definitions: Mapping[str, Any]) -> list[str]:
    """Every name after those that it depends on."""
    order: list[str] = []
    left = dict.fromkeys(definitions)
    while left:
        ready = [name for name in left if not dependencies(definitions[name]) & set(left)]
        if not ready:
            raise invalid(f"Circular dependency between resources: [{', '.join(left)}]")
        order += ready
        for name in ready:
            del left[name]
    return order


def schema(region: str, type_: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(region, type_).schema
    return found


def check_template(body: str | None, region: str, capabilities: list[str]) -> None:
    """What AWS refuses before anything is made."""
    if not body:
        raise invalid("Either Template URL or Template Body must be specified.")
    if len(body.encode()) > 51_200:
        raise invalid(
            "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: "
            "Member must have length less than or equal to 51200"
        )
    try:
        template = json.loads(body)
    except ValueError:
        raise invalid("Template format error: JSON not well-formed.") from None
    definitions = template.get("Resources")
    if not definitions:
        raise invalid("Template format error: At least one Resources member must be defined.")
    if len(definitions) > 500:
        raise invalid(
            f"Template format error: Number of resources, {len(definitions)}, "
            "is greater than maximum allowed, 500"
        )
    unknown = []
    for definition in definitions.values():
        try:
            schema(region, definition["Type"])
        except ResourceNotFoundError:
            unknown.append(definition["Type"])
    if unknown:
        raise invalid(f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]")
    missing = sorted(dependencies(definitions) - set(definitions) - set(template.get("Parameters", {})))
    if missing:
        raise invalid(
            f"Template format error: Unresolved resource dependencies [{', '.join(missing)}] "
            "in the Resources block of the template"
        )
    ordered(definitions)
    if any(one["Type"] in NEEDS_IAM for one in definitions.values()):
        named = any("RoleName" in one.get("Properties", {}) for one in definitions.values())
        needed = "CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM"
        if not {needed, "CAPABILITY_NAMED_IAM"} & set(capabilities):
            raise Refused("InsufficientCapabilitiesException", f"Requires capabilities : [{needed}]")


# What an operation does, step by step.


class Operation:
    """One stack as it is made into what a template says."""

    def __init__(self, stack: Stack, body: str, tags: dict[str, str]) -> None:
        self.stack, self.body, self.tags = stack, body, tags
        self.template = json.loads(body)
        self.definitions: dict[str, Any] = self.template.get("Resources", {})
        self.map = parsing.ResourceMap(
            stack.id, stack.name, {}, {}, stack.region, stack.account, copy.deepcopy(self.template), {}
        )
        self.map.load()
        for name, resource in stack.resources.items():
            self.map._parsed_resources[name] = resource.made

    def event(
        self, status: str, resource: Resource | None = None, reason: str | None = None, **more: str
    ) -> None:
        stack = self.stack
        if resource is None and not more:
            stack.status, stack.reason = status, reason
            more = {"logical": stack.name, "physical": stack.id, "type": "AWS::CloudFormation::Stack"}
        elif resource:
            resource.status, resource.updated = status, datetime.now(UTC)
            more = {"logical": resource.logical, "physical": resource.physical, "type": resource.type}
        stack.events.append(
            {
                "StackId": stack.id,
                "StackName": stack.name,
                "EventId": str(uuid.uuid4()),
                "LogicalResourceId": more["logical"],
                "PhysicalResourceId": more.get("physical", ""),
                "ResourceType": more["type"],
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "Timestamp": datetime.now(UTC),
                **({"ClientRequestToken": stack.token} if stack.token else {}),
            }
        )

    def resolved(self, name: str) -> dict[str, Any]:
        """The properties with every reference replaced; stack tags are added where the type has tags."""
        definition = self.definitions[name]
        properties: dict[str, Any] = parsing.clean_json(
            copy.deepcopy(definition.get("Properties", {})), self.map
        )
        known = schema(self.stack.region, definition["Type"])
        for key in properties:
            if key not in known["properties"]:
                raise FailedError(
                    f"Properties validation failed for resource {name} with message:\n"
                    f"#: extraneous key [{key}] is not permitted"
                )
        for key in known.get("required", ()):
            if key not in properties:
                raise FailedError(
                    f"Properties validation failed for resource {name} with message:\n"
                    f"#: required key [{key}] not found"
                )
        return properties

    def fail_if_broken(self, name: str, action: str) -> None:
        for one in _broken:
            if one["resource"] == name and one["action"] == action and one["times"] > 0:
                one["times"] -= 1
                raise FailedError(one["reason"])

    def make(self, name: str) -> Iterator[None]:
        type_ = self.definitions[name]["Type"]
        self.event("CREATE_IN_PROGRESS", logical=name, type=type_)
        yield
        try:
            self.fail_if_broken(name, "CREATE")
            properties = self.resolved(name)
            definition = {**copy.deepcopy(self.definitions[name]), "Properties": properties}
            made: Any = parsing.parse_and_create_resource(
                name, definition, self.map, self.stack.account, self.stack.region
            )
            if made is None:
                raise FailedError(f"the emulator has no {type_}")
        except Exception as error:
            reason = _reason(error)
            self.event("CREATE_FAILED", logical=name, type=type_, reason=reason)
            raise FailedError(name) from error
        self.map._parsed_resources[name] = made
        resource = Resource(name, type_, made, properties, copy.deepcopy(self.definitions[name]))
        self.stack.resources[name] = resource
        self._tag(resource)
        self.event("CREATE_IN_PROGRESS", resource, "Resource creation Initiated")
        yield
        self.event("CREATE_COMPLETE", resource)
        yield

    def _tag(self, resource: Resource) -> None:
        if isinstance(resource.made, TaggedEC2Resource):
            ours = {
                "aws:cloudformation:stack-name": self.stack.name,
                "aws:cloudformation:stack-id": self.stack.id,
                "aws:cloudformation:logical-id": resource.logical,
            }
            backend = ec2_backends[self.stack.account][self.stack.region]
            backend.create_tags([resource.physical], {**self.tags, **ours})

    def change(self, name: str, properties: dict[str, Any]) -> Iterator[None]:
        """Change one resource in place. Raises FailedError with its name."""
        resource = self.stack.resources[name]
        self.event("UPDATE_IN_PROGRESS", resource)
        yield
        before = resource.properties
        try:
            self.fail_if_broken(name, "UPDATE")
            self._change(resource, properties)
            yield from _settling(resource, self.definitions[name], before)
        except Exception as error:
            self.event("UPDATE_FAILED", resource, _reason(error))
            raise FailedError(name) from error
        self.event("UPDATE_COMPLETE", resource)
        yield

    def _change(self, resource: Resource, properties: dict[str, Any]) -> None:
        model = parsing.resource_class_from_type(resource.type)
        update = model.update_from_cloudformation_json
        if hasattr(update, "__isabstractmethod__"):
            raise FailedError(f"the emulator cannot change {resource.type} in place")
        made = update(
            original_resource=resource.made,
            new_resource_name=resource.physical,
            cloudformation_json={"Type": resource.type, "Properties": copy.deepcopy(properties)},
            account_id=self.stack.account,
            region_name=self.stack.region,
        )
        made.cf_resource_type, made.logical_resource_id = resource.type, resource.logical
        resource.made, resource.properties = made, properties
        self.map._parsed_resources[resource.logical] = made

    def remove(self, resource: Resource) -> Iterator[None]:
        """Remove one resource, or leave it where its policy says so. Raises FailedError with its name."""
        if resource.definition.get("DeletionPolicy") == "Retain":
            self.event("DELETE_SKIPPED", resource)
            return
        self.event("DELETE_IN_PROGRESS", resource)
        yield
        try:
            self.fail_if_broken(resource.logical, "DELETE")
            self.map._delete_resource(
                resource.made, {"Type": resource.type, "Properties": resource.properties}
            )
        except Exception as error:
            self.event("DELETE_FAILED", resource, _reason(error))
            raise FailedError(resource.logical) from error
        self.event("DELETE_COMPLETE", resource)
        yield

    def remove_all(self) -> Iterator[None]:
        """Remove every resource, what refers to others first. Raises FailedError with the names that stay."""
        failed: list[str] = []
        there = {name: one.definition for name, one in self.stack.resources.items()}
        for name in reversed(ordered(there)):
            held = any(
                name in dependencies(self.stack.resources[other].definition)
                for other in failed
                if other in self.stack.resources
            )
            if held:
                continue
            try:
                yield from self.remove(self.stack.resources[name])
            except FailedError as error:
                failed.append(str(error))
            else:
                del self.stack.resources[name]
        if failed:
            raise FailedError(", ".join(failed))


def _reason(error: Exception) -> str:
    """The text of an event: an API's error is wrapped as resource handlers do."""
    if isinstance(error, ServiceException):
        return f'Resource handler returned message: "{error.message}" (HandlerErrorCode: InvalidRequest)'
    return str(error) or repr(error)


def _settling(resource: Resource, definition: dict[str, Any], before: dict[str, Any]) -> Iterator[None]:
    """What the resource does after a change until it is stable: a group refreshes its instances."""
    stabilize = getattr(resource.made, "stabilize_after_update", None)
    if stabilize:
        yield from stabilize(definition.get("UpdatePolicy") or {}, before, resource.properties)


def creating(stack: Stack, body: str, tags: dict[str, str], on_failure: str) -> Iterator[None]:
    operation = Operation(stack, body, tags)
    stack.body, stack.tags = body, tags
    operation.event("CREATE_IN_PROGRESS", reason="User Initiated")
    yield
    names = ordered(operation.definitions)
    for index, name in enumerate(names):
        try:
            yield from operation.make(name)
        except FailedError:
            failed = [name]
            # What AWS makes at the same time is cancelled, after the true cause.
            others = [
                other
                for other in names[index + 1 :]
                if dependencies(operation.definitions[other]) <= set(stack.resources)
            ]
            for other in others[:2]:
                type_ = operation.definitions[other]["Type"]
                operation.event("CREATE_IN_PROGRESS", logical=other, type=type_)
                operation.event(
                    "CREATE_FAILED", logical=other, type=type_, reason="Resource creation cancelled"
                )
                failed.append(other)
            text = f"The following resource(s) failed to create: [{', '.join(failed)}]."
            if on_failure == "DO_NOTHING":
                operation.event("CREATE_FAILED", reason=text)
            elif on_failure == "DELETE":
                yield from deleting(stack, f"{text} Delete requested by user.")
            else:
                yield from rolling_back(operation, f"{text} Rollback requested by user.")
            return
    stack.outputs = _outputs(operation)
    operation.event("CREATE_COMPLETE")


def rolling_back(operation: Operation, reason: str) -> Iterator[None]:
    operation.event("ROLLBACK_IN_PROGRESS", reason=reason)
    yield
    try:
        yield from operation.remove_all()
    except FailedError as error:
        operation.event("ROLLBACK_FAILED", reason=f"The following resource(s) failed to delete: [{error}].")
    else:
        operation.event("ROLLBACK_COMPLETE")


def deleting(stack: Stack, reason: str = "User Initiated", retain: tuple[str, ...] = ()) -> Iterator[None]:
    operation = Operation(stack, stack.body, stack.tags)
    operation.event("DELETE_IN_PROGRESS", reason=reason)
    yield
    for name in retain:
        if name in stack.resources:
            operation.event("DELETE_SKIPPED", stack.resources.pop(name))
    try:
        yield from operation.remove_all()
    except FailedError as error:
        operation.event("DELETE_FAILED", reason=f"The following resource(s) failed to delete: [{error}].")
        return
    operation.event("DELETE_COMPLETE")
    stack.deleted = datetime.now(UTC)


def differing(operation: Operation) -> tuple[list[str], list[str]]:
    """Names that a template adds and removes."""
    old, new = operation.stack.resources, operation.definitions
    return [name for name in new if name not in old], [name for name in old if name not in new]


def is_replaced(operation: Operation, name: str, properties: Mapping[str, Any]) -> bool:
    """Whether what differs can only be set when a resource is made."""
    resource = operation.stack.resources[name]
    known = schema(operation.stack.region, resource.type)
    fixed = {path.split("/")[2] for path in known.get("createOnlyProperties", ())}
    differ = {
        key
        for key in {*properties, *resource.properties}
        if properties.get(key) != resource.properties.get(key)
    }
    return bool(fixed & differ) or resource.type != operation.definitions[name]["Type"]


def updating(stack: Stack, body: str, tags: dict[str, str]) -> Iterator[None]:
    stack.previous = stack.body, stack.tags
    stack.undo = []
    operation = Operation(stack, body, tags)
    stack.body, stack.tags = body, tags
    stack.updated = datetime.now(UTC)
    operation.event("UPDATE_IN_PROGRESS", reason="User Initiated")
    yield
    replaced: list[Resource] = []
    try:
        for name in ordered(operation.definitions):
            old = stack.resources.get(name)
            if old is None:
                stack.undo.append((name, None))
                yield from operation.make(name)
                continue
            try:
                properties = operation.resolved(name)
            except FailedError as error:
                operation.event("UPDATE_FAILED", old, str(error))
                raise FailedError(name) from error
            if is_replaced(operation, name, properties):
                stack.undo.append((name, old))
                reason = (
                    "Requested update requires the creation of a new physical resource; hence creating one."
                )
                operation.event("UPDATE_IN_PROGRESS", old, reason)
                del stack.resources[name]
                yield from operation.make(name)
                replaced.append(old)
            elif properties != old.properties:
                stack.undo.append((name, copy.copy(old)))
                yield from operation.change(name, properties)
            old.definition = copy.deepcopy(operation.definitions[name])
    except FailedError as error:
        text = f"The following resource(s) failed to update: [{error}]."
        if str(error) not in stack.resources:
            text = f"The following resource(s) failed to create: [{error}]."
        yield from undoing(stack, text)
        return
    operation.event("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    yield
    gone = [stack.resources.pop(name) for name in differing(operation)[1]]
    for resource in [*replaced, *reversed(gone)]:
        # AWS forgets what it cannot clean up, after three tries.
        with contextlib.suppress(FailedError):
            yield from operation.remove(resource)
    stack.outputs = _outputs(operation)
    operation.event("UPDATE_COMPLETE")


def undoing(stack: Stack, reason: str, skip: tuple[str, ...] = ()) -> Iterator[None]:
    """Bring back what stood before a failed update; a resource that cannot go back stops it."""
    body, tags = stack.previous
    operation = Operation(stack, body, tags)
    operation.event("UPDATE_ROLLBACK_IN_PROGRESS", reason=reason)
    yield
    new: list[Resource] = []
    # As in any update, what others refer to comes first: they follow it.
    while stack.undo:
        name, old = stack.undo[0]
        if name in skip:
            pass
        elif old is None:
            if name in stack.resources:
                new.append(stack.resources.pop(name))
        elif name not in stack.resources or stack.resources[name].physical != old.physical:
            if name in stack.resources:
                new.append(stack.resources.pop(name))
            stack.resources[name] = old
            operation.map._parsed_resources[name] = old.made
            operation.event("UPDATE_COMPLETE", old)
        else:
            try:
                # Versions that came to be since are others than before: the references are resolved anew.
                yield from operation.change(name, operation.resolved(name))
            except FailedError:
                text = f"The following resource(s) failed to update: [{name}]."
                operation.event("UPDATE_ROLLBACK_FAILED", reason=text)
                return
        stack.undo.pop(0)
    operation.event("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    yield
    for resource in reversed(new):
        with contextlib.suppress(FailedError):
            yield from operation.remove(resource)
    stack.body, stack.tags = body, tags
    operation.event("UPDATE_ROLLBACK_COMPLETE")


def _outputs(operation: Operation) -> list[dict[str, str]]:
    return [
        {
            "OutputKey": key,
            "OutputValue": str(parsing.clean_json(copy.deepcopy(output["Value"]), operation.map)),
            **({"Description": output["Description"]} if "Description" in output else {}),
        }
        for key, output in operation.template.get("Outputs", {}).items()
    ]


def _advance(stack: Stack) -> None:
    if stack.operation:
        try:
            next(stack.operation)
        except StopIteration:
            stack.operation = None


# The API's actions.


def _find(self: CloudFormationResponse, *, by: str | None = None, advance: bool = False) -> Stack:
    name = by or self._get_param("StackName")
    for stack in _stacks:
        if stack.region != self.region:
            continue
        if stack.id == name or (stack.name == name and not stack.deleted):
            if advance:
                _advance(stack)
            return stack
    raise invalid(f"Stack with id {name} does not exist")


def _exists(self: CloudFormationResponse) -> Stack | None:
    try:
        return _find(self)
    except Refused:
        return None


def _new(self: CloudFormationResponse) -> Stack:
    name = self._get_param("StackName")
    if not re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,127}", name):
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
        )
    arn = f"arn:aws:cloudformation:{self.region}:{self.current_account}:stack/{name}/{uuid.uuid4()}"
    stack = Stack(arn, name, self.current_account, self.region)
    _stacks.append(stack)
    return stack


def _tags(self: CloudFormationResponse) -> dict[str, str]:
    return {one["Key"]: one["Value"] for one in self._get_param("Tags", [])}


def _body(self: CloudFormationResponse) -> str:
    body: str = self._get_param("TemplateBody")
    check_template(body, self.region, self._get_param("Capabilities", []))
    return body


def create_stack(self: CloudFormationResponse) -> Any:
    body = _body(self)
    if found := _exists(self):
        raise Refused("AlreadyExistsException", f"Stack [{found.name}] already exists")
    on_failure = self._get_param("OnFailure") or (
        "DO_NOTHING" if self._get_bool_param("DisableRollback", False) else "ROLLBACK"
    )
    stack = _new(self)
    stack.protected = self._get_bool_param("EnableTerminationProtection", False)
    _begin(self, stack, creating(stack, body, _tags(self), on_failure))
    return {"StackId": stack.id}


def _updatable(stack: Stack) -> None:
    if stack.status not in STABLE:
        raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")


def _has_changes(stack: Stack, body: str, tags: dict[str, str]) -> bool:
    """What a template says of itself as a whole cannot change alone."""
    new, old = json.loads(body), json.loads(stack.body)
    parts = ("Resources", "Outputs", "Parameters", "Conditions", "Mappings")
    return any(new.get(part) != old.get(part) for part in parts) or tags != stack.tags


def _begin(self: CloudFormationResponse, stack: Stack, operation: Iterator[None]) -> None:
    stack.token, stack.operation = self._get_param("ClientRequestToken"), operation
    _advance(stack)


def update_stack(self: CloudFormationResponse) -> Any:
    body = _body(self)
    stack = _find(self)
    _updatable(stack)
    if not _has_changes(stack, body, _tags(self)):
        raise invalid("No updates are to be performed.")
    _begin(self, stack, updating(stack, body, _tags(self)))
    return {"StackId": stack.id}


def create_change_set(self: CloudFormationResponse) -> Any:
    body, name = _body(self), self._get_param("ChangeSetName")
    type_ = self._get_param("ChangeSetType") or "UPDATE"
    stack = _exists(self)
    if type_ == "UPDATE":
        if stack is None:
            raise invalid(f"Stack [{self._get_param('StackName')}] does not exist")
        _updatable(stack)
    elif stack is None:
        stack = _new(self)
        Operation(stack, "{}", {}).event("REVIEW_IN_PROGRESS", reason="User Initiated")
    elif stack.status != "REVIEW_IN_PROGRESS":
        raise invalid(
            f"Stack [{stack.name}] already exists and cannot be created again with the changeSet [{name}]."
        )
    if any(one.name == name for one in stack.change_sets.values()):
        raise Refused("AlreadyExistsException", f"ChangeSet {name} already exists")
    arn = f"arn:aws:cloudformation:{self.region}:{self.current_account}:changeSet/{name}/{uuid.uuid4()}"
    on_failure = self._get_param("OnStackFailure") or "ROLLBACK"
    if on_failure == "DELETE" and type_ != "CREATE":
        raise invalid("OnStackFailure DELETE is only supported for ChangeSetType CREATE")
    stack.change_sets[arn] = ChangeSet(arn, name, type_, body, _tags(self), on_failure)
    return {"Id": arn, "StackId": stack.id}


def _change_set(self: CloudFormationResponse) -> tuple[Stack, ChangeSet]:
    name, stack_name = self._get_param("ChangeSetName"), self._get_param("StackName")
    for stack in _stacks:
        if stack.region != self.region or (stack_name and stack_name not in (stack.name, stack.id)):
            continue
        for one in stack.change_sets.values():
            if name == one.id or (name == one.name and stack_name):
                return stack, one
    raise Refused("ChangeSetNotFound", f"ChangeSet [{name}] does not exist")


def _prepare(stack: Stack, change_set: ChangeSet) -> None:
    """One step of a change set: pending, in progress, complete or failed."""
    if change_set.status == "CREATE_PENDING":
        change_set.status = "CREATE_IN_PROGRESS"
    elif change_set.status == "CREATE_IN_PROGRESS":
        if change_set.type == "UPDATE" and not _has_changes(stack, change_set.body, change_set.tags):
            change_set.status, change_set.reason = "FAILED", NO_CHANGES
        else:
            change_set.status, change_set.execution = "CREATE_COMPLETE", "AVAILABLE"
            change_set.changes = _changes(stack, change_set)


class Unmade:
    """Stands for a resource that a change set would add: moto's map would make it when it is referred to."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = f"unmade-{name}"

    def get_cfn_attribute(self, name: str) -> str:
        return f"{self.physical_resource_id}.{name}"


def _changes(stack: Stack, change_set: ChangeSet) -> list[dict[str, Any]]:
    operation = Operation(stack, change_set.body, change_set.tags)
    added, removed = differing(operation)
    for name in added:
        operation.map._parsed_resources[name] = Unmade(name)
    changes = [("Add", name, operation.definitions[name]["Type"], "", "") for name in added]
    changed: set[str] = set()
    for name in ordered(operation.definitions):
        definition, old = operation.definitions[name], stack.resources.get(name)
        if old is None:
            continue
        # A reference to what changes may change as well: AWS says so before it knows.
        refers = dependencies(definition.get("Properties")) & changed
        new = definition.get("Properties")
        said = definition.get("Metadata") != old.definition.get("Metadata")
        if new != old.definition.get("Properties") or said or refers or change_set.tags != stack.tags:
            properties = old.properties
            with contextlib.suppress(FailedError):
                properties = operation.resolved(name)
            replaced = is_replaced(operation, name, properties)
            changed.add(name)
            changes.append(("Modify", name, old.type, old.physical, "True" if replaced else "False"))
    for name in removed:
        old = stack.resources[name]
        changes.append(("Remove", name, old.type, old.physical, ""))
    return [
        {
            "Type": "Resource",
            "ResourceChange": {
                "Action": action,
                "LogicalResourceId": name,
                "ResourceType": type_,
                **({"PhysicalResourceId": physical} if physical else {}),
                **({"Replacement": replacement} if replacement else {}),
            },
        }
        for action, name, type_, physical, replacement in changes
    ]


def _described(stack: Stack, one: ChangeSet) -> dict[str, Any]:
    return {
        "ChangeSetName": one.name,
        "ChangeSetId": one.id,
        "StackId": stack.id,
        "StackName": stack.name,
        "Status": one.status,
        "StatusReason": one.reason,
        "ExecutionStatus": one.execution,
        "CreationTime": stack.created,
        "Tags": [{"Key": key, "Value": value} for key, value in one.tags.items()],
    }


def describe_change_set(self: CloudFormationResponse) -> Any:
    stack, one = _change_set(self)
    _prepare(stack, one)
    return {**_described(stack, one), "Changes": one.changes}


def list_change_sets(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    return {"Summaries": [_described(stack, one) for one in stack.change_sets.values()]}


def delete_change_set(self: CloudFormationResponse) -> Any:
    try:
        stack, one = _change_set(self)
    except Refused:
        if self._get_param("StackName"):
            _find(self)
        return {}
    del stack.change_sets[one.id]
    return {}


def execute_change_set(self: CloudFormationResponse) -> Any:
    stack, one = _change_set(self)
    if one.execution != "AVAILABLE":
        raise Refused(
            "InvalidChangeSetStatus",
            f"ChangeSet [{one.id}] cannot be executed in its current status of [{one.status}]",
        )
    if one.type == "UPDATE":
        _updatable(stack)
        operation = updating(stack, one.body, one.tags)
    else:
        operation = creating(stack, one.body, one.tags, one.on_failure)
    # AWS forgets all change sets of a stack when one is executed.
    stack.change_sets = {}
    _begin(self, stack, operation)


def describe_stacks(self: CloudFormationResponse) -> Any:
    if self._get_param("StackName"):
        found = [_find(self, advance=True)]
    else:
        found = [one for one in _stacks if one.region == self.region and not one.deleted]
    start = int(self._get_param("NextToken") or 0)
    return {
        "Stacks": [
            {
                "StackId": stack.id,
                "StackName": stack.name,
                "CreationTime": stack.created,
                "LastUpdatedTime": stack.updated,
                "DeletionTime": stack.deleted,
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason,
                "Outputs": stack.outputs,
                "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
                "EnableTerminationProtection": stack.protected,
                "DisableRollback": False,
                "Capabilities": [],
            }
            for stack in found[start : start + PAGE]
        ],
        "NextToken": str(start + PAGE) if len(found) > start + PAGE else None,
    }


def list_stacks(self: CloudFormationResponse) -> Any:
    wanted = self._get_param("StackStatusFilter", [])
    return {
        "StackSummaries": [
            {
                "StackId": stack.id,
                "StackName": stack.name,
                "CreationTime": stack.created,
                "DeletionTime": stack.deleted,
                "StackStatus": stack.status,
            }
            for stack in _stacks
            if stack.region == self.region and (not wanted or stack.status in wanted)
        ]
    }


def describe_stack_events(self: CloudFormationResponse) -> Any:
    stack = _find(self, advance=True)
    # Newest first; the token names an event, so that pages stay whole while new ones come.
    token = self._get_param("NextToken")
    end = int(token) if token else len(stack.events)
    start = max(0, end - PAGE)
    return {"StackEvents": stack.events[start:end][::-1], "NextToken": str(start) if start else None}


def _listed(stack: Stack, resource: Resource) -> dict[str, Any]:
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical,
        "ResourceType": resource.type,
        "ResourceStatus": resource.status,
        "Timestamp": resource.updated,
        "LastUpdatedTimestamp": resource.updated,
    }


def list_stack_resources(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    return {"StackResourceSummaries": [_listed(stack, one) for one in stack.resources.values()]}


def describe_stack_resources(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    wanted = self._get_param("LogicalResourceId")
    return {
        "StackResources": [
            _listed(stack, one) for name, one in stack.resources.items() if wanted in (None, name)
        ]
    }


def describe_stack_resource(self: CloudFormationResponse) -> Any:
    stack, name = _find(self), self._get_param("LogicalResourceId")
    if name not in stack.resources:
        raise invalid(f"Resource {name} does not exist for stack {stack.name}")
    return {"StackResourceDetail": _listed(stack, stack.resources[name])}


def get_template(self: CloudFormationResponse) -> Any:
    if name := self._get_param("ChangeSetName"):
        return {"TemplateBody": _change_set(self)[1].body, "StagesAvailable": ["Original"], "_": name}
    return {"TemplateBody": _find(self).body, "StagesAvailable": ["Original", "Processed"]}


def get_template_summary(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    if stack.status == "REVIEW_IN_PROGRESS":
        raise invalid("GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks.")
    return {"ResourceTypes": sorted({one["Type"] for one in stack.definitions.values()})}


def update_termination_protection(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    stack.protected = self._get_bool_param("EnableTerminationProtection", False)
    return {"StackId": stack.id}


def delete_stack(self: CloudFormationResponse) -> Any:
    stack = _exists(self)
    if stack is None or stack.deleted or stack.status == "DELETE_IN_PROGRESS":
        return
    if stack.protected:
        raise invalid(f"Stack [{stack.id}] cannot be deleted while TerminationProtection is enabled")
    if stack.status.startswith("UPDATE") and stack.status.endswith("IN_PROGRESS"):
        raise invalid(f"Stack [{stack.name}] cannot be deleted while in status {stack.status}")
    retain = tuple(self._get_param("RetainResources", []))
    if retain and stack.status != "DELETE_FAILED":
        raise invalid("RetainResources can only be given for stacks in the DELETE_FAILED state")
    stack.change_sets = {}
    _begin(self, stack, deleting(stack, retain=retain))


def continue_update_rollback(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    if stack.status != "UPDATE_ROLLBACK_FAILED":
        raise invalid(f"Stack:{stack.id} is in {stack.status} state and can not continue update rollback.")
    stack.operation = undoing(stack, "User Initiated", tuple(self._get_param("ResourcesToSkip", [])))
    _advance(stack)
    return {}


def cancel_update_stack(self: CloudFormationResponse) -> Any:
    stack = _find(self)
    if stack.status != "UPDATE_IN_PROGRESS":
        raise invalid("CancelUpdateStack cannot be called from current stack status")
    for resource in stack.resources.values():
        if resource.status == "UPDATE_IN_PROGRESS":
            if hasattr(resource.made, "cancel_update"):
                resource.made.cancel_update()
            Operation(stack, stack.body, stack.tags).event(
                "UPDATE_FAILED", resource, "Resource update cancelled"
            )
    stack.operation = undoing(stack, "User Initiated")
    _advance(stack)


ACTIONS: Mapping[str, Callable[[CloudFormationResponse], Any]] = {
    action.__name__: action
    for action in (
        cancel_update_stack,
        continue_update_rollback,
        create_change_set,
        create_stack,
        delete_change_set,
        delete_stack,
        describe_change_set,
        describe_stack_events,
        describe_stack_resource,
        describe_stack_resources,
        describe_stacks,
        execute_change_set,
        get_template,
        get_template_summary,
        list_change_sets,
        list_stack_resources,
        list_stacks,
        update_stack,
        update_termination_protection,
    )
}
