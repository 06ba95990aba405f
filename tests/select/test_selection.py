"""Any mixture of files → candidates and reasons."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from node.common.errors import InputError
from node.language.catalogue import Language, say
from node.model import ContrastPhase, Orientation, Selection
from node.select import find_dicom, load_volume, select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import CORONAL, SAGITTAL, bend, make_series, stored_pixels, write


def select(folder: Path, series: list[Dataset], settings: SelectSettings | None = None) -> Selection:
    return select_series(write(folder, series), settings or SelectSettings())


def codes(selection: Selection) -> list[str]:
    return sorted(left.code for left in selection.left_out)


def only_refusal(selection: Selection) -> tuple[str, str]:
    assert selection.candidates == ()
    assert len(selection.left_out) == 1
    left = selection.left_out[0]
    return left.code, left.detail


class TestFindDicom:
    def test_mixture(self, tmp_path: Path) -> None:
        paths = write(tmp_path / "deep" / "er", make_series(3))
        (tmp_path / "notes.txt").write_text("nothing to see")
        (tmp_path / "empty.dcm").touch()
        shutil.copy(paths[0], tmp_path / "DICOMDIR")
        assert find_dicom(tmp_path) == sorted(paths)
        assert find_dicom(paths[0]) == [paths[0]]

    def test_without_preamble(self, tmp_path: Path) -> None:
        ds = make_series(1)[0]
        path = tmp_path / "naked"
        del ds.file_meta
        ds.save_as(path, implicit_vr=True, little_endian=True)
        assert find_dicom(tmp_path) == [path]

    @pytest.mark.parametrize(
        ("name", "words"), [("absent", "does not exist"), ("junk", "no DICOM"), ("junk/a.txt", "not a DICOM file")]
    )
    def test_nothing_there(self, tmp_path: Path, name: str, words: str) -> None:
        (tmp_path / "junk").mkdir()
        (tmp_path / "junk" / "a.txt").write_text("x" * 500)
        with pytest.raises(InputError, match=words):
            find_dicom(tmp_path / name)


class TestFiles:
    def test_plain_series(self, tmp_path: Path) -> None:
        series = make_series(40)
        selection = select(tmp_path, series)
        assert selection.left_out == ()
        (candidate,) = selection.candidates
        assert [f.sop_instance_uid for f in candidate.frames] == [ds.SOPInstanceUID for ds in series]
        facts = candidate.facts
        assert facts.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
        assert (facts.manufacturer, facts.manufacturer_model_name, facts.kvp) == ("Philips", "Brilliance 64", 120.0)
        assert (facts.orientation, facts.contrast_phase) == (Orientation.AXIAL, ContrastPhase.UNKNOWN)
        assert facts.convolution_kernel == "B"
        assert facts.contrast_bolus_agent is None

    def test_order_is_that_of_positions(self, tmp_path: Path) -> None:
        series = make_series(40)
        for ds, number in zip(series, np.random.default_rng(5).permutation(40), strict=True):
            ds.InstanceNumber = str(number)
        (candidate,) = select(tmp_path, series).candidates
        assert [f.sop_instance_uid for f in candidate.frames] == [ds.SOPInstanceUID for ds in series]

    def test_selection_does_not_depend_on_file_order(self, tmp_path: Path, settings: SelectSettings) -> None:
        paths = write(tmp_path, [*make_series(40), *make_series(50), *bend(make_series(40), Modality="MR")])
        assert select_series(paths, settings).candidates == select_series(paths[::-1], settings).candidates

    def test_unreadable_file_has_a_reason(self, tmp_path: Path, settings: SelectSettings) -> None:
        paths = write(tmp_path, make_series(40))
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00")
        selection = select_series([*paths, broken], settings)
        assert len(selection.candidates) == 1
        (left,) = selection.left_out
        assert left.code == "unreadable"
        assert "broken.dcm" in left.detail
        assert "broken.dcm ist keine brauchbare DICOM-Datei" in say(left.detail, Language.DE)

    @pytest.mark.parametrize("kept", [0.05, 0.3, 0.9, 0.999])
    def test_truncated_file_is_a_missing_slice(self, tmp_path: Path, settings: SelectSettings, kept: float) -> None:
        series = make_series(40)
        paths = write(tmp_path, series)
        middle = next(p for p in paths if dcmread(p).SOPInstanceUID == series[20].SOPInstanceUID)
        middle.write_bytes(middle.read_bytes()[: int(middle.stat().st_size * kept)])
        selection = select_series(paths, settings)
        assert selection.candidates == ()
        assert codes(selection) == ["missing_slices", "unreadable"]

    def test_copies_count_once(self, tmp_path: Path, settings: SelectSettings) -> None:
        paths = write(tmp_path / "a", make_series(40))
        (tmp_path / "b").mkdir()
        copies = [Path(shutil.copy(p, tmp_path / "b" / p.name)) for p in paths[:10]]
        selection = select_series([*paths, *copies, *paths], settings)
        assert len(selection.candidates[0].frames) == 40
        assert selection.left_out == ()

    def test_copy_in_another_syntax_is_the_same(self, tmp_path: Path, settings: SelectSettings) -> None:
        series = make_series(40)
        paths = write(tmp_path / "a", series)
        ds = dcmread(paths[7])
        ds.compress("1.2.840.10008.1.2.4.80", encoding_plugin="pyjpegls", generate_instance_uid=False)
        ds.save_as(tmp_path / "again.dcm")
        selection = select_series([*paths, tmp_path / "again.dcm"], settings)
        assert len(selection.candidates[0].frames) == 40
        assert selection.left_out == ()

    def test_copy_with_other_content_is_left_out(self, tmp_path: Path, settings: SelectSettings) -> None:
        series = make_series(40)
        paths = write(tmp_path / "a", series)
        ds = dcmread(paths[[dcmread(p).SOPInstanceUID for p in paths].index(series[39].SOPInstanceUID)])
        ds.PixelData = b"\0" * len(ds.PixelData)
        ds.save_as(tmp_path / "other.dcm")
        selection = select_series([*paths, tmp_path / "other.dcm"], settings)
        assert len(selection.candidates[0].frames) == 39
        assert codes(selection) == ["conflicting_copies"]

    def test_studies_are_not_mixed(self, tmp_path: Path) -> None:
        first, other = make_series(60, 2.0), make_series(30, 4.0)
        selection = select(tmp_path, [*first, *other])
        assert [c.facts.study_instance_uid for c in selection.candidates] == [first[0].StudyInstanceUID]
        (left,) = selection.left_out
        assert (left.series_instance_uid, left.code) == (other[0].SeriesInstanceUID, "other_study")

    def test_no_patient_in_any_text(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level("DEBUG", logger="node")
        series = [*make_series(40), *bend(make_series(40), Modality="MR"), *bend(make_series(3), KVP=None)]
        selection = select(tmp_path, series)
        assert len(selection.candidates) == 1
        texts = f"{selection} {caplog.text} {capsys.readouterr()}"
        assert "SECRET" not in texts


@pytest.mark.parametrize(
    ("attributes", "code", "words"),
    [
        ({"Modality": "MR"}, "not_ct", "MR"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, "not_ct", "1.128"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary_capture", "picture"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer", "LOCALIZER"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "MIP"]}, "projection", "MIP"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "MIN_IP"]}, "projection", "MIN IP"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "projection", "AVERAGE"),
        ({"SeriesDescription": "Abdomen MIP cor"}, "projection", "MIP"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, "spectral_image", "VMI"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "MAT_REMOVED"]}, "spectral_image", "MAT REMOVED"),
        ({"SeriesDescription": "MonoE 70keV[HU]"}, "spectral_image", "MonoE"),
        ({"SeriesDescription": "VL_50_keV"}, "spectral_image", "0 keV"),
        ({"SeriesDescription": "Mono-energetic 1.5"}, "spectral_image", "Mono energetic"),
        ({"DerivationDescription": "Calcium-suppressed"}, "spectral_image", "Calcium suppressed"),
        ({"SeriesDescription": "Abd VNC 3.0"}, "spectral_image", "VNC"),
        ({"SeriesDescription": "Virtual Non Contrast"}, "spectral_image", "Virtual Non"),
        ({"SeriesDescription": "CaSupp 25 [HU]"}, "spectral_image", "CaSupp"),
        ({"SeriesDescription": "Iodine no Water[mg/ml]"}, "spectral_image", "Iodine"),
        ({"SeriesDescription": "Z Effective"}, "spectral_image", "Z Eff"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]}, "functional_map", "PERFUSION"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"]}, "functional_map", "SUBTRACT"),
        ({"DerivationDescription": "Volume rendering"}, "rendering", "Volume render"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "rendering", "SCREEN SAVE"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "derived_image", "DERIVED"),
        ({"ManufacturerModelName": "OsiriX"}, "rewritten_by_workstation", "OsiriX"),
        ({"ManufacturerModelName": "IntelliSpace Portal"}, "rewritten_by_workstation", "IntelliSpace"),
        ({"ManufacturerModelName": "syngo 3D Postprocessing"}, "rewritten_by_workstation", "syngo"),
        ({"ManufacturerModelName": "SafeCT"}, "rewritten_by_workstation", "SafeCT"),
        ({"Manufacturer": "Philips / MIM Software"}, "rewritten_by_workstation", "MIM"),
        ({"ManufacturerModelName": "Trilogy Cone Beam CT"}, "no_body_ct", "Cone Beam"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"}, "lossy_compression", "12.5"),
        ({"RescaleIntercept": None}, "no_rescale", "intercept missing"),
        ({"RescaleSlope": "0"}, "no_rescale", "slope 0"),
        ({"RescaleType": "MGML"}, "not_hounsfield", "MGML"),
        ({"ImagePositionPatient": None}, "no_geometry", "Position"),
        ({"PixelSpacing": None}, "no_geometry", "Spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.9, 0]}, "no_geometry", "0.9"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.1, 0.995, 0]}, "no_geometry", "perpendicular"),
    ],
)
def test_refused_image(tmp_path: Path, attributes: dict[str, object], code: str, words: str) -> None:
    series = bend(make_series(20), **attributes)
    refused, detail = only_refusal(select(tmp_path, series))
    assert refused == code
    assert words in detail
    assert detail.startswith("20 of 20 images")


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]},
        {"RescaleType": "HU"},
        {"LossyImageCompression": "00"},
        {"SeriesDescription": "LWS 2.0 Br40 S3 sag"},
        {"SeriesDescription": "WB 5.0 B35f"},
        {"Manufacturer": None, "ManufacturerModelName": None},
        {"BodyPartExamined": "HEAD"},
    ],
)
def test_admitted_image(tmp_path: Path, attributes: dict[str, object]) -> None:
    selection = select(tmp_path, bend(make_series(40), **attributes))
    assert len(selection.candidates) == 1
    assert selection.left_out == ()


class TestKvp:
    @pytest.mark.parametrize("kvp", ["0.6", "na", "", "0", "1200"])
    @pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
    def test_junk_is_no_voltage(self, tmp_path: Path, kvp: str) -> None:
        series = make_series(40)
        paths = write(tmp_path, series)
        for path in paths:  # pydicom does not write such values: replace them in the file
            path.write_bytes(path.read_bytes().replace(b"DS\x04\x00120 ", b"DS\x04\x00" + kvp.ljust(4).encode()))
        selection = select_series(paths, SelectSettings())
        assert selection.candidates[0].facts.kvp is None
        assert "KVP" in selection.candidates[0].why

    def test_missing(self, tmp_path: Path) -> None:
        (candidate,) = select(tmp_path, bend(make_series(40), KVP=None)).candidates
        assert candidate.facts.kvp is None
        assert "no KVP" in candidate.why

    @pytest.mark.parametrize(
        "attributes",
        [
            {"MultienergyCTAcquisition": "YES"},
            {"ConvolutionKernel": "D30f"},
            {"SeriesDescription": "DE_Abdomen 1.5 M_0.6"},
            {"SeriesDescription": "Abdomen GSI QC"},
        ],
    )
    def test_multi_energy_has_no_voltage(self, tmp_path: Path, attributes: dict[str, object]) -> None:
        (candidate,) = select(tmp_path, bend(make_series(40), **attributes)).candidates
        assert candidate.facts.kvp is None
        assert candidate.facts.multi_energy
        assert "several energies" in candidate.why


class TestDate:
    @pytest.mark.parametrize(
        ("attributes", "expected"),
        [
            ({"AcquisitionDate": "20260310", "StudyDate": "20260309"}, dt.date(2026, 3, 10)),
            ({"AcquisitionDateTime": "20260310235959.5+0100", "StudyDate": "20260309"}, dt.date(2026, 3, 10)),
            ({"StudyDate": "20260309", "SeriesDate": "20260401", "ContentDate": "20260401"}, dt.date(2026, 3, 9)),
            ({"AcquisitionDate": "", "StudyDate": "20260309"}, dt.date(2026, 3, 9)),
            ({"AcquisitionDate": "20261399"}, None),
            ({}, None),
        ],
    )
    def test_of_the_scan(self, tmp_path: Path, attributes: dict[str, object], expected: dt.date | None) -> None:
        (candidate,) = select(tmp_path, bend(make_series(40), **attributes)).candidates
        assert candidate.facts.acquisition_date == expected
        assert not candidate.facts.multi_energy

    def test_a_scan_over_midnight_has_none(self, tmp_path: Path) -> None:
        series = bend(make_series(40), AcquisitionDate="20260310")
        bend(series[20:], AcquisitionDate="20260311")
        (candidate,) = select(tmp_path, series).candidates
        assert candidate.facts.acquisition_date is None


class TestPatient:
    @pytest.mark.parametrize(
        ("attributes", "age", "sex"),
        [
            ({"PatientAge": "066Y", "PatientSex": "F", "PatientBirthDate": "19000101"}, 66.0, "F"),
            ({"PatientAge": "018M", "PatientSex": "m"}, 1.5, "M"),
            ({"PatientAge": "026W"}, 0.498, None),
            ({"PatientAge": "010D", "PatientSex": "O"}, 0.027, "O"),
            ({"PatientBirthDate": "19600310", "AcquisitionDate": "20260310"}, 66.0, None),
            ({"PatientBirthDate": "19600311", "AcquisitionDate": "20260310"}, 65.0, None),
            ({"PatientAge": "old", "PatientBirthDate": "19600311", "StudyDate": "20260310"}, 65.0, None),
            ({"PatientBirthDate": "18000101", "AcquisitionDate": "20260310"}, None, None),
            ({"PatientBirthDate": "20270101", "AcquisitionDate": "20260310"}, None, None),
            ({"PatientBirthDate": "19600311"}, None, None),
            ({"PatientAge": "150Y", "PatientSex": "X"}, None, None),
            ({}, None, None),
        ],
    )
    def test_age_and_sex(self, tmp_path: Path, attributes: dict[str, object], age: float | None, sex: str | None) -> None:
        (candidate,) = select(tmp_path, bend(make_series(40), **attributes)).candidates
        assert candidate.facts.patient_age_years == (None if age is None else pytest.approx(age, abs=0.001))
        assert candidate.facts.patient_sex == sex

    def test_two_patients_in_one_series_have_no_age(self, tmp_path: Path) -> None:
        series = bend(make_series(40), PatientAge="066Y")
        bend(series[20:], PatientAge="016Y")
        (candidate,) = select(tmp_path, series).candidates
        assert candidate.facts.patient_age_years is None


class TestLimits:
    def test_too_few_slices(self, tmp_path: Path) -> None:
        code, detail = only_refusal(select(tmp_path, make_series(14, 5.0)))
        assert code == "too_few_slices"
        assert "14 of 14" in detail

    def test_slice_distance(self, tmp_path: Path) -> None:
        code, detail = only_refusal(select(tmp_path, make_series(20, 6.0)))
        assert code == "slice_distance_too_large"
        assert "6.00 mm" in detail
        assert len(select(tmp_path / "five", make_series(20, 5.0)).candidates) == 1

    def test_extent(self, tmp_path: Path) -> None:
        code, detail = only_refusal(select(tmp_path, make_series(20, 2.0)))
        assert code == "extent_too_small"
        assert "40 mm" in detail

    def test_extent_of_sagittal_slices_is_that_of_their_columns(self, tmp_path: Path) -> None:
        pixels = stored_pixels(20, rows=200, columns=32)
        (candidate,) = select(tmp_path, make_series(20, 3.0, SAGITTAL, pixels=pixels)).candidates
        assert candidate.facts.orientation is Orientation.SAGITTAL
        code, detail = only_refusal(select(tmp_path / "low", make_series(20, 3.0, SAGITTAL)))
        assert code == "extent_too_small"
        assert "29 mm" in detail


class TestRanking:
    def best_of(self, tmp_path: Path, better: list[Dataset], worse: list[Dataset]) -> str:
        """The reason why ``worse`` comes second."""
        study_uid = generate_uid()
        bend([*better, *worse], StudyInstanceUID=study_uid)
        first, second = select(tmp_path, [*worse, *better]).candidates
        assert first.facts.series_instance_uid == better[0].SeriesInstanceUID
        assert second.facts.series_instance_uid == worse[0].SeriesInstanceUID
        assert first.why.startswith("Rank 1 of 2")
        return second.why

    @pytest.mark.parametrize(
        ("attributes", "words"),
        [
            ({"ContrastBolusAgent": "Ultravist 370"}, "contrast"),
            ({"ContrastBolusRoute": "IV"}, "contrast"),
            ({"SeriesDescription": "Abdomen portal venous"}, "contrast"),
            ({"ConvolutionKernel": "B70f"}, "kernel"),
            ({"ConvolutionKernel": "BONEPLUS"}, "kernel"),
            ({"ConvolutionKernel": "FC51"}, "kernel"),
            ({"ConvolutionKernel": ["Br64", "3"]}, "kernel"),
            ({"KVP": None}, "voltage"),
            ({"BodyPartExamined": "HEAD", "SeriesDescription": "1.0 Hr40"}, "body part"),
            ({"BodyPartExamined": "CHEST", "SeriesDescription": "3.0 B30f"}, "body part"),
            ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "reformat"),
        ],
    )
    def test_header(self, tmp_path: Path, attributes: dict[str, object], words: str) -> None:
        assert words in self.best_of(tmp_path, make_series(60), bend(make_series(60), **attributes)).split(";")[-1]

    def test_body_part_of_a_long_scan_is_no_reason(self, tmp_path: Path) -> None:
        """The first words of a long scan's description are not where it ends."""
        long_scan = bend(make_series(80), BodyPartExamined="HEAD", SeriesDescription="Neck_Chest_ABD_PEL")
        assert "extent" in self.best_of(tmp_path, long_scan, make_series(60)).split(";")[-1]

    @pytest.mark.parametrize("agent", ["", "none", "NO", "Oral"])
    def test_no_sign_of_contrast(self, tmp_path: Path, agent: str) -> None:
        (candidate,) = select(tmp_path, bend(make_series(40), ContrastBolusAgent=agent)).candidates
        assert "no sign of contrast" in candidate.why
        assert candidate.facts.contrast_phase is ContrastPhase.UNKNOWN
        assert candidate.facts.contrast_bolus_agent == (agent or None)

    @pytest.mark.parametrize(
        ("better", "worse", "words"),
        [
            ((60, 2.5), (60, 5.0), "slice distance"),
            ((150, 1.0), (250, 0.6), "slice distance"),
            ((250, 0.6), (60, 5.0), "slice distance"),
            ((60, 5.0), (40, 2.5), "short extent"),
            ((100, 2.0), (80, 2.0), "shorter extent"),
        ],
    )
    def test_slices(self, tmp_path: Path, better: tuple[int, float], worse: tuple[int, float], words: str) -> None:
        assert words in self.best_of(tmp_path, make_series(*better), make_series(*worse)).split(";")[-1]

    def test_axial_before_sagittal(self, tmp_path: Path) -> None:
        sagittal = make_series(40, 2.5, SAGITTAL, pixels=stored_pixels(40, rows=200))
        assert "plane" in self.best_of(tmp_path, make_series(60), sagittal).split(";")[-1]

    @pytest.mark.parametrize(
        ("description", "agent", "phase"),
        [
            ("Abd portalvenous 2.0", "Ultravist", ContrastPhase.PORTAL_VENOUS),
            ("Arterial", "Ultravist", ContrastPhase.ARTERIAL),
            ("arterial + portal", "Ultravist", ContrastPhase.UNKNOWN),
            ("Arterial", None, ContrastPhase.UNKNOWN),
            ("Nativ", None, ContrastPhase.UNKNOWN),
        ],
    )
    def test_phase(self, tmp_path: Path, description: str, agent: str | None, phase: ContrastPhase) -> None:
        series = bend(make_series(40), SeriesDescription=description)
        if agent:
            bend(series, ContrastBolusAgent=agent)
        (candidate,) = select(tmp_path, series).candidates
        assert candidate.facts.contrast_phase is phase


def test_coronal(tmp_path: Path) -> None:
    (candidate,) = select(tmp_path, make_series(30, 3.0, CORONAL, pixels=stored_pixels(30, rows=200))).candidates
    assert candidate.facts.orientation is Orientation.CORONAL
    assert load_volume(candidate).affine_lps_mm[1, 0] == pytest.approx(3.0)
