"""All settings of the node: one typed tree, read from ``bmd-node.toml``, then from the environment.

A variable ``BMD_NODE_LISTENER__PORT=11112`` overrides ``[listener] port`` of the file. Every setting is documented here and
nowhere else; ``bmd-node settings`` prints this tree with its values. Names of earlier versions are in
:mod:`node.settings.renamed`.
"""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, IPvAnyNetwork, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from node.common.errors import ConfigurationError
from node.language.catalogue import Language
from node.model.object_kinds import SegKind, SrKind
from node.settings.alert import MAIL, AlertReceiver, AlertSettings
from node.settings.files import url_with_password
from node.settings.login import AuditSettings, LoginLdapSettings, LoginOidcSettings, LoginSettings
from node.settings.mistakes import in_words
from node.settings.orthanc import DicomWebSettings, OrthancSettings
from node.settings.plans import PlanFhirSettings, PlanHl7Settings, PlanListSettings, PlanSettings
from node.settings.renamed import ENV_DELIMITER, ENV_PREFIX, remember, with_new_names, with_new_variables
from node.settings.retention import RetentionSettings
from node.settings.types import AeTitle, Port, WebAddressOrNone
from node.settings.types import Section as _Section
from node.settings.watch import WatchSettings


class ListenerSettings(_Section):
    """The DICOM listener (C-ECHO and C-STORE SCP)."""

    ae_title: AeTitle = "BMDNODE"
    """AE title of the node; an association that calls another AE title is rejected."""

    host: str = "0.0.0.0"  # noqa: S104 - a PACS must be able to reach the node
    """Address to listen on."""

    port: Port = 11112
    """TCP port to listen on."""

    allowed_calling_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles that may send to the node; empty: any."""

    max_associations: int = Field(default=20, ge=1)
    """Associations accepted at the same time; further ones are rejected transiently. When all are taken, one that has stored
    nothing and says nothing gives way."""

    max_associations_per_address: int = Field(default=10, ge=0)
    """The same for one address; 0: no limit. Senders behind one router have the same address. An assumption."""

    artim_s: float = Field(default=8.0, ge=1, le=60)
    """A connection without a complete association request is closed after this many seconds (the ARTIM timer)."""

    idle_timeout_s: float = Field(default=30.0, ge=1)
    """An association that has stored nothing is aborted when it says nothing for this many seconds."""

    idle_timeout_storing_s: float = Field(default=300.0, ge=1)
    """The same for one that has stored something: scanners may reconstruct for minutes between images."""

    max_instance_mb: int = Field(default=2048, ge=1)
    """The association of a larger instance is aborted. An enhanced CT of 2000 images of 512 x 512 has 1000 MB."""

    tls_certificate_file: str = ""
    """PEM file with the node's certificate, and those between it and the authority. With it the listener speaks TLS 1.2 or
    1.3 (PS3.15 B.12, BCP 195). Empty: no TLS."""

    tls_key_file: str = ""
    """PEM file with the key of the certificate; empty: it is in the same file."""

    tls_port: int = Field(default=0, ge=0, le=65535)
    """Port for TLS, beside ``port`` without. 0: with a certificate, ``port`` accepts nothing but TLS."""

    tls_client_ca_file: str = ""
    """PEM file with the authorities that sign the certificates of senders."""

    tls_client_certificate: Literal["required", "optional", "none"] = "required"
    """Whether a sender must show a certificate. If it shows one, it must be valid."""

    storage_commitment: bool = False
    """Answer requests for storage commitment (PS3.4 annex J): an image is committed while it is on the disk, at least until
    ``study.keep_days`` are over. The node is no archive: a sender that deletes what is committed must ask the archive, not
    the node."""

    min_free_disk_mb: int = Field(default=2048, ge=0)
    """With less free space than this in the state directory, instances are refused with 0xA700 (out of resources)."""


class Sender(_Section):
    """A sender whose AE title may be used only from certain addresses or with certain certificates: an AE title alone proves
    nothing. AE titles without an entry may be used from everywhere. With ``host`` and ``port`` it gets reports of storage
    commitment."""

    ae_title: AeTitle
    """Calling AE title."""

    addresses: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks, such as ``10.1.2.0/24``; empty: any."""

    certificate_names: tuple[str, ...] = ()
    """Common names or DNS names of client certificates; empty: any, and none."""

    host: str = ""
    """Host name or address to which reports of storage commitment go if it has ended the association of its request. Empty:
    it gets them on that association only."""

    port: int = Field(default=104, ge=1, le=65535)
    """TCP port for reports."""

    tls: bool = False
    """Report with TLS, and show the certificate of the listener."""

    tls_ca_file: str = ""
    """PEM file with the authorities that sign its certificate; empty: those of the system."""

    tls_check_host: bool = True
    """Whether its certificate must name ``host``."""


class StudySettings(_Section):
    """When a study counts as complete. DICOM has no message for this."""

    stable_after_s: float = Field(default=60.0, ge=0)
    """A study is processed when no new instance has arrived for this many seconds."""

    stable_after_release_s: float = Field(default=5.0, ge=0)
    """Shorter wait, in seconds, if every association that sent the study was released and no series has a gap."""

    max_wait_s: float = Field(default=3600.0, ge=0)
    """A study that keeps receiving instances is processed this many seconds after the first one."""

    keep_days: float = Field(default=7.0, ge=0)
    """Received images are removed this many days after the study was finished; the result is kept."""

    on_conflict: Literal["hold", "take_latest"] = "hold"
    """What follows if images come again with other content under the same SOP Instance UIDs, for example with a corrected
    patient. ``hold``: the report stands, marked as in conflict, until a person decides (``bmd-node conflicts``);
    ``take_latest``: the latest content is measured, and its report replaces the earlier one. See ``docs/identity.md``."""


class SelectSettings(_Section):
    """Which series may be measured."""

    max_slice_distance_mm: float = Field(default=5.0, gt=0)
    """A series with a larger distance between slices is refused."""

    min_slices: int = Field(default=15, ge=2)
    """A series with fewer slices is refused."""

    min_extent_mm: float = Field(default=60.0, ge=0)
    """A series that covers less than this from head to foot is refused."""

    max_gantry_tilt_deg: float = Field(default=0.5, ge=0)
    """A series with a larger gantry tilt (sheared slices) is refused."""

    max_file_mb: int = Field(default=2048, ge=1)
    """A larger file is not read. An enhanced CT of 2000 images of 512 x 512 has 1000 MB."""

    max_inflated_mb: int = Field(default=256, ge=1)
    """A deflated file (Deflated Explicit VR Little Endian) that inflates to more is not read."""

    max_matrix: int = Field(default=2048, ge=64, le=8192)
    """Images with more rows or columns are refused; 2048 is the largest matrix of a CT scanner."""

    max_series_megavoxels: int = Field(default=800, ge=1)
    """A series with more million voxels is refused; 800 are 3000 images of 512 x 512. A study takes up to 24 bytes of memory
    per voxel."""

    max_volume_litres: float = Field(default=1000.0, gt=0)
    """A series that covers more space is refused; a whole body with the largest field of view takes 1000 litres."""

    max_series_tried: int = Field(default=3, ge=1)
    """Number of candidates that are segmented, best first, until one shows all of L1 to L4. If none of these shows a lumbar
    level, the next ones are tried."""

    accept_image_types: tuple[str, ...] = ()
    r"""Image Types that the site takes for true HU, beyond those of ``docs/admission.md``: all values with ``\`` between
    them, a last value ``*`` for any further ones, as in ``['DERIVED\SECONDARY\PROCESSED', 'DERIVED\PRIMARY\*']``."""


#: How levels are counted where the anatomy is unusual.
LevelConvention = Literal["twelfth_rib", "sacrum", "withhold"]


class SegmentSettings(_Section):
    """How vertebral bodies are found."""

    segmenter: str = "embedded"
    """``embedded``: the network that comes with the node; ``totalsegmentator``: the package TotalSegmentator, installed with
    ``bmd-node[totalsegmentator]``; ``torchscript:PATH``: your own network. See ``docs/segmenters.md``."""

    totalsegmentator_weights: Path | None = None
    """Folder with TotalSegmentator's weights, which ``totalseg_download_weights -t total`` downloads; the node downloads
    nothing. Not set: the default folder of that program."""

    level_convention: LevelConvention = "twelfth_rib"
    """How levels are counted where there are not twelve rib pairs and five vertebrae without ribs. ``twelfth_rib``: downward
    from T12 if twelve rib pairs are counted from the first ribs, otherwise none. ``sacrum``: upward from the sacrum, however
    many ribs there are. ``withhold``: no level. The report states the anatomy in each case."""

    threads: int = Field(default=0, ge=0)
    """Processor threads for the network; 0: all cores. TotalSegmentator always uses all."""


class MeasureSettings(_Section):
    """What is measured in a vertebral body."""

    erosion_mm: float = Field(default=10.0, ge=0)
    """Distance of the measured region from the surface of the body mask (10 mm in the study)."""

    metal_hu: float = 1400.0
    """Voxels above this are excluded (1400 HU in the study, which outlined and excluded screws)."""

    min_roi_volume_mm3: float = Field(default=200.0, gt=0)
    """A smaller region makes the level unusable."""


#: Effect of a finding on a level: the level is excluded, it is used with a remark, or the study is not measured.
LevelEffect = Literal["exclude", "flag", "refuse"]
#: Effect of a finding on the whole scan: a remark, or the study is not measured.
ScanEffect = Literal["flag", "refuse"]


class QualitySettings(_Section):
    """Effect of each quality finding. On a level: ``exclude`` it from the mean, ``flag`` it, or ``refuse`` the study. On the
    whole scan: ``flag`` or ``refuse``. Every finding is in the report, with any effect."""

    fracture: LevelEffect = "exclude"
    """Height loss of a vertebral body (Genant grade 1 or more)."""

    endplate_sclerosis: LevelEffect = "exclude"
    """Dense bone below an end plate that reaches into the measured region."""

    collapsed_disc: LevelEffect = "flag"
    """A collapsed disc next to the level."""

    osteophytes: LevelEffect = "flag"
    """Large osteophytes."""

    metal: LevelEffect = "flag"
    """Metal in or at the body; the measured region avoids it."""

    streaks: LevelEffect = "exclude"
    """Metal streaks in the measured region, without a part of it that is free of them."""

    cement: LevelEffect = "exclude"
    """Bone cement in the body."""

    focal_lesion: LevelEffect = "exclude"
    """A dense island or a lytic lesion in the measured region."""

    outlier: LevelEffect = "flag"
    """Attenuation far from that of the other levels."""

    air: ScanEffect = "flag"
    """Air around the patient far from -1000 HU."""

    noise: ScanEffect = "flag"
    """High noise."""

    sharp_kernel: ScanEffect = "flag"
    """A sharp (edge-enhancing) reconstruction kernel."""

    thick_slices: ScanEffect = "flag"
    """Slices thicker than 3 mm, the thickest of the study."""

    patient_truncated: ScanEffect = "flag"
    """Parts of the patient outside the field of view."""

    myelography: ScanEffect = "flag"
    """Contrast in the spinal canal."""

    air_tolerance_hu: float = Field(default=30.0, gt=0)
    """Allowed difference of air from -1000 HU, to which scanners are set daily (the study). The size is an assumption."""

    noise_limit_hu: float = Field(default=50.0, gt=0)
    """Noise (SD in soft tissue) above this is high. An assumption: about twice the noise of a usual abdominal CT."""

    slice_thickness_limit_mm: float = Field(default=3.0, gt=0)
    """Largest slice thickness without a finding; the study used 2 or 3 mm."""

    full_field_mm: float = Field(default=480.0, gt=0)
    """An image at least this wide shows the whole field of the scanner (usually 500 mm), so what its border cuts off was not
    scanned. The border of a narrower image says nothing about the scan. An assumption."""

    cut_off_limit_mm: float = Field(default=20.0, ge=0)
    """Length of the patient's outline that the border may cut off in an axial slice. An assumption."""

    canal_limit_hu: float = Field(default=100.0)
    """A spinal canal above this contains contrast medium; fluid and nerves have 0 to 50 HU. An assumption."""

    population: ScanEffect = "flag"
    """Age or sex that the ACR categories are not meant for (assumed to be from 50 years), or unknown."""


class CalibrateSettings(_Section):
    """HU to BMD."""

    site_equations: Path | None = None
    """TOML file with the site's own equations, in the format of the shipped ``equations.toml`` (``docs/calibration.md``)."""

    simultaneous: str | None = Field(default=None, min_length=1)
    """Calibration phantom below every patient: a name from ``bmd-node calibrate --help``, or ``rods:FILE``. If its rods are
    found in a scan and pass the checks, their equation is used for this scan, otherwise one of the registry. Not set: the
    node does not look for rods."""


class ComputeSettings(_Section):
    """What a study may take of the machine. It is computed in a process of its own, which is ended if it takes more."""

    memory_limit_mb: int = Field(default=0, ge=0)
    """Memory of one study, in MB; 0: computed from its headers (1.5 GB and 24 bytes per voxel)."""

    time_limit_s: float = Field(default=0, ge=0)
    """Time of one stage of a study; 0: computed from its headers (600 s and 5 s per million voxels)."""


class StabilitySettings(_Section):
    """When ``bmd-node stability`` reports that a scanner drifts. The first scans are the baseline."""

    air_hu: float = Field(default=5.0, gt=0)
    """Allowed difference of air in the latest scans from the baseline, HU. An assumption: no source gives a limit."""

    tissue_hu: float = Field(default=5.0, gt=0)
    """The same for fat, muscle and blood, HU. An assumption; 5 HU are about 4 mg/cm3."""

    slope_hu_per_year: float = Field(default=2.3, gt=0)
    """Steepest allowed trend, HU per year; scanners drift by 0.55 to 2.29 HU per year (Löffler 2019)."""

    window: int = Field(default=20, ge=5)
    """Number of scans in the baseline, and in the latest ones. An assumption: single patients scatter."""


class ReportSettings(_Section):
    """Texts for people."""

    language: Language = Language.EN
    """Language of the summary page, the PDF, the texts of the structured report and the alerts: ``en`` or ``de``. Text
    without a translation is in English; ``result.json`` (but for ``report_text``), logs and the command line are always in
    English."""

    patient_on_page: bool = True
    """Whether the first line of the summary page and the PDF names the patient: name, Patient ID, birth date, age, sex,
    study date, accession number. The picture ``summary.png``, which the status page shows, never does."""


class PageWanted(StrEnum):
    """When a destination gets the summary page."""

    ALWAYS = "always"
    INSTEAD_OF_REPORT = "instead_of_report"
    NEVER = "never"


class Destination(_Section):
    """A PACS that gets the results."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    """Name in logs and records."""

    ae_title: AeTitle
    """Called AE title."""

    host: str
    """Host name or address."""

    port: Port
    """TCP port."""

    calling_ae_title: AeTitle | None = None
    """Calling AE title. Not set: the AE title of the listener."""

    tls: bool = False
    """Speak TLS 1.2 or 1.3 with it (PS3.15 B.12, BCP 195); its certificate is always checked."""

    tls_ca_file: str = ""
    """PEM file with the authorities that sign its certificate; empty: those of the system."""

    tls_certificate_file: str = ""
    """PEM file with the node's certificate, if the destination wants one."""

    tls_key_file: str = ""
    """PEM file with the key of the certificate; empty: it is in the same file."""

    tls_check_host: bool = True
    """Whether its certificate must name ``host``. Set it to false only with ``tls_ca_file``."""

    structured_report: tuple[SrKind, ...] = tuple(SrKind)
    """SOP classes of the structured report, the best first; the destination gets the first one that it accepts. Any of
    ``comprehensive_3d``, ``comprehensive``, ``enhanced``, ``basic_text``. Empty: no structured report."""

    segmentation: SegKind | Literal["none"] = SegKind.BINARY
    """``binary``: most receivers accept it; ``labelmap``: smaller and newer, and binary if it is refused; ``none``."""

    summary_page: PageWanted = PageWanted.ALWAYS
    """The page as an image: ``always``, ``instead_of_report`` (if no structured report is accepted), ``never``."""

    pdf: bool = False
    """Send the page also as a PDF document."""

    send_hu_only: bool = True
    """Send results with attenuation only, without BMD (no equation for the scanner)."""

    send_not_measured: bool = False
    """Send also the summary page of studies that were not measured. A page that replaces a report is always sent."""

    storage_commitment: bool = False
    """Ask it to commit to what it has stored (storage commitment, PS3.4 annex J). What it does not commit to is sent again.
    It must know AE title, address and port of the listener, to which it reports."""

    @model_validator(mode="after")
    def _tls_proves_something(self) -> Self:
        files = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file)
        if any(files) and not self.tls:
            raise ValueError("files for TLS are set, and tls is false")
        if not self.tls_check_host and not self.tls_ca_file:
            raise ValueError("tls_check_host is false, so tls_ca_file must name the authority of this destination alone")
        return self

    @field_validator("structured_report")
    @classmethod
    def _classes_are_named_once(cls, kinds: tuple[SrKind, ...]) -> tuple[SrKind, ...]:
        if len(set(kinds)) != len(kinds):
            raise ValueError("a SOP class is named twice")
        return kinds


class DeliverSettings(_Section):
    """Sending results."""

    retry_first_s: float = Field(default=5.0, gt=0)
    """Seconds before the second attempt; doubles each time."""

    retry_max_s: float = Field(default=600.0, gt=0)
    """Longest wait between attempts; they continue until the destination answers."""

    timeout_s: float = Field(default=30.0, gt=0)
    """Network time-out of one attempt."""

    give_up_after: int = Field(default=50, ge=1)
    """A result that a destination could not store so many times, although it accepted the association, is given up: it is
    listed by ``bmd-node deliveries`` until a person has it sent again. A destination that cannot be reached is tried for
    ever."""

    commitment_wait_s: float = Field(default=3600.0, ge=1)
    """A destination that was asked for storage commitment and has not reported after this many seconds is asked again. After
    ``give_up_after`` times it is given up, as results are. An assumption."""

    ask_again_days: float = Field(default=7.0, gt=0)
    """After this many days, a SOP class that a destination refused at C-STORE (0x0122) is offered again, and so is a result
    of which it accepted nothing. A SOP class that it refuses in the association is offered every time, at no cost."""


class WebSettings(_Section):
    """The status page."""

    enabled: bool = True
    """Serve the status page."""

    host: str = "127.0.0.1"
    """Address to listen on. Open it to the intranet only with TLS, here or in a proxy: passwords are typed here."""

    port: Port = 8043
    """TCP port."""

    public_url: WebAddressOrNone = ""
    """Web address of the pages as people reach them, such as ``https://bmd.hospital.example``. With ``https`` cookies are
    sent over TLS alone. A page that listens on the loopback address answers under this name, too."""

    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Proxies, such as ``10.1.2.3/32``, whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed: the audit trail
    and the lock-out then see the address of the browser. Empty: none."""

    tls_certificate_file: str = ""
    """PEM file with the certificate of the pages, and those between it and the authority. Empty: no TLS."""

    tls_key_file: str = ""
    """PEM file with its key; empty: it is in the same file."""

    metrics_token_file: str = ""
    """File with a token and nothing else: ``/metrics`` answers who sends it as ``Authorization: Bearer``. Without a token
    ``/metrics`` answers this machine alone, and nobody behind a proxy."""


class _FromSources(BaseSettings):
    """Reads the tree; pydantic-settings needs its own base class for this."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file, whose values are the init arguments."""
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = with_new_variables(env_settings.env_vars)
        return env_settings, init_settings


class Settings(_FromSources):
    """The whole tree."""

    state_dir: Path = Path("state")
    """Directory for received images, records and results; it must survive a restart."""

    database_url: str | None = None
    """SQLAlchemy URL of the database; default: SQLite in ``state_dir``. ``postgresql+psycopg://…`` for several machines."""

    database_password_file: Path | None = None
    """File with the password for ``database_url`` and nothing else; the URL then has a user and no password. A relative path
    is looked up in systemd's ``CREDENTIALS_DIRECTORY``, if there is one."""

    worker_id: str = Field(default="local", min_length=1, max_length=64)
    """Name of this worker, different for every worker. Keep it: a worker resumes its interrupted work after a restart by its
    name."""

    worker_lost_after_s: float = Field(default=300.0, ge=60)
    """A worker without a sign of life for this long counts as lost, and another one resumes its work. An assumption."""

    worker_concurrency: int = Field(default=1, ge=1)
    """Studies that one worker processes at the same time."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """Lowest severity that is logged."""

    listener: ListenerSettings = ListenerSettings()
    senders: tuple[Sender, ...] = ()
    study: StudySettings = StudySettings()
    select: SelectSettings = SelectSettings()
    segment: SegmentSettings = SegmentSettings()
    measure: MeasureSettings = MeasureSettings()
    quality: QualitySettings = QualitySettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    compute: ComputeSettings = ComputeSettings()
    stability: StabilitySettings = StabilitySettings()
    report: ReportSettings = ReportSettings()
    destinations: tuple[Destination, ...] = ()
    deliver: DeliverSettings = DeliverSettings()
    retention: RetentionSettings = RetentionSettings()
    plans: PlanSettings = PlanSettings()
    plans_hl7: PlanHl7Settings = PlanHl7Settings()
    plans_fhir: PlanFhirSettings = PlanFhirSettings()
    plans_list: PlanListSettings = PlanListSettings()
    alert: AlertSettings = AlertSettings()
    alert_receivers: tuple[AlertReceiver, ...] = ()
    web: WebSettings = WebSettings()
    login: LoginSettings = LoginSettings()
    login_ldap: LoginLdapSettings = LoginLdapSettings()
    login_oidc: LoginOidcSettings = LoginOidcSettings()
    audit: AuditSettings = AuditSettings()
    watch: WatchSettings = WatchSettings()
    orthanc: OrthancSettings = OrthancSettings()
    dicomweb: DicomWebSettings = DicomWebSettings()

    _old_names: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _dicomweb_is_named(self) -> Self:
        if self.orthanc.read_by == "dicomweb" and not self.dicomweb.url:
            raise ValueError(
                "orthanc.read_by is dicomweb, so dicomweb.url must be set, such as http://127.0.0.1:8042/dicom-web"
            )
        return self

    @model_validator(mode="after")
    def _tls_can_be_spoken(self) -> Self:
        one = self.listener
        if not one.tls_certificate_file and (one.tls_port or one.tls_client_ca_file):
            raise ValueError("listener.tls_port and listener.tls_client_ca_file need listener.tls_certificate_file")
        if one.tls_certificate_file and one.tls_client_certificate != "none" and not one.tls_client_ca_file:
            raise ValueError(
                "listener.tls_client_ca_file must name the authorities of the senders' certificates, or "
                'listener.tls_client_certificate must be "none"'
            )
        if one.tls_port == one.port:
            raise ValueError("listener.tls_port and listener.port are the same")
        return self

    @model_validator(mode="after")
    def _people_can_log_in(self) -> Self:
        web, ldap, oidc = self.web, self.login_ldap, self.login_oidc
        if web.tls_key_file and not web.tls_certificate_file:
            raise ValueError("web.tls_key_file needs web.tls_certificate_file")
        if ldap.url and not ldap.base_dn:
            raise ValueError("login_ldap.url needs login_ldap.base_dn, such as ou=people,dc=hospital,dc=example")
        if oidc.issuer and not (oidc.client_id and oidc.client_secret_file and web.public_url):
            raise ValueError(
                "login_oidc.issuer needs login_oidc.client_id, login_oidc.client_secret_file and web.public_url"
            )
        for name, is_used, groups in (("login_ldap", ldap.url, ldap), ("login_oidc", oidc.issuer, oidc)):
            if is_used and not (groups.viewer_groups or groups.radiologist_groups or groups.administrator_groups):
                raise ValueError(
                    f"{name} needs viewer_groups, radiologist_groups or administrator_groups, or nobody could log in"
                )
        return self

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        has_plans = self.plans_hl7.enabled or self.plans_list.folder or self.plans_fhir.base_url
        has_alerts = self.alert.smtp_host or self.alert_receivers
        if has_plans and has_alerts and self.plans.time_zone != self.alert.time_zone:
            raise ValueError(
                f'plans.time_zone is "{self.plans.time_zone}" and alert.time_zone is "{self.alert.time_zone}": a day that'
                " a plan names would be another one in the alert; write the same in both"
            )
        return self

    @model_validator(mode="after")
    def _administrators_can_be_told(self) -> Self:
        if self.watch.recipients and not self.alert.smtp_host:
            raise ValueError("watch.recipients are set, so alert.smtp_host and alert.sender must name the mail server")
        return self

    @model_validator(mode="after")
    def _a_second_comes_after_a_first(self) -> Self:
        stages = {receiver.stage for receiver in self.alert_receivers}
        if stages == {"second"} and not self.alert.smtp_host:
            raise ValueError(
                'alert_receivers: all have stage = "second", so nobody gets an alert first: set alert.smtp_host, or '
                'stage = "first" for one of them'
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [d.name for d in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        names = [receiver.name for receiver in self.alert_receivers]
        if len(set(names)) != len(names):
            raise ValueError("two alert_receivers have the same name")
        if MAIL in names:
            raise ValueError(f'an entry of alert_receivers has the name "{MAIL}", which is taken: choose another one')
        return self

    @property
    def old_names(self) -> tuple[str, ...]:
        """A warning for every old name that the file or the environment uses."""
        return self._old_names

    @property
    def sqlalchemy_url(self) -> str:
        """URL of the database in use, with its password.

        Raises:
            ConfigurationError: the file with the password cannot be used.
        """
        return self.database_url_with_password or f"sqlite:///{(self.state_dir / 'bmd-node.sqlite').absolute()}"

    @property
    def database_url_with_password(self) -> str | None:
        """``database_url`` with the password from its file; ``None`` for SQLite in the state directory.

        Raises:
            ConfigurationError: see :func:`node.settings.files.url_with_password`.
        """
        if self.database_url is None or self.database_password_file is None:
            return self.database_url
        return url_with_password(self.database_url, self.database_password_file)


def load_settings(path: Path | None) -> Settings:
    """Read the settings.

    Old names of settings are read, too; :func:`node.settings.renamed.say_remembered` says which ones.

    Args:
        path: a TOML file; ``None`` reads ``bmd-node.toml`` of the current directory if it is there.

    Raises:
        ConfigurationError: the file is missing or not TOML, or a value is wrong; the message names each of them.
    """
    if path is None:
        default = Path("bmd-node.toml")
        path = default if default.is_file() else None
    values: dict[str, object] = {}
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except FileNotFoundError:
            raise ConfigurationError(f"settings file {path} does not exist") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"settings file {path} cannot be read: {error}") from error
    values, old_names = with_new_names(values, os.environ)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        said = "\n  ".join([*in_words(error.errors(include_url=False), Settings, text), *old_names])
        raise ConfigurationError(f"wrong settings in {path or 'the environment'}:\n  {said}") from error
    settings._old_names = old_names
    remember(old_names)
    return settings
