"""Base class of intakes: answers what the protocol asks about settings, from declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from pydantic import BaseModel

from collector.operations import Operation
from collector.privacy_section import PrivacySection, privacy_section
from collector.schema import ReportLayout
from collector.settings import Settings


class DeclaredIntake:
    """The part of an intake that depends on the names of settings alone.

    A subclass is defined in the `__init__` of its package, where the privacy section's texts are.
    """

    reports: Sequence[ReportLayout] = ()
    proofs: Sequence[type[BaseModel]] = ()
    switch: ClassVar[str]
    """Name of the setting that enables the intake unless it is empty or false."""
    retentions: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Name of the setting with the retention in seconds, for each database of this sender."""
    privacy_values: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Name of the setting for each placeholder of the privacy section."""

    def is_on(self, settings: Settings) -> bool:
        """Whether the setting `switch` enables this intake."""
        return bool(getattr(settings, self.switch))

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of each database that only this sender uses, in seconds; 0: for ever."""
        return {
            database: getattr(settings, setting) for database, setting in self.retentions.items()
        }

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes; none for senders that do not use HTTP."""
        return ()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Section of the privacy page, with the values of the settings that it names."""
        values = {name: getattr(settings, one) for name, one in self.privacy_values.items()}
        return privacy_section(type(self).__module__, values)
