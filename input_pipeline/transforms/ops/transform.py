"""What all transforms share: sections of view fields, and changes of fields."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax

import field_types
from input_pipeline import field_checks

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformBase(abc.ABC):
    """A transform of the records of a batch to views, the input of a network.

    A transform is a frozen dataclass; its fields are the fields of `config.transform`.
    A field that is named after a view holds that view's fields, as an instance of
    `view_class` or as a mapping, which is converted.

    Attributes:
        view_class: Dataclass of a view's fields.
        view_names: Names that `view` accepts.
        baselines: Name of each baseline that suits these views -> its fields.
        gallery_view: View in which records are searched; "" for records as they are.
        preview_titles: Title of each column of `preview`.
    """

    view_class: ClassVar[type] = object
    view_names: ClassVar[tuple[str, ...]] = ("view1", "view2")
    baselines: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    gallery_view: ClassVar[str] = ""
    preview_titles: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name in self._sections():
            value = getattr(self, name)
            if not isinstance(value, self.view_class):
                value = _view(self.view_class, value, name)
            field_types.check_ranges(self.view_class, vars(value), name)
            object.__setattr__(self, name, value)
        field_types.check_ranges(type(self), vars(self), "")

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one view, without the batch."""

    @abc.abstractmethod
    def augment(self, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with its training views, "view1", "view2", ..."""

    @abc.abstractmethod
    def center(self, batch: Batch) -> Batch:
        """Return the batch with `image`, the unaltered records as network input."""

    @abc.abstractmethod
    def view(self, name: str, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with the view `name` as `image`."""

    @abc.abstractmethod
    def images(self, batch: Batch, seen: jax.Array | None) -> jax.Array:
        """Return the network input `seen`, or the records if None, for display."""

    @abc.abstractmethod
    def preview(self, rng: jax.Array, batch: Batch) -> list[jax.Array]:
        """Return the columns of a preview, images [n, h, w, c] each."""

    def facts(self) -> dict[str, Any]:
        """Return JSON values for the report that hold for every draw of the views."""
        return {}

    def changed(self, view: str | None, **changes: Any) -> "TransformBase":
        """Return the transform with some fields changed.

        Args:
            view: View whose own fields are changed where it has them; None for none.
            **changes: New values by name.

        Raises:
            ValueError: There is no such field.
        """
        section = getattr(self, view) if view in self._sections() else None
        inner = field_checks.field_names(self.view_class) if section else []
        outer = field_checks.field_names(type(self))
        for name in changes:
            if name not in (*inner, *outer):
                choices = ", ".join(sorted({*inner, *outer}))
                raise ValueError(f"got a change of {name!r}; choices: {choices}")
        of_view = {name: value for name, value in changes.items() if name in inner}
        of_all = {name: value for name, value in changes.items() if name not in inner}
        if of_view:
            of_all[view] = dataclasses.replace(section, **of_view)
        return dataclasses.replace(self, **of_all)

    def _sections(self) -> list[str]:
        """Return the names of the fields that hold a view's fields."""
        names = field_checks.field_names(type(self))
        return [name for name in self.view_names if name in names]

    def _check_view(self, name: str) -> None:
        if name not in self.view_names:
            choices = ", ".join(self.view_names)
            raise ValueError(f"got view {name!r}; choices: {choices}")


def _view(view_class: type, fields: Mapping, name: str) -> Any:
    """Return a view's fields from a mapping.

    Raises:
        ValueError: A field does not exist or is missing.
    """
    choices = field_checks.field_names(view_class)
    for key in fields:
        if key not in choices:
            near = field_types.nearest(key, choices)
            raise ValueError(f"{name}: got {key}; choices: {', '.join(choices)}{near}")
    try:
        return view_class(**fields)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from None
    except TypeError:
        raise ValueError(
            f"{name}: got fields {sorted(fields)}; expected {', '.join(choices)}"
        ) from None
